"""Our ranges are upstream's, whatever is added and taken away."""

import inspect

from aioquic.quic.rangeset import RangeSet
from hypothesis import given
from hypothesis import strategies as st

from moqvox.transport.aioquic.private.ranges import Ranges

step = st.tuples(st.booleans(), st.integers(0, 40), st.integers(1, 12))


@given(st.lists(step, max_size=30))
def test_ranges_are_upstreams(steps):
    ours, upstream = Ranges(), RangeSet()
    for is_added, start, size in steps:
        for ranges in (ours, upstream):
            (ranges.add if is_added else ranges.subtract)(start, start + size)
        assert list(ours) == list(upstream)
        assert len(ours) == len(upstream)
        assert [n in ours for n in range(60)] == [n in upstream for n in range(60)]
        if ours:
            assert ours.bounds() == upstream.bounds()
    while ours:
        assert ours.shift() == upstream.shift()


def test_single_numbers_join():
    ours = Ranges()
    for number in (3, 1, 2, 7):
        ours.add(number)
    assert ours == [range(1, 4), range(7, 8)]


def test_upstreams_ranges_have_no_other_methods():
    methods = {name for name, _ in inspect.getmembers(RangeSet, inspect.isfunction)}
    ours = {name for name in methods if hasattr(Ranges, name)}
    assert {name for name in methods if not name.startswith("_")} <= ours | {"count", "index"}
