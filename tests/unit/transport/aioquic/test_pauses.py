"""When a step of a handshake finds room between a caller's packets: times are arguments."""

import pytest

from moqvox.transport.aioquic.pauses import Pauses

EVERY = 0.02
STEP = 0.002


def rhythm(*, every=EVERY, count=20, step=STEP) -> tuple[Pauses, float]:
    """Let somebody speak in time; returns when he did last."""
    pauses = Pauses()
    for _ in range(count):
        pauses.stepped(step)
    for number in range(count):
        pauses.heard(100.0 + number * every)
    return pauses, 100.0 + (count - 1) * every


def test_after_a_packet_there_is_room_and_shortly_before_the_next_there_is_none():
    pauses, last = rhythm()
    assert pauses.room_at(last + 0.001) == last + 0.001
    assert pauses.room_at(last + EVERY - 2 * STEP) == last + EVERY - 2 * STEP
    assert pauses.room_at(last + EVERY - STEP / 2) > last + EVERY


def test_who_is_late_is_waited_for_and_who_has_stopped_is_not():
    pauses, last = rhythm()
    assert pauses.room_at(last + 1.2 * EVERY) == pytest.approx(last + 1.5 * EVERY)
    assert pauses.room_at(last + 2 * EVERY) == last + 2 * EVERY


def test_packets_that_come_faster_than_steps_are_done_leave_nothing_to_wait_for():
    pauses, last = rhythm(every=STEP)
    assert pauses.room_at(last) is None


def test_nobody_has_spoken_yet():
    assert Pauses().room_at(100.0) == 100.0


def test_several_packets_at_once_count_as_one():
    pauses, last = rhythm()
    for number in range(20):
        pauses.heard(last + number * 1e-5)
    assert pauses.room_at(last + EVERY / 2) == last + EVERY / 2


def test_after_a_silence_the_old_rhythm_holds():
    pauses, last = rhythm()
    pauses.heard(last + 5.0)
    assert pauses.room_at(last + 5.0 + EVERY / 2) == last + 5.0 + EVERY / 2
    assert pauses.room_at(last + 5.0 + EVERY - STEP / 2) > last + 5.0 + EVERY


def test_one_step_that_the_collector_made_long_is_not_taken_for_all():
    pauses, last = rhythm()
    pauses.stepped(1.0)
    assert pauses.room_at(last + EVERY - 2 * STEP) == last + EVERY - 2 * STEP
    for _ in range(20):
        pauses.stepped(2 * STEP)
    assert pauses.room_at(last + EVERY - 1.5 * STEP) > last + EVERY
