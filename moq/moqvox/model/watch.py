"""Watching which broadcasts are there, as a set that changes, not as a log of changes."""

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Protocol

import msgspec

from moqvox import path as paths
from moqvox.model.bell import Bell

__all__ = ["Announced", "Candidate", "Change", "Directory", "Unannounced", "Watch"]


class Announced(msgspec.Struct, frozen=True, gc=False):
    """A broadcast is there, or its best route is another one now.

    Attributes:
        path: as seen from the root of who watches, the watch's prefix included.
        hops: origins on the way from the source to here, without our own.
        cost: of the route, 0 = unsaid.
    """

    path: str
    hops: tuple[int, ...]
    cost: int


class Unannounced(msgspec.Struct, frozen=True, gc=False):
    """A broadcast is gone."""

    path: str


Change = Announced | Unannounced


class Candidate(Protocol):
    """A route as a watch sees it."""

    hops: tuple[int, ...]
    cost: int
    closed: bool


class Directory(Protocol):
    """What is watched: an origin."""

    def best(self, path: str, exclude_hop: int) -> Candidate | None:
        """Choose the best route to a path that does not pass through a hop."""

    def below(self, prefix: str) -> Iterable[str]:
        """List the paths at and below a prefix."""

    def forget(self, watch: "Watch") -> None:
        """Tell a watch nothing more."""


class Watch:
    """The broadcasts below some prefixes.

    Changes are kept as the set of paths to look at again, so that a watch which nobody
    polls holds at most each path once. `wake` is called when a poll might return
    something new, at most once between two polls.

    Args:
        directory: what is watched.
        root: what paths are told relative to.
        prefixes: absolute, none below another.
        exclude_hop: routes through that origin are not told of (0 = all are): they come
            from the one who asks.
    """

    def __init__(
        self, directory: Directory, root: str, prefixes: Sequence[str], exclude_hop: int
    ) -> None:
        self.prefixes = tuple(prefixes)
        self.wake: Callable[[], None] | None = None
        self._directory = directory
        self._root = root
        self._exclude_hop = exclude_hop
        self._bell = Bell()
        self._waiting = True
        self._closed = False
        self._stale = dict.fromkeys(p for prefix in prefixes for p in directory.below(prefix))
        self._told: dict[str, tuple[Candidate, tuple[int, ...], int]] = {}

    def poll(self) -> list[Change]:
        """Take the changes since the last poll; at first, all that is there.

        A path is told of as it is now: one that came and went is not mentioned, but one
        that went and came again is, with both: what was read from it has ended.
        """
        self._waiting = True
        stale, self._stale = self._stale, {}
        return [change for path in stale for change in self._changes(path)]

    async def wait(self) -> None:
        """Wait until `poll` may have something, or the watch is closed."""
        while not self._stale and not self._closed:
            await self._bell.wait()

    async def __aiter__(self) -> AsyncIterator[Change]:
        """Iterate over changes until the watch is closed."""
        while not self._closed:
            for change in self.poll():
                yield change
            await self.wait()

    def close(self) -> None:
        """Want to know no more."""
        if self._closed:
            return
        self._closed = True
        self._directory.forget(self)
        self.wake = None
        self._stale.clear()
        self._told.clear()
        self._bell.ring()

    def note(self, path: str) -> None:
        """Look at a path again (the origin's own)."""
        self._stale[path] = None
        if self._waiting:
            self._waiting = False
            if self.wake is not None:
                self.wake()
        self._bell.ring()

    def _changes(self, path: str) -> list[Change]:
        seen = paths.relative(self._root, path) or ""
        told = self._told.get(path)
        route = self._directory.best(path, self._exclude_hop)
        if route is None:
            self._told.pop(path, None)
            return [] if told is None else [Unannounced(seen)]
        state = route, route.hops, route.cost
        if told == state:
            return []
        self._told[path] = state
        announced = Announced(seen, route.hops, route.cost)
        if told is not None and told[0] is not route and told[0].closed:
            return [Unannounced(seen), announced]
        return [announced]
