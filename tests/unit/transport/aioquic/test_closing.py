"""What a close waits for, and for how long."""

from moqvox.transport.aioquic.closing import ANSWER_LINGER, HASTY_LINGER, Closing
from moqvox.transport.aioquic.ending import Ending
from moqvox.transport.interface import Closed

BYE = Ending(7, is_transport=False, reason="bye")


def closing(*, until=3.0, report=None, farewell=None, answered=None):
    return Closing(BYE, until, report=report, farewell=farewell, answered=answered)


def test_a_close_waits_for_what_is_queued_and_no_longer_than_allowed():
    made = closing()
    assert made.waits(1.0, has_arrived=False)
    assert not made.waits(1.0, has_arrived=True)
    assert not made.waits(3.0, has_arrived=False)


def test_a_farewell_is_said_once_and_then_has_its_own_time():
    said = []
    made = closing(farewell=lambda: said.append("bye"))
    assert made.say_farewell(2.0)
    assert not made.say_farewell(2.1)
    assert said == ["bye"]
    assert made.until == 2.0 + HASTY_LINGER


def test_an_answer_is_waited_for_only_once_the_farewell_is_said():
    answers = []
    made = closing(farewell=lambda: None, answered=lambda: bool(answers))
    assert not made.waits(1.0, has_arrived=True)
    made.say_farewell(1.0)
    assert made.waits(1.5, has_arrived=True)
    assert not made.waits(1.0 + ANSWER_LINGER, has_arrived=True)
    answers.append("bye")
    assert not made.waits(1.5, has_arrived=True)


def test_the_observer_is_told_the_same_as_the_peer_unless_something_else_is_said():
    assert closing().report() == Closed(7, "bye")
    assert closing(report=Closed(0, "over")).report() == Closed(0, "over")
