"""A queue with a bound and an end, for whom the application takes its time."""

from collections import deque
from collections.abc import AsyncIterator
from typing import Generic, TypeVar

from moqvox.model.bell import Bell

__all__ = ["Mailbox"]

T = TypeVar("T")


class Mailbox(Generic[T]):
    """Takes at most `capacity` items; iterating ends once it is closed and empty.

    Any number of readers may iterate; each item goes to one of them.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._items: deque[T] = deque()
        self._closed = False
        self._bell = Bell()

    def __len__(self) -> int:
        return len(self._items)

    def __contains__(self, item: T) -> bool:
        return item in self._items

    @property
    def is_full(self) -> bool:
        """Whether `put` would be refused for want of room."""
        return len(self._items) >= self._capacity

    def waiting(self) -> list[T]:
        """List what was not taken yet."""
        return list(self._items)

    def put(self, item: T) -> bool:
        """Add an item; False when it is full or closed."""
        if self._closed or self.is_full:
            return False
        self._items.append(item)
        self._bell.ring()
        return True

    def push(self, item: T) -> bool:
        """Add an item, in place of the oldest when it is full; False when one was lost."""
        lost = self.is_full
        if lost:
            self._items.popleft()
        return self.put(item) and not lost

    def close(self) -> None:
        """Take no more; what is there is still given out."""
        self._closed = True
        self._bell.ring()

    async def get(self) -> T | None:
        """Wait for the next item; None at the end."""
        while not self._items:
            if self._closed:
                return None
            await self._bell.wait()
        return self._items.popleft()

    async def __aiter__(self) -> AsyncIterator[T]:
        while True:
            while self._items:
                yield self._items.popleft()
            if self._closed:
                return
            await self._bell.wait()
