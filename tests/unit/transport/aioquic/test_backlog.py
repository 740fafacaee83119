"""Who waits for whom when there is more to do than time."""

from moqvox.transport.aioquic.backlog import MAX_IN_ALL, MAX_OF_EACH, Backlog


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
