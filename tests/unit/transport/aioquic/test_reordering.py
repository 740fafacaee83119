"""Packets that come late are not lost: what is taken for a loss, and how that ends."""

import random

import pytest
from tests.unit.transport.aioquic.speech import FRAME_BYTES, INTERVAL, Talk

from moqvox.transport.aioquic.reordering import MOST_REORDERED, REORDERS_FOR

LATE = 2.5 * INTERVAL


class Shuffled(Talk):
    """Speech over a wire that holds each datagram to the speaker back for as long as it is told."""

    def __init__(self) -> None:
        self.held_back: list[float] = []
        super().__init__()

    def _send(self) -> None:
        before = len(self.flying)
        super()._send()
        for index in range(before, len(self.flying)):
            when, engine, *rest = self.flying[index]
            if engine is self.client and self.held_back:
                when += self.held_back.pop(0)
            self.flying[index] = (when, engine, *rest)

    @property
    def is_copying(self) -> bool:
        return self.client.redundancy.losses.are_about(self.now)


def spoken() -> Shuffled:
    talk = Shuffled()
    talk.speak(40)
    assert not talk.is_copying
    return talk


def until_copies(talk: Shuffled) -> int:
    """Speak on; returns after how many frames copies begin."""
    for frames in range(20):
        if talk.is_copying:
            return frames
        talk.speak(1)
    return 20


def test_a_gap_starts_copies_at_once_which_end_when_it_is_filled():
    talk = spoken()
    talk.held_back = [LATE]
    assert until_copies(talk) < 8
    talk.speak(3)
    assert not talk.is_copying


def test_a_gap_that_stays_is_a_loss():
    talk = spoken()
    talk.held_back = [100.0]
    assert until_copies(talk) < 8
    talk.speak(50)
    assert talk.is_copying
    talk.client.on_false_alarm(talk.now)  # that all ACKs were late says nothing of it
    assert talk.is_copying


def test_a_path_that_changed_the_order_starts_no_copies_by_short_gaps_for_a_while():
    talk = spoken()
    talk.held_back = [LATE]
    until_copies(talk)
    talk.speak(10)
    talk.held_back = [LATE]
    assert until_copies(talk) == 20
    talk.run(REORDERS_FOR)
    talk.speak(10)
    talk.held_back = [LATE]
    assert until_copies(talk) < 8


def test_a_long_gap_is_a_loss_wherever_it_is():
    talk = spoken()
    talk.held_back = [LATE]
    until_copies(talk)
    talk.speak(10)
    talk.held_back = [100.0] * (MOST_REORDERED + 1)
    assert until_copies(talk) < 10


@pytest.mark.parametrize("seed", [1, 2])
def test_acks_that_change_their_order_all_the_time_cost_hardly_any_copies(seed):
    rng = random.Random(seed)
    talk = spoken()
    copied = talk.client.redundancy.copied_bytes
    talk.held_back = [rng.uniform(0.0, 1.5 * INTERVAL) for _ in range(400)]
    talk.speak(150)
    assert talk.client.redundancy.copied_bytes - copied < 0.1 * 150 * FRAME_BYTES
