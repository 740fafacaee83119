"""Numbers from made-up arrivals, worked out by hand."""

import pytest

from moqvox_client.lab.metrics import FRAME_NS, downlink, in_order, percentile, uplink

MS = 1_000_000


def arrivals(count, *, delay_ms=25, late=None, lost=()):
    """Frame n is captured after n + 1 frames and arrives `delay_ms` (+ late[n]) after that."""
    late = late or {}
    return [
        (n, (n + 1) * FRAME_NS + int((delay_ms + late.get(n, 0)) * MS))
        for n in range(count)
        if n not in lost
    ]


def test_a_clean_path_has_no_lateness_no_stall_and_everything():
    judged = uplink(0, arrivals(400), frames=400, one_way_ms=25)
    assert (judged.complete_pct, judged.arrived) == (100.0, 400)
    assert judged.late_p50_ms == judged.late_p99_ms == judged.late_max_ms == 0
    assert judged.ttfa_ms == 45
    assert judged.stall_ms == 0
    assert judged.gap_ms == 20
    assert judged.on_time_pct == 100


def test_a_late_frame_holds_up_those_behind_it():
    there = in_order(arrivals(10, late={3: 70}), 10)
    capture = [(n + 1) * FRAME_NS + 25 * MS for n in range(10)]
    late = [(at - due) / MS for at, due in zip(there, capture, strict=True)]
    assert late == [0, 0, 0, 70, 50, 30, 10, 0, 0, 0]


def test_what_is_held_up_counts_as_late_although_it_arrived_in_time():
    judged = uplink(0, arrivals(400, late={10: 300}), frames=400, one_way_ms=25)
    assert judged.late_max_ms == 300
    assert judged.late_p99_ms == 240  # of 400 the 4th latest: 300, 280, 260, 240
    assert judged.on_time_pct == 97.5  # ten are late by 300, 280, ... 120 ms
    assert judged.gap_ms == 320
    assert judged.stall_ms == 300


def test_frames_that_never_came_are_missing_and_passed_over():
    judged = uplink(0, arrivals(100, lost={4, 5, 6}), frames=100, one_way_ms=25)
    assert judged.complete_pct == 97.0
    assert judged.late_max_ms == 0
    assert judged.gap_ms == 80
    assert judged.stall_ms == 60


def test_the_set_up_is_not_in_the_percentiles_but_in_the_start():
    first_ns = 200 * MS
    arrived = [(n, max(first_ns, (n + 1) * FRAME_NS + 25 * MS)) for n in range(400)]
    judged = uplink(0, arrived, frames=400, one_way_ms=25)
    assert judged.ttfa_ms == 200
    assert judged.start_late_max_ms == 155
    assert judged.late_max_ms == 0


def test_order_of_arrival_and_doubles_change_nothing():
    arrived = arrivals(50, late={7: 90})
    shuffled = [*arrived[::-1], (7, arrived[-1][1] + 5 * MS), (99, 1), (-1, 1)]
    assert in_order(shuffled, 50) == in_order(arrived, 50)


def test_nothing_at_all_is_nothing():
    judged = uplink(0, [], frames=400, one_way_ms=25)
    assert (judged.complete_pct, judged.ttfa_ms, judged.late_p99_ms) == (0.0, None, None)
    assert downlink(None, [], frames=10).complete_pct == 0.0


@pytest.mark.parametrize(("percent", "value"), [(50, 50), (99, 99), (100, 100), (1, 1)])
def test_percentiles_are_of_the_values_themselves(percent, value):
    assert percentile(range(1, 101), percent) == value


def test_an_answer_ahead_of_its_playback_survives_a_gap_without_silence():
    # All but the last 100 frames at once; those come 5 s later, while 6 s are being played.
    arrived = [(n, 0) for n in range(300)] + [(n, 5_000 * MS) for n in range(300, 400)]
    judged = downlink(0, arrived, frames=400)
    assert (judged.gap_ms, judged.silence_ms, judged.stalls) == (5000, 0, 0)


def test_a_live_answer_has_the_gap_less_what_was_in_hand_as_silence():
    arrived = [(n, n * FRAME_NS + (500 * MS if n >= 100 else 0)) for n in range(200)]
    judged = downlink(0, arrived, frames=200)
    assert judged.gap_ms == 520
    assert judged.silence_ms == 400  # the player had 100 ms in hand
    assert judged.stalls == 1


def test_frames_that_never_come_are_concealed_one_by_one():
    arrived = [(n, n * FRAME_NS) for n in range(100) if n not in (10, 11, 50)]
    judged = downlink(0, arrived, frames=100)
    assert (judged.silence_ms, judged.stalls) == (60, 2)


def test_of_several_pauses_the_one_at_the_change_is_told():
    """Frame 50 is 200 ms late, frame 100 by 600 ms, frame 200 by 900 ms."""
    arrived = arrivals(400, late={50: 200, 100: 600, 200: 900})
    for around_ms, pause_ms in {(1900, 2500): 620, (2040, 2050): 620, (900, 950): 20}.items():
        judged = uplink(0, arrived, frames=400, one_way_ms=25, around_ms=around_ms)
        assert judged.change_ms == pause_ms
    assert judged.gap_ms == 920
    judged = uplink(0, arrived, frames=400, one_way_ms=25, around_ms=(9000, 9500))
    assert judged.change_ms is None
