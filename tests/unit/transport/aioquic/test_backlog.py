"""Who waits for whom when there is more to do than time."""

import gc

import pytest

from moqvox.transport.aioquic.backlog import MAX_IN_ALL, MAX_OF_EACH, Backlog
from moqvox.transport.aioquic.waiting import wait


def drained(backlog):
    return [backlog.take() for _ in range(len(backlog))]


def test_owners_take_turns_and_each_keeps_its_order():
    backlog = Backlog()
    for number in range(4):
        backlog.put("loud", f"loud {number}")
    backlog.put("quiet", "quiet 0")
    assert drained(backlog) == ["loud 0", "quiet 0", "loud 1", "loud 2", "loud 3"]


def test_who_comes_later_waits_for_one_of_each_at_most():
    backlog = Backlog()
    for number in range(100):
        backlog.put("loud", number)
    assert backlog.take() == 0
    backlog.put("quiet", "quiet")
    assert [backlog.take(), backlog.take()] == [1, "quiet"]


def test_who_has_too_much_loses_it_and_nobody_else_does():
    backlog = Backlog()
    assert sum(backlog.put("loud", number) for number in range(2 * MAX_OF_EACH)) == MAX_OF_EACH
    assert backlog.put("quiet", 0)


def test_all_together_are_bounded():
    backlog = Backlog()
    for owner in range(MAX_IN_ALL):
        assert backlog.put(owner, 0)
    assert not backlog.put("one more", 0)
    assert len(drained(backlog)) == MAX_IN_ALL
    assert backlog.put("one more", 0)


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_all_of_an_owners_are_taken_in_order_and_nobody_elses(count):
    backlog = Backlog()
    for number in range(count):
        backlog.put("leaves", number)
        backlog.put("stays", -number)
    assert list(backlog.take_all("leaves")) == list(range(count))
    assert "leaves" not in backlog
    assert drained(backlog) == [-number for number in range(count)]


@pytest.mark.parametrize(
    "address",
    [
        ("192.0.2.1", 443),
        ("192.0.2.1", 443, 2),
        ("2001:db8::1", 443, 0, 0),
        ("2001:db8::1", 443, 0, 0, 3),
    ],
)
def test_a_datagram_that_waits_is_as_it_was_and_no_business_of_the_collectors(address):
    datagram = b"said", address, None
    item = wait(datagram)
    assert item.datagram == datagram
    assert not gc.is_tracked(item)
    assert not any(map(gc.is_tracked, gc.get_referents(item)))
