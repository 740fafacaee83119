"""Datagrams that wait for their turn while more come than there is time for.

The kernel hands out what came first. When one peer sends more than can be worked off, everybody
else's packets would wait behind all of its; here each connection waits behind its own.
"""

from collections import deque
from collections.abc import Hashable
from typing import Final, Generic, TypeVar

__all__ = ["Backlog"]

MAX_OF_EACH: Final = 256
"""Datagrams of one connection, and of all strangers together; more are lost, as on the wire."""

MAX_IN_ALL: Final = 8192

Item = TypeVar("Item")


class Backlog(Generic[Item]):
    """Queues by owner, served in turn, one item each time."""

    def __init__(self) -> None:
        self._queues: dict[Hashable, deque[Item]] = {}
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def put(self, owner: Hashable, item: Item) -> bool:
        """Let an item wait behind its owner's; False when there is no room for it."""
        queue = self._queues.get(owner)
        if queue is None:
            queue = self._queues[owner] = deque()
        if len(queue) >= MAX_OF_EACH or self._size >= MAX_IN_ALL:
            if not queue:
                del self._queues[owner]
            return False
        queue.append(item)
        self._size += 1
        return True

    def take(self) -> Item:
        """Take the next one; there must be one. Its owner is last in line then."""
        owner = next(iter(self._queues))
        queue = self._queues.pop(owner)
        if len(queue) > 1:
            self._queues[owner] = queue
        self._size -= 1
        return queue.popleft()
