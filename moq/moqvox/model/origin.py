"""Origins: broadcasts by path, the best of several ways to each, and who may see which.

An origin is what a relay or server shares between its sessions. A `View` is an origin as
one session sees it: from its root, within what its token allows.
"""

import secrets
from collections.abc import Callable, Sequence
from itertools import count
from typing import Final, Protocol

import msgspec

from moqvox import path as paths
from moqvox.errors import LocalError, Unauthorized
from moqvox.model import broadcast as broadcasts
from moqvox.model import cache
from moqvox.model.watch import Announced, Change, Unannounced, Watch

__all__ = [
    "Announced",
    "Change",
    "Limits",
    "Origin",
    "Reader",
    "Route",
    "Unannounced",
    "View",
    "Watch",
    "Writer",
    "make_id",
]

MAX_ID: Final = 2**53 - 1
"""Old JavaScript peers misread larger hop ids, though 62 bits are legal."""


class Limits(msgspec.Struct, frozen=True, gc=False):
    """Bounds of an origin.

    Attributes:
        max_broadcasts: routes, counted together over all paths.
        max_hops: longest way of a broadcast to here.
        max_bytes: of the `Origin.budget` that its broadcasts share.
    """

    max_broadcasts: int = 65_536
    max_hops: int = 32
    max_bytes: int = 256 * 1024 * 1024


LIMITS = Limits()


class Reader(Protocol):
    """Where broadcasts are read from: an `Origin` or a `View`."""

    def get(self, path: str) -> broadcasts.Consumer | None:
        """Return the broadcast on the best route now, None when there is none to see."""

    async def find(self, path: str) -> broadcasts.Consumer | None:
        """Return the same, but give one that is about to come its time."""

    async def wait(self, path: str) -> broadcasts.Consumer:
        """Wait until a broadcast is announced."""

    def watch(self, prefix: str = "", *, exclude_hop: int = 0) -> Watch:
        """Watch the broadcasts at and below a prefix."""


class Writer(Protocol):
    """Where broadcasts are published: an `Origin` or a `View`."""

    def publish(
        self,
        path: str,
        broadcast: broadcasts.Consumer,
        *,
        hops: tuple[int, ...] = (),
        cost: int = 0,
    ) -> "Route":
        """Announce a broadcast; it goes by itself when the broadcast closes."""


class Route:
    """One way to a broadcast.

    Attributes:
        path: absolute, or as seen from the view it was published through.
        broadcast: what it leads to.
        hops: origins on the way, the source first, our own not among them.
        cost: the lower the better.
        serial: the higher, the newer.
        is_leaving: who offers it is about to go; it is the last choice.
    """

    def __init__(
        self,
        path: str,
        broadcast: broadcasts.Consumer,
        hops: tuple[int, ...],
        cost: int,
        serial: int,
        changed: Callable[["Route"], None],
        check: Callable[[tuple[int, ...]], None],
    ) -> None:
        self.path = path
        self.broadcast = broadcast
        self.hops = hops
        self.cost = cost
        self.serial = serial
        self.is_leaving = False
        self.closed = False
        self._changed = changed
        self._check = check
        self._take_back = broadcast.call_when_closed(self.close)

    def update(self, *, hops: tuple[int, ...], cost: int) -> None:
        """Change the way's facts.

        Raises:
            LocalError: a loop, or too many hops; the route stays as it was.
        """
        self._check(hops)
        if not self.closed and (hops, cost) != (self.hops, self.cost):
            self.hops, self.cost = hops, cost
            self._changed(self)

    def leave(self) -> None:
        """Let any other way be preferred from now on; without one it is used as before."""
        if not self.closed and not self.is_leaving:
            self.is_leaving = True
            self._changed(self)

    def close(self) -> None:
        """Take the way back. Also happens when the broadcast closes."""
        if not self.closed:
            self.closed = True
            self._take_back()
            self._take_back = _nothing  # it refers back to this
            self._changed(self)

    @property
    def rank(self) -> tuple[bool, int, int, int]:
        """What the best route has least of: whether it leaves, then cost, hops, and age."""
        return self.is_leaving, self.cost, len(self.hops), -self.serial


def make_id() -> int:
    """Choose an origin's hop id: random, not 0."""
    return secrets.randbelow(MAX_ID) + 1


class Origin:
    """Broadcasts by path, each with one or more routes.

    Attributes:
        id: this origin's hop id, random unless given.
        budget: bytes that its broadcasts may keep together; who makes a broadcast for
            this origin passes it on.
    """

    def __init__(self, *, id: int | None = None, limits: Limits = LIMITS) -> None:
        self.id = make_id() if id is None else id
        self.budget = cache.Budget(limits.max_bytes)
        self._limits = limits
        self._routes: dict[str, list[Route]] = {}
        self._count = 0
        self._serials = count()
        self._watches: dict[str, dict[Watch, None]] = {}

    def get(self, path: str) -> broadcasts.Consumer | None:
        """Return the broadcast on the best route now, None when there is none."""
        found = self.best(paths.normalise(path), 0)
        return None if found is None else found.broadcast

    async def find(self, path: str) -> broadcasts.Consumer | None:
        """Return the same: here nothing is about to come."""
        return self.get(path)

    async def wait(self, path: str) -> broadcasts.Consumer:
        """Wait until a broadcast is announced."""
        watch = self.watch(path)
        try:
            while (found := self.get(path)) is None:
                watch.poll()
                await watch.wait()
        finally:
            watch.close()
        return found

    def watch(self, prefix: str = "", *, exclude_hop: int = 0) -> Watch:
        """Watch the broadcasts at and below a prefix."""
        return self.watch_from("", [paths.normalise(prefix)], exclude_hop)

    def publish(
        self,
        path: str,
        broadcast: broadcasts.Consumer,
        *,
        hops: tuple[int, ...] = (),
        cost: int = 0,
    ) -> Route:
        """Announce a broadcast; it goes by itself when the broadcast closes.

        A second route to the same path does not replace the first: the best one is used.

        Raises:
            LocalError: a loop, too many hops or broadcasts, a bad path, or it is closed.
        """
        clean = paths.normalise(path)
        self._check(hops)
        if broadcast.closed:
            raise LocalError(f"broadcast {clean!r} is closed")
        if self._count >= self._limits.max_broadcasts:
            raise LocalError(f"more than {self._limits.max_broadcasts} broadcasts")
        route = Route(clean, broadcast, hops, cost, next(self._serials), self._changed, self._check)
        self._count += 1
        self._routes.setdefault(clean, []).append(route)
        self._note(clean)
        return route

    def view(
        self,
        root: str = "",
        *,
        subscribe: Sequence[str] | None = ("",),
        publish: Sequence[str] | None = ("",),
    ) -> "View":
        """Show the origin from `root`, within prefixes relative to it; () or None = nothing."""
        return View(self, root, subscribe=subscribe or (), publish=publish or ())

    # For watches and views

    def best(self, path: str, exclude_hop: int) -> Route | None:
        """Choose the best route to a normalised path that does not pass through a hop."""
        routes = self._routes.get(path, ())
        able = (r for r in routes if not exclude_hop or exclude_hop not in r.hops)
        return min(able, key=_rank, default=None)

    def routes(self, path: str) -> Sequence[Route]:
        """List the ways to a normalised path, the best first."""
        return sorted(self._routes.get(path, ()), key=_rank)

    def below(self, prefix: str) -> list[str]:
        """List the paths at and below a prefix."""
        return [path for path in self._routes if paths.contains(prefix, path)]

    def watch_from(self, root: str, prefixes: Sequence[str], exclude_hop: int) -> Watch:
        """Watch absolute prefixes and tell of them relative to `root`."""
        watch = Watch(self, root, prefixes, exclude_hop)
        for prefix in watch.prefixes:
            self._watches.setdefault(prefix, {})[watch] = None
        return watch

    def forget(self, watch: Watch) -> None:
        """Tell a watch nothing more."""
        for prefix in watch.prefixes:
            watches = self._watches.get(prefix, {})
            watches.pop(watch, None)
            if not watches:
                self._watches.pop(prefix, None)

    def _check(self, hops: tuple[int, ...]) -> None:
        if self.id in hops:
            raise LocalError("the route comes from this very origin")
        if len(hops) > self._limits.max_hops:
            raise LocalError(f"{len(hops)} hops, at most {self._limits.max_hops} are allowed")

    def _changed(self, route: Route) -> None:
        if route.closed:
            self._count -= 1
            routes = self._routes[route.path]
            routes.remove(route)
            if not routes:
                del self._routes[route.path]
        self._note(route.path)

    def _note(self, path: str) -> None:
        prefix = path
        while True:
            for watch in tuple(self._watches.get(prefix, ())):
                watch.note(path)
            if not prefix:
                return
            prefix = prefix.rpartition("/")[0]


class View:
    """An origin seen from a root, within allowed prefixes. Paths are relative to the root."""

    def __init__(
        self, origin: Origin, root: str, *, subscribe: Sequence[str], publish: Sequence[str]
    ) -> None:
        self._origin = origin
        self._root = paths.normalise(root)
        self._subscribe = self._outermost(subscribe)
        self._publish = self._outermost(publish)

    def get(self, path: str) -> broadcasts.Consumer | None:
        """Return the broadcast on the best route now, None when there is none to see."""
        full = self._full(path)
        return self._origin.get(full) if _within(self._subscribe, full) else None

    async def find(self, path: str) -> broadcasts.Consumer | None:
        """Return the same: here nothing is about to come."""
        return self.get(path)

    async def wait(self, path: str) -> broadcasts.Consumer:
        """Wait until a broadcast is announced.

        Raises:
            Unauthorized: it may not be seen, so that it would never come.
        """
        full = self._full(path)
        if not _within(self._subscribe, full):
            raise Unauthorized(f"not allowed to subscribe to {path!r}")
        return await self._origin.wait(full)

    def watch(self, prefix: str = "", *, exclude_hop: int = 0) -> Watch:
        """Watch what may be seen at and below a prefix; it may be above what is allowed."""
        full = self._full(prefix)
        if _within(self._subscribe, full):
            shown = [full]
        else:
            shown = [allowed for allowed in self._subscribe if paths.contains(full, allowed)]
        return self._origin.watch_from(self._root, shown, exclude_hop)

    def publish(
        self,
        path: str,
        broadcast: broadcasts.Consumer,
        *,
        hops: tuple[int, ...] = (),
        cost: int = 0,
    ) -> Route:
        """Announce a broadcast; it goes by itself when the broadcast closes.

        Raises:
            Unauthorized: publishing there is not allowed.
            LocalError: a loop, too many hops or broadcasts, a bad path, or it is closed.
        """
        full = self._full(path)
        if not _within(self._publish, full):
            raise Unauthorized(f"not allowed to publish {path!r}")
        return self._origin.publish(full, broadcast, hops=hops, cost=cost)

    def _full(self, path: str) -> str:
        return paths.normalise(paths.join(self._root, paths.normalise(path)))

    def _outermost(self, prefixes: Sequence[str]) -> list[str]:
        full = sorted({self._full(prefix) for prefix in prefixes})
        return [p for p in full if not any(q != p and paths.contains(q, p) for q in full)]


def _nothing() -> None:
    """There is nothing to take back any more."""


def _rank(route: Route) -> tuple[bool, int, int, int]:
    return route.rank


def _within(prefixes: Sequence[str], path: str) -> bool:
    return any(paths.contains(prefix, path) for prefix in prefixes)
