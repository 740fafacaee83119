"""Media time: microseconds, samples and other timescales, in exact integers.

One rounding rule holds everywhere: to the nearest unit, and a tie goes up (towards the later
time). Samples -> microseconds -> samples is then exact at any rate below 1 MHz, because the
error of half a microsecond is always less than half a sample.
"""

from moqvox.errors import LocalError

__all__ = ["MICROSECONDS", "SampleClock", "rescale", "samples_to_us", "us_to_samples"]

MICROSECONDS = 1_000_000
"""Timescale of every timestamp in this package: units per second."""


def rescale(value: int, from_scale: int, to_scale: int) -> int:
    """Convert `value` between two timescales (units per second), nearest, ties up.

    Raises:
        LocalError: a scale is not positive.
    """
    if from_scale <= 0 or to_scale <= 0:
        raise LocalError(f"timescales are positive, got {from_scale} and {to_scale}")
    return (2 * value * to_scale + from_scale) // (2 * from_scale)


def samples_to_us(samples: int, sample_rate: int) -> int:
    """Convert a count of samples per channel to microseconds."""
    return rescale(samples, sample_rate, MICROSECONDS)


def us_to_samples(time_us: int, sample_rate: int) -> int:
    """Convert microseconds to a count of samples per channel."""
    return rescale(time_us, MICROSECONDS, sample_rate)


class SampleClock:
    """Timestamps for a run of frames, counted in samples so that rounding never adds up.

    `samples` is the count so far; the time of sample 0 is `origin_us`.
    """

    def __init__(self, sample_rate: int, origin_us: int = 0) -> None:
        if sample_rate <= 0:
            raise LocalError(f"a sample rate is positive, got {sample_rate}")
        self.sample_rate = sample_rate
        self.origin_us = origin_us
        self.samples = 0

    @property
    def now_us(self) -> int:
        """The timestamp of the next sample."""
        return self.origin_us + samples_to_us(self.samples, self.sample_rate)

    def advance(self, samples: int) -> int:
        """Count a frame of `samples` and return the timestamp of its first sample."""
        if samples < 0:
            raise LocalError(f"a frame has no negative length, got {samples} samples")
        start_us = self.now_us
        self.samples += samples
        return start_us
