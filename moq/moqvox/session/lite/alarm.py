"""Deadlines of one length, without a clock."""

from typing import Final

__all__ = ["Alarm"]

_UNSTAMPED: Final = float("-inf")
"""Due at once: the next `expire` learns the time and stamps."""


class Alarm:
    """Tells which names have waited for `seconds`.

    A session hears the time only in `handle_timeout`. A name that starts to wait is
    therefore due at once; the call which that provokes stamps it, and from then on it is
    due `seconds` later. Names are due in the order they were started in.

    Attributes:
        is_set: whether any name waits; a session asks for each frame, so it costs no call.
    """

    __slots__ = ("_due", "_fresh", "_seconds", "is_set")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._due: dict[int, float] = {}
        self._fresh: set[int] = set()
        self.is_set = False

    def start(self, name: int) -> None:
        """Let a name wait, unless it waits already."""
        if name not in self._due and name not in self._fresh:
            self._fresh.add(name)
            self.is_set = True

    def stop(self, name: int) -> None:
        """Let a name wait no longer."""
        self._fresh.discard(name)
        self._due.pop(name, None)
        self._see()

    def clear(self) -> None:
        """Let no name wait any longer."""
        self._fresh.clear()
        self._due.clear()
        self.is_set = False

    def deadline(self) -> float | None:
        """Return when `expire` is wanted next."""
        if self._fresh:
            return _UNSTAMPED
        return next(iter(self._due.values())) if self._due else None

    def expire(self, now: float) -> list[int]:
        """Stamp the names that began to wait, and take those that are due."""
        for name in sorted(self._fresh):
            self._due[name] = now + self._seconds
        self._fresh.clear()
        late = []
        for name, due in self._due.items():
            if due > now:
                break
            late.append(name)
        for name in late:
            del self._due[name]
        self._see()
        return late

    def _see(self) -> None:
        self.is_set = bool(self._fresh or self._due)
