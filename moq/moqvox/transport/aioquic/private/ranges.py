"""Ranges of numbers; upstream's `RangeSet`, quick where voice is: one range that grows."""

from aioquic.quic.rangeset import RangeSet

__all__ = ["Ranges"]


class Ranges(list[range]):
    """Ascending ranges that don't touch. Takes the place of a `RangeSet`, and is a list.

    So its length and its items cost no call. What is usual is answered at the ends; all
    else is upstream's own work, on a copy.
    """

    __slots__ = ()

    def add(self, start: int, stop: int | None = None) -> None:
        """Add a range, or one number."""
        if stop is None:
            stop = start + 1
        last = self[-1] if self else None
        if last is None or start > last.stop:
            self.append(range(start, stop))
        elif start >= last.start:
            if stop > last.stop:
                self[-1] = range(last.start, stop)
        else:
            self._by_upstream("add", start, stop)

    def subtract(self, start: int, stop: int) -> None:
        """Take a range away."""
        if not self:
            return
        first = self[0]
        if stop <= first.start:
            return
        if start <= first.start and stop < first.stop:
            self[0] = range(stop, first.stop)
        elif start <= first.start and (len(self) == 1 or stop <= self[1].start):
            del self[0]
        else:
            self._by_upstream("subtract", start, stop)

    def bounds(self) -> range:
        """Span all of it."""
        return range(self[0].start, self[-1].stop)

    def shift(self) -> range:
        """Take the first range away and return it."""
        return self.pop(0)

    def __contains__(self, number: object) -> bool:
        return any(number in part for part in self)

    def _by_upstream(self, name: str, start: int, stop: int) -> None:
        whole = RangeSet(self)
        getattr(whole, name)(start, stop)
        self[:] = whole
