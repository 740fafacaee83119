"""The half of a driver that asks: the peer's broadcasts, put into an origin on demand."""

import logging
from collections.abc import Mapping, Sequence
from typing import Final

from moqvox.driver.asking import Agreed, Asker, Asking
from moqvox.driver.past import UpstreamFetch
from moqvox.driver.publishing import Spawner
from moqvox.driver.pump import Pump
from moqvox.driver.upstream import Upstream
from moqvox.errors import LocalError, Refused, StreamCode
from moqvox.model import broadcast, cache, origin
from moqvox.session import events

__all__ = ["Consuming", "Remote"]

log = logging.getLogger("moqvox.driver")

Answer = (
    events.TrackInfoReceived
    | events.Subscribed
    | events.SubscriptionEnded
    | events.GroupsDropped
    | events.RequestFailed
    | events.DatagramReceived
)

_NOTHING: Final[Mapping[str, Agreed]] = {}

MAX_DIRECT: Final = 256
"""Broadcasts asked for without an announcement, at most."""


class Remote:
    """One of the peer's broadcasts: its tracks are subscribed to upstream when somebody reads."""

    def __init__(
        self, owner: "Consuming", path: str, agreed: Mapping[str, Agreed] = _NOTHING
    ) -> None:
        self.path = path
        self.agreed = agreed
        self.producer = broadcast.Producer(
            dynamic=True, limits=owner.cache_limits, budget=owner.budget
        )
        self.route: origin.Route | None = None
        self._owner = owner
        self._upstreams: set[Asker] = set()
        self._gone = False

    async def serve(self) -> None:
        """Answer what readers ask for, until the broadcast closes."""
        async for request in self.producer.requests():
            if self._gone:
                # As for those who ask once it is closed; it may come back, and was not unknown.
                request.reject(StreamCode.CANCELLED, "the broadcast is gone")
                continue
            upstream: Upstream | UpstreamFetch
            if isinstance(request, broadcast.TrackRequest):
                upstream = Upstream(self._owner.asking, self, request)
            else:
                upstream = UpstreamFetch(self._owner.asking, self, request)
            self._upstreams.add(upstream)
            try:
                upstream.start()
            except LocalError as exc:
                log.info("%s: can't ask for %r: %s", self.path, request.name, exc)
                upstream.close(StreamCode.INTERNAL)
            self._owner.pump.woken.set()

    @property
    def upstreams(self) -> Sequence[Upstream]:
        """The tracks that are asked for now."""
        return [asker for asker in self._upstreams if isinstance(asker, Upstream)]

    def forget(self, upstream: Asker) -> None:
        """Let go of an upstream that ended."""
        self._upstreams.discard(upstream)
        self._close_if_gone()

    def withdraw(self) -> None:
        """Unannounce; what is being read goes on until the peer ends it."""
        self._gone = True
        if self.route is not None:
            self.route.close()
        self._close_if_gone()

    def _close_if_gone(self) -> None:
        if self._gone and not self._upstreams:
            self.producer.close(StreamCode.CANCELLED)
            self._owner.drained(self)

    def close(self, code: int) -> None:
        """End everything: the session is over."""
        if self.route is not None:
            self.route.close()
        for upstream in list(self._upstreams):
            upstream.close(code)
        self.producer.close(code)


class Consuming:
    """Watches the peer's broadcasts and offers them to the readers of an origin.

    `linger`: seconds an upstream subscription without readers is kept, so that a reader
    who comes back (a page reload, a relay probing) finds it alive. `stand_in`: the hop id
    by which a peer without one is known here, so that its routes are not told back to it.
    """

    def __init__(
        self,
        pump: Pump,
        spawn: Spawner,
        *,
        origin_id: int,
        stand_in: int,
        linger: float,
        cache_limits: cache.Limits,
        budget: cache.Budget | None,
    ) -> None:
        self.pump = pump
        self.asking = Asking(pump, linger)
        self.cache_limits = cache_limits
        self.budget = budget
        self._spawn = spawn
        self._origin_id = origin_id
        self._stand_in = stand_in
        self._writer: origin.Writer | None = None
        self._watch: int | None = None
        self._announced: dict[str, Remote] = {}
        self._draining: set[Remote] = set()
        self._direct: dict[str, Remote] = {}
        self._is_leaving = False
        self._closed = False

    @property
    def remotes(self) -> Sequence[Remote]:
        """The broadcasts that were announced, those taken back but still read included."""
        return [*self._announced.values(), *self._draining]

    def attach(self, writer: origin.Writer | None) -> None:
        """Ask the peer what it publishes, and put it into `writer`; None asks nothing."""
        self._writer = writer
        if writer is not None:
            self._watch = self.pump.session.watch("", self._origin_id)

    def direct(self, path: str, agreed: Mapping[str, Agreed] = _NOTHING) -> broadcast.Consumer:
        """Read a broadcast without waiting for its announcement.

        `agreed` counts for the one who asks first.

        Raises:
            LocalError: too many of them, or the session is over.
        """
        if self._closed:
            raise LocalError("the session is over")
        remote = self._direct.get(path)
        if remote is None or remote.producer.closed:
            if len(self._direct) >= MAX_DIRECT:
                raise LocalError(f"more than {MAX_DIRECT} broadcasts read without announcement")
            remote = self._direct[path] = self._open(path, agreed)
        return remote.producer.consume()

    def announced(self, event: events.Announced) -> None:
        """Offer a broadcast of the peer's, or change its route.

        One that is announced again without a change, or by another source, is another
        broadcast in the former one's place, whose publisher may be dead without anybody's
        knowing yet: the latest is believed.
        """
        before = self._announced.get(event.path)
        hops = event.hops
        if not hops or not hops[-1]:
            hops = (*hops[:-1], self._stand_in)
        try:
            if before is not None and before.route is not None:
                route = before.route
                is_changed = (hops, event.cost) != (route.hops, route.cost)
                if is_changed and hops[:1] == route.hops[:1]:
                    route.update(hops=hops, cost=event.cost)
                    return
            if self._writer is None:
                return
            remote = Remote(self, event.path)
            remote.route = self._writer.publish(
                event.path, remote.producer.consume(), hops=hops, cost=event.cost
            )
        except (LocalError, Refused) as exc:
            log.info("%s: not taking %r: %s", self._peer, event.path, exc)
            return
        self._announced[event.path] = remote
        if self._is_leaving:
            remote.route.leave()
        if before is not None:
            self._draining.add(before)
            before.withdraw()
        self._spawn(remote.serve(), f"remote-{event.path}")

    def unannounced(self, event: events.Unannounced) -> None:
        """Withdraw a broadcast."""
        remote = self._announced.pop(event.path, None)
        if remote is not None:
            self._draining.add(remote)
            remote.withdraw()

    def leave(self) -> None:
        """Let newcomers read by other ways where there are some: the peer is about to go."""
        self._is_leaving = True
        for remote in self._announced.values():
            if remote.route is not None:
                remote.route.leave()

    def drained(self, remote: Remote) -> None:
        """Let go of a withdrawn broadcast that nobody reads any more."""
        self._draining.discard(remote)

    def close(self, code: int) -> None:
        """End every broadcast that came from the peer."""
        self._closed = True
        for remote in [*self._announced.values(), *self._draining, *self._direct.values()]:
            remote.close(code)
        for remotes in (self._announced, self._draining, self._direct):
            remotes.clear()

    def group_opened(self, event: events.GroupOpened) -> None:
        """Begin a group for whom asked for it."""
        upstream = self.asking.requests.get(event.request)
        if upstream is None:
            self.pump.session.stop_group(event.group, StreamCode.CANCELLED)
            return
        self.asking.groups[event.group] = upstream
        upstream.receive(event)

    def frame(self, event: events.FrameReceived) -> None:
        """Pass a frame on."""
        upstream = self.asking.groups.get(event.group)
        if upstream is not None:
            upstream.receive(event)

    def group_over(self, event: events.GroupFinished | events.GroupReset) -> None:
        """End a group; its id may be used anew."""
        upstream = self.asking.groups.pop(event.group, None)
        if upstream is not None:
            upstream.receive(event)

    def answer(self, event: Answer) -> None:
        """Pass on what the peer says about one of our requests."""
        upstream = self.asking.requests.get(event.request)
        if upstream is not None:
            upstream.receive(event)
        elif event.request == self._watch:
            log.info("%s tells no more of its broadcasts: %s", self._peer, event)

    @property
    def _peer(self) -> str:
        return self.pump.connection.remote_address

    def _open(self, path: str, agreed: Mapping[str, Agreed]) -> Remote:
        remote = Remote(self, path, agreed)
        self._spawn(remote.serve(), f"remote-{path}")
        return remote
