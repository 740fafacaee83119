"""Copies of live bytes: when they are made, how many, and what they win."""

import itertools
import statistics

import pytest
from tests.unit.transport.aioquic.compared import PlainTalk
from tests.unit.transport.aioquic.speech import (
    FRAME_BYTES,
    INTERVAL,
    SEEDS,
    Talk,
    bursty,
    frame,
    lossy,
)

from moqvox.transport.aioquic import Limits
from moqvox.transport.aioquic.redundancy import (
    AGAIN,
    AGES,
    ALL_TURNS,
    BURST_SAVINGS_BYTES,
    FIRST_BYTES,
    FIRST_PROBES,
    MAX_TURN_BYTES,
    PACKET_BYTES,
    PROBE_EVERY,
    PROBE_SOON,
    SAVINGS_BYTES,
    THIN_BYTES,
    TURN,
    Redundancy,
)
from moqvox.transport.aioquic.streams import StreamTable

ON = Limits().redundancy
BROWSERS_ACK_DELAY = 0.025


def lose_once(talk: Talk) -> None:
    fates = iter([True])
    talk.lose = lambda: next(fates, False)


def test_a_clean_path_carries_copies_of_the_first_bytes_only():
    talk = Talk()
    talk.speak(60)
    talk.run(1.0)
    assert FIRST_BYTES - FRAME_BYTES <= talk.client.redundancy.copied_bytes <= FIRST_BYTES
    assert len(talk.heard_at) == 60


def test_a_clean_path_is_not_even_watched():
    talk = Talk()
    talk.speak(20)
    assert not talk.client.redundancy.is_active
    assert talk.client.table.take_live() == []
    lose_once(talk)
    talk.speak(20)
    assert talk.client.redundancy.is_active
    talk.speak(260)
    assert not talk.client.redundancy.is_active
    assert talk.client.table.take_live() == []


def test_eight_clean_seconds_cost_two_per_cent_at_most():
    plain, copied = (lossy(1, 0.0, redundancy=r) for r in (0.0, ON))
    size, plain_size = (t.sent_bytes + 28 * t.sent_datagrams for t in (copied, plain))
    assert size < 1.02 * plain_size


def test_the_first_copies_leave_no_packets_so_close_that_jitter_makes_losses_of_them():
    speaker = Speaker(is_lossy=False)
    assert speaker.turn(0.0, 0, rtt=0.03) == []
    assert speaker.turn(INTERVAL, 1, rtt=0.03) == [0]
    assert speaker.redundancy.due_at == pytest.approx(INTERVAL + TURN)


def test_the_first_loss_starts_copies_and_a_clean_while_ends_them():
    talk = Talk()
    talk.speak(20)
    before = talk.client.redundancy.copied_bytes
    lose_once(talk)
    talk.speak(20)
    assert talk.client.redundancy.copied_bytes > before
    talk.speak(260)
    before = talk.client.redundancy.copied_bytes
    talk.speak(20)
    assert talk.client.redundancy.copied_bytes == before


def test_acks_that_were_only_late_end_the_copies():
    talk = Talk()
    talk.speak(60)
    talk.delay = 0.25
    active = []
    for _ in range(60):
        talk.speak(1)
        active.append(talk.client.redundancy.is_active)
    assert any(active)
    assert not any(active[-10:])
    copied = talk.client.redundancy.copied_bytes
    talk.speak(20)
    assert talk.client.redundancy.copied_bytes == copied


def test_a_guess_that_was_right_is_no_false_alarm():
    talk = Talk()
    talk.speak(60)
    talk.lose = lambda: True
    talk.speak(20)
    talk.lose = lambda: False
    talk.speak(40)
    assert talk.client.redundancy.is_active
    assert len(talk.heard_at) >= 110


def test_no_more_is_copied_than_the_budget_allows():
    talk = lossy(1, 0.2, redundancy=1.0, frames=100)
    copied = talk.client.redundancy.copied_bytes
    probes = 10 * MAX_TURN_BYTES
    assert 50 * FRAME_BYTES < copied <= 100 * (FRAME_BYTES + PACKET_BYTES) + SAVINGS_BYTES + probes


def test_nothing_is_copied_when_it_is_switched_off():
    talk = lossy(1, 0.1, redundancy=0.0, frames=60)
    assert talk.client.redundancy.copied_bytes == 0
    assert len(talk.heard_at) == 60


def test_streams_of_low_priority_are_not_copied():
    talk = Talk(limits=Limits(redundant_below=0))
    lose_once(talk)
    talk.speak(50)
    assert talk.client.redundancy.copied_bytes == 0


def test_bulk_is_not_copied_whatever_its_priority():
    talk = Talk()
    stream = talk.client.open_stream(bidirectional=False, priority=0)
    lose_once(talk)
    for _ in range(20):
        talk.client.table.feed(stream, bytes(6000), fin=False)
        talk.run(0.02)
    assert talk.client.recovery.lost_packets > 0
    assert talk.client.redundancy.copied_bytes == 0


def test_the_last_words_are_copied_although_nothing_follows():
    talk = Talk()
    talk.speak(10)
    lose_once(talk)
    talk.speak(12)
    spoken = len(talk.spoken_at)
    fates = iter([True])
    talk.lose = lambda: next(fates, False)
    talk.speak(1)
    talk.run(1.0)
    assert talk.heard_at[spoken] - talk.spoken_at[spoken] - talk.delay < 0.03


def test_all_that_is_under_way_goes_along_when_no_ack_comes():
    talk = Talk(delay=0.025)
    lose_once(talk)
    talk.speak(20)
    cut_at = talk.now
    talk.lose = lambda: talk.now < cut_at + 0.13
    talk.speak(30)
    late = [h - s - talk.delay for h, s in zip(talk.heard_at, talk.spoken_at, strict=False)]
    assert max(late[20:]) < 0.15


@pytest.mark.parametrize("burstiness", [0.0, 0.7])
def test_copies_leave_room_for_what_is_new_in_the_congestion_window(burstiness):
    talk = Talk(delay=0.025)
    lose_once(talk)
    talk.speak(20)
    talk.client.redundancy.losses.burstiness = burstiness
    talk.lose = lambda: True
    waited = []
    for _ in range(20):
        spoken_at = talk.now
        talk.speak(1)
        sender = talk.client.table[talk.stream].sender
        for _ in range(8):
            if sender.highest_offset < len(talk.spoken_at) * FRAME_BYTES:
                talk.run(INTERVAL / 4)
        waited.append(talk.now - spoken_at)
    assert max(waited) < PROBE_EVERY + INTERVAL
    assert statistics.median(waited) == pytest.approx(INTERVAL)


def test_what_fits_no_packet_with_what_is_new_is_copied_in_parts():
    talk = Talk()
    stream = talk.client.open_stream(bidirectional=False, priority=0)
    lose_once(talk)
    for _ in range(10):
        talk.client.table.feed(stream, bytes(1400), fin=False)
        talk.run(0.15)
    assert talk.client.redundancy.copied_bytes > 1400


def test_a_lost_end_of_the_handshake_costs_a_frame_and_no_probe_timeout():
    talk = Talk(delay=0.05, lose=lambda is_up, now: is_up and 0.05 < now < 0.101, settle=0.101)
    assert talk.client._handshake_complete
    assert not talk.server._handshake_complete
    talk.speak(20)
    talk.run(0.5)
    late = [h - s - talk.delay for h, s in zip(talk.heard_at, talk.spoken_at, strict=True)]
    assert max(late) < 0.05


class Speaker:
    """Redundancy on a path of which nothing is ever heard."""

    def __init__(self, *, is_lossy: bool = True) -> None:
        self.table = StreamTable(lambda s: s, lambda _: False, Limits())
        self.table.lacks = lambda *_: True
        self.table.repeat = self.repeat
        self.copied: list[int] = []
        self.redundancy = Redundancy(Limits(), self.table)
        if is_lossy:
            self.redundancy.on_loss(0.0)

    def repeat(self, _stream: int, start: int, stop: int) -> int:
        self.copied.append(start // FRAME_BYTES)
        return stop - start

    def turn(self, now: float, frame: int | None = None, *, rtt: float = 0.1) -> list[int]:
        """Return which frames go along."""
        start = (frame or 0) * FRAME_BYTES
        self.table._live = [] if frame is None else [(0, start, start + FRAME_BYTES)]
        self.copied.clear()
        self.redundancy.advance(now, rtt, 10_000, 2400)
        return list(self.copied)


def test_until_runs_are_known_a_frame_goes_along_with_the_first_and_third_packet_after_it():
    speaker = Speaker()
    along = [speaker.turn(number * INTERVAL, number) for number in range(6)]
    assert along == [[], [0], [1], [0, 2], [1, 3], [2, 4]]
    short = Speaker()
    short.turn(0.0, 0)
    short.redundancy._budget = BURST_SAVINGS_BYTES / 2
    assert short.turn(INTERVAL, 1) == []


@pytest.mark.parametrize(("burstiness", "most"), [(0.5, 7), (0.0, 2)])
def test_one_ack_of_a_burst_does_not_end_what_may_be_owed(burstiness, most):
    speaker = Speaker()
    for number in range(7):
        speaker.turn(number * INTERVAL, number)
    redundancy = speaker.redundancy
    redundancy.losses.burstiness = burstiness
    redundancy._budget = 0.0
    redundancy.on_fates(0.125, 1, 0)
    assert len(speaker.turn(0.14, 7)) == most


@pytest.mark.parametrize(("variance", "late"), [(0.0, 5), (0.0015, 6), (0.01, 8)])
def test_less_late_is_overdue_where_the_round_trip_hardly_varies(variance, late):
    speaker = Speaker()
    speaker.redundancy.on_habit(0.0, -1.0, variance)
    speaker.turn(0.0, 0)
    assert speaker.redundancy._overdue_after == pytest.approx(0.1 + late / 1000)


def test_the_first_probes_follow_one_another_sooner_than_those_into_a_dead_path():
    speaker = Speaker()
    speaker.turn(0.0, 0)
    redundancy, times = speaker.redundancy, []
    for _ in range(200):
        now = redundancy.due_at + 1e-6
        speaker.turn(now)
        if redundancy.take_probe(now):
            times.append(now)
    pauses = [b - a for a, b in itertools.pairwise(times[: 3 * FIRST_PROBES])]
    assert pauses[:FIRST_PROBES] == pytest.approx([PROBE_SOON] * FIRST_PROBES, abs=1e-4)
    assert pauses[FIRST_PROBES:] == pytest.approx([PROBE_EVERY] * (2 * FIRST_PROBES - 1), abs=1e-4)


def test_where_losses_are_known_to_be_single_a_frame_goes_along_with_the_next_two_packets():
    speaker = Speaker()
    speaker.redundancy.losses.share = 0.05
    for _ in range(8):
        speaker.redundancy.losses.on_run(1)
    along = [speaker.turn(number * INTERVAL, number) for number in range(6)]
    assert along == [[], [0], [1, 0], [2, 1], [3, 2], [4, 3]]


def test_in_a_burst_everything_leaves_as_soon_as_an_ack_is_overdue_and_soon_again():
    speaker = Speaker()
    for number in range(4):
        speaker.turn(number * INTERVAL, number)
    redundancy, times, along = speaker.redundancy, [], []
    while redundancy.due_at is not None and len(times) < 50:
        times.append(redundancy.due_at)
        along.append(speaker.turn(times[-1] + 1e-6))
        redundancy.take_probe(times[-1] + 1e-6)
    overdue_at = redundancy._overdue_after
    first = next(n for n, when in enumerate(times) if when >= overdue_at)
    assert times[first] == pytest.approx(overdue_at, abs=1e-5)
    assert sorted(along[first]) == [0, 1, 2, 3]
    assert times[first + 1] - times[first] == pytest.approx(AGAIN, abs=1e-5)
    assert all(when < overdue_at for when in times[:first])
    assert first <= max(AGES)
    assert times[0] == pytest.approx(3 * INTERVAL + TURN)


def test_nothing_turns_in_a_circle_while_nothing_is_heard():
    talk = Talk()
    talk.speak(20)
    calls = []
    advance = talk.client.redundancy.advance
    talk.client.redundancy.advance = lambda *a: calls.append(talk.now) or advance(*a)
    talk.lose = lambda: True
    talk.speak(5)
    talk.run(5.0)
    assert ALL_TURNS < len(set(calls)) < 5.1 / PROBE_EVERY + 20
    assert len(calls) <= 2 * len(set(calls))  # each time until nothing more leaves


def test_what_was_just_written_is_under_way_at_the_first_loss():
    talk = Talk()
    talk.speak(1)
    talk.run(1.0)
    talk.client.table.feed(talk.stream, frame(1), fin=False)
    expected = [(talk.stream, FRAME_BYTES, 2 * FRAME_BYTES)]
    assert talk.client.table.under_way(THIN_BYTES) == expected


@pytest.mark.parametrize("is_usual", [True, False])
def test_parts_of_a_stream_that_lie_apart_share_a_packet(is_usual):
    talk = Talk()
    talk.speak(40)
    if not is_usual:
        talk.client._survey = lambda: None
        talk.client._usual = None
    start = talk.client.table[talk.stream].sender.released_offset
    assert start < 38 * FRAME_BYTES
    before = talk.sent_datagrams
    assert talk.client.table.repeat(talk.stream, start, start + FRAME_BYTES) == FRAME_BYTES
    talk.speak(1)
    assert talk.sent_datagrams == before + 1
    talk.run(1.0)
    assert len(talk.heard_at) == 41


def test_random_loss_is_hardly_heard():
    assert lossy(3, 0.05, redundancy=ON, frames=100).lateness_p99() <= 0.125


@pytest.mark.slow
@pytest.mark.parametrize("loss", [0.05, 0.1])
def test_the_median_lateness_in_order_is_a_fraction_of_plain_recoverys(loss):
    plain, copied = ([lossy(n, loss, redundancy=r) for n in range(SEEDS)] for r in (0.0, ON))
    assert median_p99(copied) <= 0.045 < median_p99(plain) / 3
    assert median_bytes(copied) <= 2.2 * median_bytes(plain)


def test_a_peer_that_acknowledges_as_browsers_do_is_sent_hardly_more_copies():
    at_once, browser = (
        [lossy(n, 0.05, redundancy=ON, frames=200, ack_delay=d) for n in range(2)]
        for d in (None, BROWSERS_ACK_DELAY)
    )
    assert sum(copied(browser)) < 1.1 * sum(copied(at_once))


def test_it_is_known_how_late_the_peers_acks_are_and_of_what_the_newest_was():
    talk = Talk(ack_delay=BROWSERS_ACK_DELAY)
    talk.speak(60)
    recovery = talk.client.recovery
    assert recovery.ack_lateness == pytest.approx(BROWSERS_ACK_DELAY, rel=0.1)
    assert talk.now - 0.16 < recovery.passed_at < talk.now - 0.1
    at_once = Talk()
    at_once.speak(60)
    assert at_once.client.recovery.ack_lateness < 0.003


def test_a_piece_that_an_ack_passes_over_goes_along_at_once_however_late_acks_are():
    table = StreamTable(lambda s: s, lambda _: False, Limits())
    table.watches_live = True
    redundancy = Redundancy(Limits(), table)
    repeated = []
    table.lacks = lambda *_: True
    table.repeat = lambda _, start, stop: repeated.append(start) or stop - start
    redundancy.on_loss(0.0)
    redundancy.losses.burstiness = 0.0

    def speak(number, passed_at):
        table._live = [(0, number * 80, number * 80 + 80)]
        repeated.clear()
        redundancy.on_fates(number * INTERVAL, 1, 0)
        redundancy.on_habit(BROWSERS_ACK_DELAY, passed_at)
        redundancy.advance(number * INTERVAL, 0.1, 10_000, 2400)

    for number in range(8):
        speak(number, -1.0)
    assert 160 not in repeated
    speak(8, 0.05)
    assert 160 in repeated
    assert 240 not in repeated


@pytest.mark.parametrize(("burstiness", "is_all"), [(0.1, False), (0.4, True)])
def test_one_lost_ack_of_a_browser_is_no_burst_where_losses_are_single(burstiness, is_all):
    table = StreamTable(lambda s: s, lambda _: False, Limits())
    table.watches_live = True
    redundancy = Redundancy(Limits(), table)
    repeated = []
    table.lacks = lambda *_: True
    table.repeat = lambda _, start, stop: repeated.append(start) or stop - start
    redundancy.on_loss(0.0)
    redundancy.losses.burstiness = burstiness
    for number in range(10):
        now = number * INTERVAL
        if number <= 5:  # of the two ACKs from here on, 40 ms apart, one is lost
            redundancy.on_fates(now, 1, 0)
        table._live = [(0, number * 80, number * 80 + 80)]
        repeated.clear()
        redundancy.on_habit(BROWSERS_ACK_DELAY, -1.0)
        redundancy.advance(now, 0.1, 10_000, 2400)
    assert {0, 560, 640} <= set(repeated)  # what is overdue, and what is newest
    assert (400 in repeated) is is_all


@pytest.mark.slow
@pytest.mark.parametrize(("loss", "most"), [(0.05, 0.045), (0.1, 0.065)])
def test_a_browser_hears_losses_late_by_a_part_of_plain_recoverys_at_the_same_cost(loss, most):
    plain, copied = (
        [lossy(n, loss, redundancy=r, ack_delay=BROWSERS_ACK_DELAY) for n in range(SEEDS)]
        for r in (0.0, ON)
    )
    assert median_p99(copied) <= most < median_p99(plain) / 3
    assert median_bytes(copied) <= 2.2 * median_bytes(plain)


@pytest.mark.slow
@pytest.mark.parametrize(("delay", "part"), [(0.025, 0.55), (0.05, 0.6)])
def test_bursts_cost_a_part_of_what_plain_aioquic_makes_of_them(delay, part):
    seeds = range(2 * SEEDS)
    plain = [bursty(n, redundancy=0.0, delay=delay, kind=PlainTalk) for n in seeds]
    copied = [bursty(n, redundancy=ON, delay=delay) for n in seeds]
    assert median_p99(copied) <= part * median_p99(plain)
    assert median_bytes(copied) <= 2.2 * median_bytes(plain)


def test_plain_aioquic_hears_the_same_speech_under_the_same_losses():
    plain = lossy(3, 0.05, redundancy=0.0, frames=60, kind=PlainTalk)
    assert len(plain.heard_at) == len(plain.spoken_at) == 60
    assert plain.lateness_p99() > 3 * lossy(3, 0.05, redundancy=ON, frames=60).lateness_p99()


def copied(talks: list[Talk]) -> list[int]:
    return [talk.client.redundancy.copied_bytes for talk in talks]


def median_p99(talks: list[Talk]) -> float:
    return statistics.median(talk.lateness_p99() for talk in talks)


def median_bytes(talks: list[Talk]) -> float:
    return statistics.median(talk.sent_bytes + 28 * talk.sent_datagrams for talk in talks)
