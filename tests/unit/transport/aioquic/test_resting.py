"""Links wait a bounded number of turns for something to say."""

from moqvox.transport.aioquic.resting import TURNS, Resting


def test_a_link_rests_so_many_turns_and_is_due_once():
    resting, link = Resting(), object()
    resting.add(link)
    assert [resting.take_due() for _ in range(TURNS)] == [[]] * (TURNS - 1) + [[link]]
    assert not resting
    assert resting.take_due() == []


def test_a_link_that_hears_more_rests_no_longer_for_that():
    resting, link = Resting(), object()
    due = []
    for _ in range(TURNS):
        resting.add(link)
        due += resting.take_due()
    assert due == [link]


def test_links_are_due_in_the_order_in_which_they_began_to_rest():
    resting, first, second = Resting(), object(), object()
    resting.add(first)
    assert resting.take_due() == []
    resting.add(second)
    due = [resting.take_due() for _ in range(TURNS)]
    assert due[-2:] == [[first], [second]]


def test_a_link_that_has_its_turn_rests_no_more():
    resting, link, other = Resting(), object(), object()
    resting.add(link)
    resting.add(other)
    resting.discard(link)
    resting.discard(link)
    assert [one for _ in range(TURNS) for one in resting.take_due()] == [other]
