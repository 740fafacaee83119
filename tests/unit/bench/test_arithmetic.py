import pytest
from bench.arithmetic import percentile, ratio, spread
from hypothesis import given
from hypothesis import strategies as st


def test_a_percentile_is_a_value_that_was_measured():
    values = [5.0, 1.0, 4.0, 2.0, 3.0]
    assert percentile(values, 0.5) == 3.0
    assert percentile(values, 0.2) == 1.0
    assert percentile(values, 0.21) == 2.0
    assert percentile(values, 1.0) == 5.0
    assert percentile(values, 0.0) == 1.0


@given(
    st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1),
    st.floats(min_value=0, max_value=1),
)
def test_at_least_the_share_asked_for_is_not_above_a_percentile(values, share):
    found = percentile(values, share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values)


@pytest.mark.parametrize(("values", "share"), [([], 0.5), ([1.0], 1.5), ([1.0], -0.1)])
def test_a_percentile_of_nothing_or_beyond_everything_is_refused(values, share):
    with pytest.raises(ValueError, match=r"values|share"):
        percentile(values, share)


def test_a_spread_shows_median_and_range():
    found = spread([3.0, 1.0, 8.0])
    assert found is not None
    assert (found.median, found.least, found.most) == (3.0, 1.0, 8.0)
    assert found.show(1) == "3.0 (1.0-8.0)"


def test_a_single_measurement_shows_no_range():
    found = spread([2.5])
    assert found is not None
    assert found.show(2) == "2.50"
    assert spread([]) is None


def test_ratios_are_taken_pair_by_pair():
    # The machine was half as fast in the second round: the ratio is the same in both.
    found = ratio([300.0, 150.0], [100.0, 50.0])
    assert found is not None
    assert (found.median, found.least, found.most) == (3.0, 3.0, 3.0)


def test_pairs_without_a_divisor_are_left_out():
    found = ratio([4.0, 9.0, 7.0], [2.0, 0.0])
    assert found is not None
    assert (found.least, found.most) == (2.0, 2.0)
    assert ratio([1.0], [0.0]) is None
