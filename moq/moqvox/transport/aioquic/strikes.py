"""What may be used once was used: a register against replay. RFC 8446, section 8.1."""

from typing import Final

__all__ = ["Strikes"]

MAX_STRIKES: Final = 65_536
"""Entries of each half of the window, some 100 bytes each."""

ID_BYTES: Final = 16


class Strikes:
    """Remembers IDs for a time. Bounded: when it is full, everything new counts as seen.

    That errs on the side of safety: what is refused takes a round trip more, no harm is done.
    Two sets take turns, so an ID is remembered for `seconds` at least, and twice that at most.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._turn_at = 0.0
        self._current: set[bytes] = set()
        self._before: set[bytes] = set()

    def __len__(self) -> int:
        return len(self._current) + len(self._before)

    def is_first(self, name: bytes, now: float) -> bool:
        """Note a use; whether there was none before.

        Args:
            name: at most its last 16 bytes count.
            now: seconds, on any clock, always the same one.
        """
        if now >= self._turn_at + self._seconds:
            is_recent = now < self._turn_at + 2 * self._seconds
            self._before = self._current if is_recent else set()
            self._current = set()
            self._turn_at = now
        name = bytes(name[-ID_BYTES:])
        if name in self._current or name in self._before:
            return False
        if len(self._current) >= MAX_STRIKES:
            return False
        self._current.add(name)
        return True
