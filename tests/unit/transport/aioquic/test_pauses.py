"""When a step of a handshake finds room between callers' packets: times are arguments."""

import random

import pytest

from moqvox.transport.aioquic.pauses import (
    CROWDED,
    LATE,
    MAX_KNOWN,
    PROVEN_SECONDS,
    Pauses,
    Rhythm,
)

EVERY = 0.02
STEP = 0.002
BEGIN = 100.0
LONG_ENOUGH = 100
"""Packets of a caller that has proven to keep time."""


def speak(pauses, *, every=EVERY, count=LONG_ENOUGH, begin=BEGIN, jitter=0.0, seed=1):
    """Let somebody speak in time; returns his rhythm."""
    rng = random.Random(seed)
    rhythm = Rhythm()
    for number in range(count):
        pauses.heard(rhythm, begin + number * every + rng.uniform(-jitter, jitter))
    return rhythm


def stepping(step=STEP) -> Pauses:
    """Know how long a step takes."""
    pauses = Pauses()
    for _ in range(30):
        pauses.stepped(step)
    return pauses


def caller(**how) -> tuple[Pauses, Rhythm]:
    pauses = stepping()
    return pauses, speak(pauses, **how)


def test_after_a_packet_there_is_room_and_shortly_before_the_next_there_is_none():
    pauses, him = caller()
    last = him.heard_at
    assert pauses.room_at(last + 0.001) == last + 0.001
    assert pauses.room_at(last + EVERY - 2 * STEP) == last + EVERY - 2 * STEP
    assert pauses.room_at(last + EVERY - STEP / 2) > last + EVERY


def test_who_is_late_is_waited_for_and_who_has_stopped_is_not():
    pauses, him = caller()
    last = him.heard_at
    assert pauses.room_at(last + 1.2 * EVERY) == pytest.approx(last + LATE * EVERY)
    assert pauses.room_at(last + 2 * EVERY) is None


def test_packets_that_come_faster_than_steps_are_done_leave_nothing_to_wait_for():
    pauses, him = caller(every=STEP, count=1000)
    assert pauses.room_at(him.heard_at) is None


def test_nobody_has_spoken_yet():
    assert Pauses().room_at(BEGIN) is None


def test_who_has_spoken_for_less_than_a_second_is_not_waited_for():
    pauses, him = caller(count=int(PROVEN_SECONDS / EVERY) - 1)
    assert pauses.room_at(him.heard_at + EVERY - STEP / 2) is None


def test_those_who_speak_whenever_they_like_blur_nobodys_time():
    """Newcomers and attackers talk at random in between, each on a connection of its own."""
    pauses, him = caller()
    rng = random.Random(16)
    for _ in range(20):
        pauses.heard(Rhythm(), him.heard_at + rng.uniform(0, EVERY))
    restless = Rhythm()
    at = BEGIN
    while at < him.heard_at:
        pauses.heard(restless, at)
        at += rng.expovariate(1 / EVERY)
    last = him.heard_at
    assert len(pauses) == 1
    assert pauses.room_at(last + 0.001) == last + 0.001
    assert pauses.room_at(last + EVERY - STEP / 2) > last + EVERY


def test_between_two_who_keep_time_there_is_room_after_the_one_and_not_before_the_other():
    pauses, _ = caller()
    him = speak(pauses, begin=BEGIN + EVERY / 2)
    last = him.heard_at
    assert pauses.room_at(last + 0.001) == last + 0.001
    assert pauses.room_at(last + EVERY / 2 - STEP / 2) > last + EVERY / 2


def test_among_many_who_leave_no_room_there_is_none_to_wait_for():
    pauses = stepping()
    crowd = [speak(pauses, begin=BEGIN + EVERY * number / 10) for number in range(10)]
    assert pauses.room_at(crowd[-1].heard_at + 1e-4) is None


def test_a_single_one_leaves_room_after_each_word_however_narrow_it_is():
    often = 3 * STEP
    pauses, him = caller(every=often, count=300, jitter=0.9 * STEP)
    taken = STEP + 2 * him.off
    assert taken / often > CROWDED
    assert pauses.room_at(him.heard_at) == him.heard_at
    assert pauses.room_at(him.heard_at + often - STEP / 2) > him.heard_at + often


def test_what_a_step_of_ours_kept_from_being_read_is_not_what_a_peer_is_off_by():
    rng = random.Random(5)
    exact, blurred = Rhythm(), Rhythm()
    for number in range(LONG_ENOUGH):
        said_at = BEGIN + number * EVERY
        step_began = said_at - rng.uniform(0, STEP)
        blurred.heard(step_began + STEP)
        exact.heard(step_began + STEP, step_began)
    assert exact.off < blurred.off / 4
    assert exact.usual == pytest.approx(EVERY, rel=0.02)


def test_who_is_early_or_late_beyond_a_step_is_off_by_that():
    rhythm = Rhythm()
    for number in range(LONG_ENOUGH):
        said_at = BEGIN + number * EVERY + (number % 2) * 4 * STEP
        rhythm.heard(said_at + STEP / 2, said_at - STEP / 2)
    assert rhythm.off > 3 * STEP


def test_several_packets_at_once_count_as_one():
    pauses, him = caller()
    for number in range(20):
        pauses.heard(him, him.heard_at + number * 1e-5)
    assert pauses.room_at(him.heard_at + EVERY / 2) == him.heard_at + EVERY / 2


def test_after_a_silence_the_old_rhythm_holds():
    pauses, him = caller()
    pauses.heard(him, him.heard_at + 5.0)
    last = him.heard_at
    assert pauses.room_at(last + EVERY / 2) == last + EVERY / 2
    assert pauses.room_at(last + EVERY - STEP / 2) > last + EVERY


def test_a_jitter_of_the_network_makes_the_time_longer_in_which_somebody_is_expected():
    pauses, him = caller(jitter=0.002)
    last = him.heard_at
    assert pauses.room_at(last + 0.001) == last + 0.001
    assert pauses.room_at(last + EVERY - 1.2 * STEP) > last + EVERY


def test_a_first_packet_out_of_time_is_forgotten():
    """An acknowledgement right after the handshake, say, and the words in time after it."""
    pauses, him = stepping(), Rhythm()
    pauses.heard(him, BEGIN)
    for number in range(LONG_ENOUGH):
        pauses.heard(him, BEGIN + 0.001 + number * EVERY)
    assert him.usual == pytest.approx(EVERY, rel=0.05)
    assert him.is_kept


def test_lost_packets_do_not_cost_somebody_his_place():
    pauses, him = stepping(), Rhythm()
    for number in range(2 * LONG_ENOUGH):
        if number % 10:
            pauses.heard(him, BEGIN + number * EVERY)
    assert len(pauses) == 1


def test_one_step_that_the_collector_made_long_is_not_taken_for_all():
    pauses, him = caller()
    last = him.heard_at
    pauses.stepped(1.0)
    assert pauses.room_at(last + EVERY - 2 * STEP) == last + EVERY - 2 * STEP
    for _ in range(30):
        pauses.stepped(2 * STEP)
    assert pauses.room_at(last + EVERY - 1.5 * STEP) > last + EVERY


def test_so_many_are_known_and_who_is_silent_makes_room():
    pauses = stepping()
    for number in range(2 * MAX_KNOWN):
        speak(pauses, begin=BEGIN + number * 1e-4)
    assert len(pauses) == MAX_KNOWN
    speak(pauses, begin=BEGIN + 60.0)
    assert len(pauses) == 1


def test_a_known_one_that_keeps_time_no_longer_is_waited_for_no_longer():
    pauses, him = caller()
    rng = random.Random(3)
    at = him.heard_at
    for _ in range(60):
        at += rng.choice((0.001, 0.06))
        pauses.heard(him, at)
    assert pauses.room_at(at + 0.001) is None
    assert len(pauses) == 0
