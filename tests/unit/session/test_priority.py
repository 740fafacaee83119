"""The order of sending."""

from hypothesis import given
from hypothesis import strategies as st

from moqvox.session.priority import (
    CONTROL,
    Places,
    fetch_priority,
    group_priority,
    ordered_by_age,
)

levels = st.integers(0, 255)
places = st.integers(0, 2**60)


@given(levels, levels, st.booleans(), places, levels, places)
def test_control_goes_before_live_groups_and_these_before_fetches(
    subscriber, publisher, ordered, place, fetched, asked
):
    live = group_priority(subscriber, publisher, ordered=ordered, place=place)
    assert CONTROL < live < fetch_priority(fetched, asked)


@given(levels, levels, levels, levels, places, places, st.booleans())
def test_the_subscriber_decides_before_the_publisher(sub1, sub2, pub1, pub2, one, two, ordered):
    first = group_priority(sub1, pub1, ordered=ordered, place=one)
    second = group_priority(sub2, pub2, ordered=ordered, place=two)
    if (sub1, pub1) > (sub2, pub2):
        assert first < second
    elif (sub1, pub1) == (sub2, pub2) and one < two:
        assert (first < second) == ordered


def test_an_older_group_opened_late_takes_its_place_before_the_newer_one():
    places = Places()
    earlier, newer = places.next(), places.next()
    late = places.next(before=newer)
    after = places.next()
    assert earlier < late < newer < after


def test_who_waits_ten_seconds_for_old_groups_wants_them_in_order():
    assert ordered_by_age(10_000)
    assert not ordered_by_age(9_999)
