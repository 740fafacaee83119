"""Datagrams that wait for their turn while more come than there is time for.

The kernel hands out what came first. When one peer sends more than can be worked off, everybody
else's packets would wait behind all of its; here each connection waits behind its own.
"""

from collections import OrderedDict, deque
from collections.abc import Hashable
from typing import Final, Generic, TypeVar

__all__ = ["Backlog"]

MAX_OF_EACH: Final = 256
"""Datagrams of one connection; more are lost, as on the wire."""

MAX_IN_ALL: Final = 8192

Item = TypeVar("Item")


class Backlog(Generic[Item]):
    """Queues by owner, served in turn, one item each time.

    Of many owners most have one item only, which is kept without a queue: it adds nothing to what
    the collector keeps track of, unless the item itself does. Items are no deques.
    """

    def __init__(self, *, of_each: int = MAX_OF_EACH, in_all: int = MAX_IN_ALL) -> None:
        self._of_each, self._in_all = of_each, in_all
        self._queues: OrderedDict[Hashable, Item | deque[Item]] = OrderedDict()
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def __contains__(self, owner: Hashable) -> bool:
        """Whether something of an owner's waits."""
        return owner in self._queues

    def put(self, owner: Hashable, item: Item) -> bool:
        """Let an item wait behind its owner's; False when there is no room for it."""
        if self._size >= self._in_all:
            return False
        there = self._queues.get(owner)
        if there is None:
            self._queues[owner] = item
        elif not isinstance(there, deque):
            self._queues[owner] = deque((there, item))
        elif len(there) < self._of_each:
            there.append(item)
        else:
            return False
        self._size += 1
        return True

    def take(self) -> Item:
        """Take the next one; there must be one. Its owner is last in line then."""
        owner, there = self._queues.popitem(last=False)
        self._size -= 1
        if not isinstance(there, deque):
            return there
        item = there.popleft()
        if there:
            self._queues[owner] = there
        return item

    def take_all(self, owner: Hashable) -> deque[Item]:
        """Take whatever waits of an owner's, in order."""
        there = self._queues.pop(owner, None)
        if there is None:
            return deque()
        queue = there if isinstance(there, deque) else deque((there,))
        self._size -= len(queue)
        return queue
