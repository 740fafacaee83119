"""Which groups of a track are accounted for: they came, or will not come."""

from bisect import bisect_left, bisect_right
from typing import Final

__all__ = ["Account"]


class Account:
    """A set of group sequences, as ranges.

    Bounded: past `MAX_RANGES` the gap between the two lowest ranges counts as accounted for.
    """

    MAX_RANGES: Final = 256

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        self.changes = 0
        """How often something was added."""

    def __contains__(self, sequence: int) -> bool:
        at = bisect_right(self._starts, sequence) - 1
        return at >= 0 and sequence <= self._ends[at]

    def __len__(self) -> int:
        return len(self._starts)

    def add(self, start: int, end: int) -> None:
        """Account for `start` to `end`, inclusive."""
        self.changes += 1
        low = bisect_left(self._ends, start - 1)
        high = bisect_right(self._starts, end + 1)
        if low < high:
            start = min(start, self._starts[low])
            end = max(end, self._ends[high - 1])
        self._starts[low:high] = [start]
        self._ends[low:high] = [end]
        if len(self._starts) > self.MAX_RANGES:
            del self._starts[1], self._ends[0]

    def missing(self, start: int, end: int) -> list[tuple[int, int]]:
        """List the ranges within `start` to `end`, inclusive, that are not accounted for."""
        found = []
        for at in range(bisect_left(self._ends, start), len(self._starts)):
            if self._starts[at] > end or start > end:
                break
            if self._starts[at] > start:
                found.append((start, self._starts[at] - 1))
            start = self._ends[at] + 1
        if start <= end:
            found.append((start, end))
        return found
