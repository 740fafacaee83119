import pytest
from hypothesis import given
from hypothesis import strategies as st

from moqvox.errors import LocalError
from moqvox.media.clock import SampleClock, rescale, samples_to_us, us_to_samples

RATES = st.sampled_from([8_000, 11_025, 16_000, 22_050, 24_000, 44_100, 48_000, 96_000, 192_000])


@pytest.mark.parametrize(
    ("value", "source", "target", "expected"),
    [
        (960, 48_000, 1_000_000, 20_000),
        (1, 48_000, 1_000_000, 21),
        (1, 2, 1, 1),
        (-1, 2, 1, 0),
        (1, 3, 1_000_000, 333_333),
        (3600 * 48_000, 48_000, 1_000_000, 3_600_000_000),
    ],
)
def test_rescaling_goes_to_the_nearest_unit_and_ties_go_up(value, source, target, expected):
    assert rescale(value, source, target) == expected


@given(st.integers(-(2**62), 2**62), RATES)
def test_samples_survive_a_trip_through_microseconds(samples, rate):
    assert us_to_samples(samples_to_us(samples, rate), rate) == samples


@given(st.integers(0, 2**50), RATES, RATES)
def test_rescaling_is_never_off_by_more_than_half_a_unit(value, source, target):
    assert abs(2 * rescale(value, source, target) * source - 2 * value * target) <= source


@pytest.mark.parametrize("scales", [(0, 1), (1, 0), (-1, 1)])
def test_a_timescale_that_is_not_positive_is_refused(scales):
    with pytest.raises(LocalError, match="timescales are positive"):
        rescale(1, *scales)


def test_a_clock_at_44100_hz_does_not_drift_over_an_hour():
    clock = SampleClock(44_100, origin_us=5)
    starts = [clock.advance(882) for _ in range(180_000)]
    assert starts[0] == 5
    assert clock.now_us == 3_600_000_005
    assert all(b - a == 20_000 for a, b in zip(starts[::50], starts[1::50], strict=True))


def test_a_clock_refuses_to_run_backwards():
    with pytest.raises(LocalError, match="no negative length"):
        SampleClock(48_000).advance(-1)
    with pytest.raises(LocalError, match="sample rate is positive"):
        SampleClock(0)
