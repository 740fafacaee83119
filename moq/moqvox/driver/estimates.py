"""What a peer that probes is told of the way to it (moq-lite, PROBE)."""

from typing import Final

from moqvox.transport.interface import Stats

__all__ = ["LOOK_EVERY", "Estimates"]

LOOK_EVERY: Final = 5.0
"""Seconds between looks at whether there is anything to tell."""

AGAIN_AFTER: Final = 30.0
"""Seconds after which the same is told again."""

NEWS: Final = 0.25
"""Part by which an estimate must have moved to be news."""

MEASURED_BYTES: Final = 4096
"""Sent since then at least: an idle connection's estimates only tell of the last report."""


class Estimates:
    """Decides when to tell, so that a crowd that says nothing is not told the same all the time."""

    def __init__(self) -> None:
        self._told: Stats | None = None
        self._told_at = 0.0

    def forget(self) -> None:
        """Tell at the next look: somebody has asked who was told nothing yet."""
        self._told = None

    def take(self, stats: Stats, now: float) -> tuple[int, int] | None:
        """Return bits in a second and the round trip in milliseconds; None: nothing to tell now."""
        if stats.rtt <= 0:
            return None
        told = self._told
        if told is not None and now < self._told_at + AGAIN_AFTER and not _is_news(told, stats):
            return None
        self._told, self._told_at = stats, now
        return _bitrate_bps(stats), int(1000 * stats.rtt)


def _is_news(told: Stats, stats: Stats) -> bool:
    if stats.path_changes != told.path_changes:
        return True
    if stats.sent_bytes < told.sent_bytes + MEASURED_BYTES:
        return False
    return _has_moved(_bitrate_bps(told), _bitrate_bps(stats)) or _has_moved(told.rtt, stats.rtt)


def _has_moved(before: float, after: float) -> bool:
    return abs(after - before) > NEWS * before


def _bitrate_bps(stats: Stats) -> int:
    return int(8 * stats.congestion_window_bytes / stats.rtt)
