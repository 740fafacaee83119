"""Groups that a reader will not get, told as ranges."""

from collections import deque
from typing import Final

__all__ = ["Drops"]


class Drops:
    """Ranges of groups with the code they were dropped under, oldest first.

    Adjoining ranges of one code become one. When nobody takes them, the oldest of
    `MAX_RANGES` is forgotten: it is news for the reader, not a promise.
    """

    MAX_RANGES: Final = 64

    def __init__(self) -> None:
        self._ranges: deque[tuple[int, int, int]] = deque(maxlen=self.MAX_RANGES)

    def add(self, group_start: int, group_end: int, code: int) -> None:
        """Note that `group_start` to `group_end`, inclusive, will not come."""
        if self._ranges:
            start, end, former = self._ranges[-1]
            if former == code and group_start == end + 1:
                self._ranges[-1] = start, group_end, code
                return
        self._ranges.append((group_start, group_end, code))

    def take(self) -> tuple[int, int, int] | None:
        """Take the oldest range."""
        return self._ranges.popleft() if self._ranges else None
