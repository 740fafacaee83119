"""How often a silent path is asked: while a handshake is waited for, or more than is copied."""

import itertools

import pytest
from tests.unit.transport.aioquic.speech import Talk, frame
from tests.unit.transport.aioquic.wires import Wire

from moqvox.transport.aioquic import Limits
from moqvox.transport.aioquic.hurry import (
    FIRST_HURRIED_FOR,
    HURRIED_FOR,
    LONGEST_FIRST_PAUSE,
    LONGEST_PAUSE,
)

AT_ONCE = 100
"""Frames of an answer that is handed over at once: too much to be copied."""

BULK = Limits().redundant_below


def hand_over(talk: Talk, *, priority: int = 0) -> None:
    """Speak a few words, then go silent both ways, with an answer on its way."""
    talk.stream = talk.client.open_stream(bidirectional=False, priority=priority)
    talk.speak(20)
    talk.run(0.5)
    talk.lose = lambda: True
    for _ in range(AT_ONCE):
        talk.spoken_at.append(talk.now)
        talk.client.table.feed(talk.stream, frame(len(talk.spoken_at) - 1), fin=False)


@pytest.mark.parametrize("rtt", [0.03, 0.05])
@pytest.mark.parametrize("dead", [0.51, 1.03, 2.07, 4.03])
def test_an_answer_handed_over_at_once_goes_on_soon_after_its_path_is_back(rtt, dead):
    talk = Talk(delay=rtt / 2)
    hand_over(talk)
    talk.run(dead)
    talk.lose = lambda: False
    back_at = talk.now
    talk.run(LONGEST_PAUSE + 1.5 * rtt + 0.002)  # the answer to a probe tells what was lost
    assert talk.heard_at[-1] > back_at
    talk.run(5 * rtt)
    assert len(talk.heard_at) == len(talk.spoken_at)


def test_while_only_acks_are_lost_what_is_sent_again_is_heard():
    talk = Talk(delay=0.015)
    hand_over(talk)
    talk.run(1.0)
    heard = len(talk.heard_at)
    talk.lose = lambda: not talk.is_up
    talk.run(0.5)
    assert len(talk.heard_at) > heard


def test_a_path_that_stays_dead_is_not_hurried_for_ever():
    talk = Talk(delay=0.015)
    hand_over(talk)
    talk.run(1.0)
    sent = talk.sent_datagrams
    talk.run(HURRIED_FOR - 1.0)
    assert talk.sent_datagrams - sent <= HURRIED_FOR / (LONGEST_PAUSE / 2)
    sent = talk.sent_datagrams
    talk.run(15.0)
    assert talk.sent_datagrams - sent <= 16


def test_nobody_waits_for_bulk():
    talk = Talk(delay=0.015)
    hand_over(talk, priority=BULK)
    talk.run(1.0)
    sent = talk.sent_datagrams
    talk.run(10.0)
    assert talk.sent_datagrams - sent <= 8


@pytest.mark.parametrize("dead", [0.61, 1.41, 2.21, 3.01])
@pytest.mark.parametrize("is_up", [True, False])
def test_a_handshake_goes_on_soon_after_its_path_is_back(dead, is_up):
    talk = Talk(lose=lambda up, now: up == is_up and now < dead, settle=dead)
    assert not talk.client._handshake_complete
    talk.run(LONGEST_FIRST_PAUSE + 2 * talk.delay + 0.002)
    assert talk.client._handshake_complete


def test_a_server_that_is_not_there_is_not_hurried_for_ever():
    sent: list[float] = []
    wire = Wire(lose=lambda: sent.append(wire.now) or True)
    wire.run(9.9)
    assert len(sent) <= 2 + FIRST_HURRIED_FOR / LONGEST_FIRST_PAUSE + 4
    late = [when for when in sent if when > FIRST_HURRIED_FOR + LONGEST_FIRST_PAUSE]
    assert late[-1] - late[-2] > 1.5 * (late[-2] - late[-3]) > LONGEST_FIRST_PAUSE


def test_a_client_that_is_not_proven_is_not_hurried():
    answers: list[float] = []

    class Deaf(Wire):
        def _datagrams(self, engine):
            datagrams = super()._datagrams(engine)
            if engine is self.server:
                answers.extend(self.now for _ in datagrams)
                return []
            return datagrams if self.now < 0.1 else []

    Deaf().run(5.0)
    pauses = [b - a for a, b in itertools.pairwise(sorted(set(answers)))]
    assert all(b > 1.9 * a for a, b in itertools.pairwise(pauses))
