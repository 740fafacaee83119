"""The half of a driver that answers: watches, track facts, subscriptions and fetches served."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Final

from moqvox.driver.pump import Pump
from moqvox.errors import LocalError, NotFound, Refused, StreamCode, StreamEnded
from moqvox.frame import Subscription
from moqvox.model import group, origin, track
from moqvox.session import events
from moqvox.session.interface import Announcement

__all__ = ["Publishing", "Spawner"]

log = logging.getLogger("moqvox.driver")

BATCH: Final = 16
"""Frames written between two looks at the stream's high-water mark."""


Spawner = Callable[[Coroutine[object, object, None], str], "asyncio.Task[None]"]
"""Starts a named task that the driver owns and cancels at its end."""


class Sending:
    """Moves one group's frames from the model to its stream, as far as the stream takes them."""

    def __init__(self, pump: Pump, consumer: group.Consumer, group_id: int, units: float) -> None:
        self.id = group_id
        self.consumer = consumer
        self._pump = pump
        self._units = units

    def send(self, now: float) -> bool:
        """Write what is there and fits; True when the group is over."""
        session, consumer = self._pump.session, self.consumer
        try:
            while self._pump.writable(self.id):
                for _ in range(BATCH):
                    frame = consumer.poll()
                    if frame is None:
                        return self._finish()
                    if frame.timestamp is None:
                        frame.timestamp = int(now * self._units)
                    session.write_frame(self.id, frame)
                self._pump.act()
            consumer.check()
        except StreamEnded as exc:
            session.reset_group(self.id, exc.code)
            consumer.close()
            return True
        return False

    def _finish(self) -> bool:
        if not self.consumer.ended:
            return False
        self._pump.session.finish_group(self.id)
        self.consumer.close()
        return True


class ServedTrack:
    """One subscription of the peer's, from the model's reader to the session."""

    def __init__(self, owner: "Publishing", request: int, consumer: track.Consumer) -> None:
        self.request = request
        self.consumer = consumer
        self._owner = owner
        self._pump = owner.pump
        self._groups: dict[int, Sending] = {}
        self._finished = False
        consumer.wake = self.wake

    def wake(self) -> None:
        """Run `pump` in the next turn."""
        self._pump.mark(self)

    def pump(self) -> None:
        """Open the groups that came, send what came for those open, tell of the end."""
        session = self._pump.session
        try:
            while (consumer := self.consumer.poll_group()) is not None:
                group_id = session.open_group(
                    self.request, consumer.sequence, frame_start=consumer.frame_start
                )
                self._pump.act()
                sending = Sending(self._pump, consumer, group_id, self.consumer.info.timescale)
                self._groups[group_id] = sending
                self._owner.by_group[group_id] = self
            while (lost := self.consumer.poll_drop()) is not None:
                session.drop(self.request, *lost)
        except StreamEnded as exc:
            self._end()
            session.reject(self.request, exc.code)
            return
        now = self._owner.now()
        for group_id, sending in list(self._groups.items()):
            if sending.send(now):
                self._forget(group_id)
        if self.consumer.ended and not self._finished:
            self._finished = True
            session.finish(self.request, self.consumer.group_end or 0)
        if self._finished and not self._groups:
            self._end()

    def stop_group(self, group_id: int) -> None:
        """Give up one group that the peer wants no more of."""
        sending = self._groups.get(group_id)
        if sending is not None:
            sending.consumer.close()
            self._forget(group_id)

    def update(self, subscription: Subscription) -> None:
        """Take the peer's new wishes."""
        self.consumer.update(subscription)

    def cancel(self) -> None:
        """Drop everything; the session has ended the request already."""
        self._end()

    def _forget(self, group_id: int) -> None:
        self._groups.pop(group_id, None)
        self._owner.by_group.pop(group_id, None)

    def _end(self) -> None:
        for group_id, sending in list(self._groups.items()):
            sending.consumer.close()
            self._forget(group_id)
        self.consumer.wake = None
        self.consumer.close()
        self._pump.forget(self)
        if self._owner.served.pop(self.request, None) is not None:
            self._owner.track_over()


class ServedFetch:
    """One fetch of the peer's."""

    def __init__(
        self, owner: "Publishing", request: int, consumer: group.Consumer, group_id: int, units: int
    ) -> None:
        self._owner = owner
        self._request = request
        self._sending = Sending(owner.pump, consumer, group_id, units)
        consumer.wake = self.wake

    def wake(self) -> None:
        """Run `pump` in the next turn."""
        self._owner.pump.mark(self)

    def pump(self) -> None:
        """Send what came."""
        if self._sending.send(self._owner.now()):
            self.cancel()

    def stop_group(self, group_id: int) -> None:
        """Give the fetch up: its one group is not wanted any more."""
        self.cancel()

    def update(self, subscription: Subscription) -> None:
        """Do nothing: a fetch has no wishes to change."""

    def cancel(self) -> None:
        """Drop everything; the session has ended the request already."""
        self._sending.consumer.wake = None
        self._sending.consumer.close()
        self._owner.pump.forget(self)
        self._owner.by_group.pop(self._sending.id, None)
        self._owner.served.pop(self._request, None)


class ServedWatch:
    """One watch of the peer's on our broadcasts."""

    def __init__(self, owner: "Publishing", request: int, watch: origin.Watch) -> None:
        self._owner = owner
        self._request = request
        self._watch = watch
        self._told: set[str] = set()
        watch.wake = self.wake
        present = [news for news in watch.poll() if isinstance(news, origin.Announced)]
        self._told.update(news.path for news in present)
        owner.pump.session.accept_watch(
            request, [Announcement(news.path, news.hops, news.cost) for news in present]
        )

    def wake(self) -> None:
        """Run `pump` in the next turn."""
        self._owner.pump.mark(self)

    def pump(self) -> None:
        """Tell what changed."""
        session = self._owner.pump.session
        for news in self._watch.poll():
            if isinstance(news, origin.Announced):
                self._told.add(news.path)
                session.announce(self._request, Announcement(news.path, news.hops, news.cost))
            elif news.path in self._told:
                self._told.discard(news.path)
                session.unannounce(self._request, news.path)

    def stop_group(self, group_id: int) -> None:
        """Do nothing: a watch has no groups."""

    def update(self, subscription: Subscription) -> None:
        """Do nothing: a watch has no wishes to change."""

    def cancel(self) -> None:
        """Stop watching; the session has ended the request already."""
        self._watch.wake = None
        self._watch.close()
        self._owner.pump.forget(self)
        self._owner.served.pop(self._request, None)


Served = ServedTrack | ServedFetch | ServedWatch
Request = (
    events.WatchRequested
    | events.TrackInfoRequested
    | events.SubscribeRequested
    | events.FetchRequested
)


class Publishing:
    """Serves the peer's requests from what `reader` offers.

    `idle` is set while no subscription is being served.

    Requests that come before `attach` wait; the session bounds their number.
    """

    def __init__(self, pump: Pump, spawn: Spawner) -> None:
        self.pump = pump
        self.served: dict[int, Served] = {}
        self.by_group: dict[int, Served] = {}
        self.idle = asyncio.Event()
        self.idle.set()
        self._tracks = 0
        self._spawn = spawn
        self._reader: origin.Reader | None = None
        self._attached = False
        self._early: dict[int, Request] = {}
        self._pending: dict[int, asyncio.Task[None]] = {}
        self._wishes: dict[int, Subscription] = {}

    def now(self) -> float:
        """Read the loop's clock, for stamping frames that came without a time."""
        return self.pump.now()

    def attach(self, reader: origin.Reader | None) -> None:
        """Begin to serve; None refuses everything."""
        self._reader = reader
        self._attached = True
        early, self._early = self._early, {}
        for request in early.values():
            self.request(request)

    def request(self, event: Request) -> None:
        """Take one request of the peer's."""
        if not self._attached:
            self._early[event.request] = event
            return
        if isinstance(event, events.WatchRequested):
            self._watch(event)
            return
        work = self._answer(event)
        self._pending[event.request] = self._spawn(work, f"request-{event.request}")

    def track_over(self) -> None:
        """Note that one subscription is served to its end."""
        self._tracks -= 1
        if not self._tracks:
            self.idle.set()

    def cancelled(self, request: int) -> None:
        """Forget a request that the peer ended."""
        self._early.pop(request, None)
        pending = self._pending.pop(request, None)
        if pending is not None:
            pending.cancel()
        served = self.served.get(request)
        if served is not None:
            served.cancel()

    def updated(self, event: events.SubscribeUpdated) -> None:
        """Pass changed wishes on."""
        early = self._early.get(event.request)
        if isinstance(early, events.SubscribeRequested):
            self._early[event.request] = events.SubscribeRequested(
                early.request, early.broadcast, early.track, event.subscription
            )
        served = self.served.get(event.request)
        if served is not None:
            served.update(event.subscription)
        elif event.request in self._pending:
            self._wishes[event.request] = event.subscription

    def group_stopped(self, event: events.GroupStopped) -> None:
        """Give up a group that the peer stopped."""
        served = self.by_group.get(event.group)
        if served is not None:
            served.stop_group(event.group)

    def group_writable(self, group_id: int) -> None:
        """Go on with a group whose stream has room again."""
        served = self.by_group.get(group_id)
        if served is not None:
            self.pump.mark(served)

    def close(self) -> None:
        """Let go of every reader."""
        for served in list(self.served.values()):
            served.cancel()

    def _watch(self, event: events.WatchRequested) -> None:
        if self._reader is None:
            self.pump.session.accept_watch(event.request, [])
            return
        watch = self._reader.watch(event.prefix, exclude_hop=event.exclude_hop)
        self.served[event.request] = ServedWatch(self, event.request, watch)

    async def _answer(
        self,
        event: events.TrackInfoRequested | events.SubscribeRequested | events.FetchRequested,
    ) -> None:
        try:
            broadcast = self._reader.get(event.broadcast) if self._reader is not None else None
            if broadcast is None:
                raise NotFound(f"no broadcast {event.broadcast!r}")
            match event:
                case events.TrackInfoRequested():
                    info = await broadcast.info(event.track)
                    self.pump.session.accept_track(event.request, info)
                case events.SubscribeRequested():
                    reader = await broadcast.subscribe(event.track, event.subscription)
                    self._serve_track(event.request, reader)
                case events.FetchRequested():
                    await self._fetch(event)
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

    async def _fetch(self, event: events.FetchRequested) -> None:
        if event.group_start != event.group_end:
            raise Refused(StreamCode.UNSUPPORTED, "a fetch spans one group")
        broadcast = self._reader.get(event.broadcast) if self._reader is not None else None
        if broadcast is None:
            raise NotFound(f"no broadcast {event.broadcast!r}")
        info, consumer = await broadcast.fetch(
            event.track,
            event.group_start,
            frame_start=event.frame_start,
            frame_end=event.frame_end,
            priority=event.priority,
        )
        group_id = self.pump.session.accept_fetch(event.request, info)
        served = ServedFetch(self, event.request, consumer, group_id, info.timescale)
        self.served[event.request] = served
        self.by_group[group_id] = served
        self.pump.mark(served)

    def _serve_track(self, request: int, reader: track.Consumer) -> None:
        wishes = self._wishes.get(request)
        if wishes is not None:
            reader.update(wishes)
        self.pump.session.accept(request, reader.info, reader.start())
        served = ServedTrack(self, request, reader)
        self.served[request] = served
        self._tracks += 1
        self.idle.clear()
        self.pump.mark(served)
