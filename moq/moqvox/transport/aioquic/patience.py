"""How long a client waits for an answer before it doubts its path, and before it leaves it."""

import math
from typing import Final

from moqvox.transport.aioquic.private.recovery import Recovery

__all__ = ["Patience"]

SILENCE: Final = 0.5
"""Seconds at least without any answer after which a path counts as dead."""

PROBE_TIMEOUTS: Final = 3
"""As many probe time-outs at least."""

MAX_DOUBLINGS: Final = 2
"""Each path that is dead too doubles the patience with the next, up to here."""

DOUBT_RTTS: Final = 1.5
DOUBT: Final = 0.04
"""Round trips, and seconds besides, without an answer, after which a path is doubted."""


class Patience:
    """One connection's patience with the path in use. Pure: the clock is an argument.

    Attributes:
        doublings: how many paths, one after the other, were given up.
    """

    def __init__(self, recovery: Recovery) -> None:
        self.doublings = 0
        self._recovery = recovery
        self._asked_at: float | None = None
        self._has_doubted = False

    def on_asked(self, now: float) -> None:
        """Note that something left that the peer must answer."""
        if self._asked_at is None:
            self._asked_at = now

    def on_heard(self) -> None:
        """Take the peer's sign of life, by the path in use."""
        self._asked_at = None
        self.doublings = 0
        self._has_doubted = False

    def doubt(self) -> None:
        """Note that the silence was doubted: once is enough."""
        self._has_doubted = True

    def give_up(self, now: float) -> None:
        """Begin to wait anew, and for longer, as the path was dead."""
        self.doublings = min(self.doublings + 1, MAX_DOUBLINGS)
        self._asked_at = now

    @property
    def dead_at(self) -> float:
        """When the path counts as dead if no answer comes; infinite when nothing was asked."""
        if self._asked_at is None:
            return math.inf
        return self._asked_at + max(SILENCE, self.probe_timeouts) * (1 << self.doublings)

    @property
    def doubt_at(self) -> float:
        """When the path is to be doubted if no answer comes; infinite when that was done."""
        return math.inf if self._has_doubted else self._late_at

    def is_silent(self, now: float) -> bool:
        """Whether an answer is missing that should have come by now."""
        return now > self._late_at

    @property
    def probe_timeouts(self) -> float:
        """Seconds in which an answer would have come to one of `PROBE_TIMEOUTS` probes."""
        return PROBE_TIMEOUTS * self._recovery.get_probe_timeout()

    @property
    def _late_at(self) -> float:
        if self._asked_at is None:
            return math.inf
        return self._asked_at + DOUBT_RTTS * self._recovery.rtt + DOUBT
