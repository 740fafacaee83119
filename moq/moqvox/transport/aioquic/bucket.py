"""A rate that a peer, or a network full of them, may not pass for long."""

import msgspec

__all__ = ["Bucket"]


class Bucket(msgspec.Struct):
    """A token bucket. Pure: the clock is an argument.

    Attributes:
        rate: how many a second.
        burst: how many at once after a rest.
        left: what is in it.
        at: when that was so, in seconds.
    """

    rate: float
    burst: float
    left: float
    at: float

    @staticmethod
    def full(rate: float, burst: float, now: float) -> "Bucket":
        """Make one that nothing was taken from."""
        return Bucket(rate, burst, burst, now)

    def has_any(self, now: float) -> bool:
        """Whether `take` would succeed."""
        self._fill(now)
        return self.left >= 1.0

    def take(self, now: float) -> bool:
        """Take one; False when it is empty."""
        if not self.has_any(now):
            return False
        self.left -= 1.0
        return True

    def is_full(self, now: float) -> bool:
        """Whether it has recovered from everything, so that it need not be remembered."""
        self._fill(now)
        return self.left >= self.burst

    def _fill(self, now: float) -> None:
        if now > self.at:
            self.left = min(self.burst, self.left + (now - self.at) * self.rate)
            self.at = now
