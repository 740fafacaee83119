"""How often a close is said."""

import math

from moqvox.transport.aioquic.last_words import LastWords

WORDS = [(b"bye", ("192.0.2.1", 1))]


def test_it_is_said_again_once_by_itself():
    words = LastWords()
    assert words.take_due(1e9) == []
    words.said(WORDS, 5.0)
    assert words.take_due(4.9) == []
    assert words.take_due(5.0) == WORDS
    assert words.due_at == math.inf
    assert words.take_due(6.0) == []


def test_late_packets_are_answered_ever_more_rarely():
    words = LastWords()
    words.said(WORDS, 5.0)
    answered = [number for number in range(1, 100) if words.answer()]
    assert answered == [1, 2, 4, 8, 16, 32, 64]


def test_who_said_nothing_repeats_nothing():
    assert not any(LastWords().answer() for _ in range(4))
