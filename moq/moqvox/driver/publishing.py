"""The half of a driver that answers: watches, track facts, subscriptions and fetches served."""

import asyncio
import logging
from collections.abc import Callable, Coroutine

from moqvox.driver.pump import Pump
from moqvox.driver.served import ServedFetch, ServedTrack, ServedWatch, Serving
from moqvox.errors import LocalError, NotFound, Refused, StreamCode, StreamEnded
from moqvox.frame import Subscription
from moqvox.model import broadcast, origin, track
from moqvox.session import events

__all__ = ["Publishing", "Spawner"]

log = logging.getLogger("moqvox.driver")

Spawner = Callable[[Coroutine[object, object, None], str], "asyncio.Task[None]"]
"""Starts a named task that the driver owns and cancels at its end."""


Request = (
    events.WatchRequested
    | events.TrackInfoRequested
    | events.SubscribeRequested
    | events.FetchRequested
)


class Publishing:
    """Serves the peer's requests from what `reader` offers.

    Requests that come before `attach` wait; the session bounds their number.

    `stand_in` is the hop id by which the origin knows a peer that has none.
    """

    def __init__(self, pump: Pump, spawn: Spawner, *, stand_in: int) -> None:
        self.pump = pump
        self.serving = Serving(pump)
        self._stand_in = stand_in
        self._spawn = spawn
        self._reader: origin.Reader | None = None
        self._attached = self._closed = False
        self._early: dict[int, Request] = {}
        self._pending: dict[int, asyncio.Task[None]] = {}
        self._wishes: dict[int, Subscription] = {}

    def attach(self, reader: origin.Reader | None) -> None:
        """Begin to serve; None refuses everything."""
        self._reader = reader
        self._attached = True
        early, self._early = self._early, {}
        for request in early.values():
            self.request(request)

    def request(self, event: Request) -> None:
        """Take one request of the peer's."""
        if self._closed:
            return
        if not self._attached:
            self._early[event.request] = event
            return
        if isinstance(event, events.WatchRequested):
            self._watch(event)
            return
        work = self._answer(event)
        self._pending[event.request] = self._spawn(work, f"request-{event.request}")

    def cancelled(self, request: int) -> None:
        """Forget a request that the peer ended."""
        self._early.pop(request, None)
        pending = self._pending.pop(request, None)
        if pending is not None:
            pending.cancel()
        served = self.serving.by_request.get(request)
        if served is not None:
            served.cancel()

    def updated(self, event: events.SubscribeUpdated) -> None:
        """Pass changed wishes on."""
        early = self._early.get(event.request)
        if isinstance(early, events.SubscribeRequested):
            self._early[event.request] = events.SubscribeRequested(
                early.request, early.broadcast, early.track, event.subscription
            )
        served = self.serving.by_request.get(event.request)
        if served is not None:
            served.update(event.subscription)
        elif event.request in self._pending:
            self._wishes[event.request] = event.subscription

    def group_stopped(self, event: events.GroupStopped) -> None:
        """Give up a group that the peer stopped."""
        served = self.serving.by_group.get(event.group)
        if served is not None:
            served.stop_group(event.group)

    def group_writable(self, group_id: int) -> None:
        """Go on with a group whose stream has room again."""
        served = self.serving.by_group.get(group_id)
        if served is not None:
            self.pump.mark(served)

    def close(self) -> None:
        """Let go of every reader; nothing is served any more."""
        self._closed = True
        self._early.clear()
        for served in list(self.serving.by_request.values()):
            served.cancel()

    def _watch(self, event: events.WatchRequested) -> None:
        if self._reader is None:
            self.pump.session.accept_watch(event.request, [])
            return
        exclude_hop = event.exclude_hop or self._stand_in
        watch = self._reader.watch(event.prefix, exclude_hop=exclude_hop)
        ServedWatch(self.serving, event.request, watch)

    async def _answer(
        self,
        event: events.TrackInfoRequested | events.SubscribeRequested | events.FetchRequested,
    ) -> None:
        try:
            source = None if self._reader is None else await self._reader.find(event.broadcast)
            if source is None:
                raise NotFound(f"no broadcast {event.broadcast!r}")
            match event:
                case events.TrackInfoRequested():
                    info = await source.info(event.track)
                    self.pump.session.accept_track(event.request, info)
                case events.SubscribeRequested():
                    reader = await source.subscribe(event.track, event.subscription)
                    self._serve_track(event.request, reader)
                case events.FetchRequested():
                    await self._fetch(source, event)
        except Refused as exc:
            self.pump.session.reject(event.request, exc.code, exc.reason)
        except StreamEnded as exc:
            self.pump.session.reject(event.request, exc.code)
        except LocalError as exc:
            self.pump.session.reject(event.request, StreamCode.INTERNAL, str(exc))
        finally:
            self._pending.pop(event.request, None)
            self._wishes.pop(event.request, None)
            self.pump.woken.set()

    async def _fetch(self, source: broadcast.Consumer, event: events.FetchRequested) -> None:
        if event.group_start != event.group_end:
            raise Refused(StreamCode.UNSUPPORTED, "a fetch spans one group")
        info, consumer = await source.fetch(
            event.track,
            event.group_start,
            frame_start=event.frame_start,
            frame_end=event.frame_end,
            priority=event.priority,
        )
        group_id = self.pump.session.accept_fetch(event.request, info)
        ServedFetch(self.serving, event.request, consumer, group_id, info.timescale)

    def _serve_track(self, request: int, reader: track.Consumer) -> None:
        wishes = self._wishes.get(request)
        if wishes is not None:
            reader.update(wishes)
        try:
            self.pump.session.accept(request, reader.info, reader.start())
        except LocalError:
            reader.close()
            raise
        ServedTrack(self.serving, request, reader)
