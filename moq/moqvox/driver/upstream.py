"""One track or one fetch asked of the peer, on behalf of all local readers."""

import asyncio
import logging
from collections.abc import Callable
from typing import Final, Protocol

from moqvox.driver.pump import Pump
from moqvox.errors import LocalError, StreamCode
from moqvox.frame import Frame, Subscription, TrackInfo
from moqvox.model import broadcast, group, track
from moqvox.session import events

__all__ = ["Asking", "Upstream", "UpstreamFetch"]

log = logging.getLogger("moqvox.driver")

MAX_EARLY_BYTES: Final = 1024 * 1024
"""Frames held while the track's facts are still on their way."""

MIN_EVENT_BYTES: Final = 64
"""What an event without payload counts towards that bound."""


class Source(Protocol):
    """The broadcast that an upstream fills."""

    @property
    def path(self) -> str:
        """Its name at the peer."""

    @property
    def producer(self) -> broadcast.Producer:
        """Where its tracks go."""

    def forget(self, upstream: "Upstream | UpstreamFetch") -> None:
        """Let go of an upstream that ended."""


class Asking:
    """Our open requests to the peer, and who waits for which.

    Attributes:
        linger: seconds an upstream without readers, or with groups outstanding, is kept.
    """

    def __init__(self, pump: Pump, linger: float) -> None:
        self.pump = pump
        self.linger = linger
        self.requests: dict[int, Upstream | UpstreamFetch] = {}
        self.groups: dict[int, Upstream | UpstreamFetch] = {}


class Upstream:
    """One subscription to the peer for all local readers of a track.

    The track's facts and its groups are asked for at once, to save a round trip; groups
    that come before the facts wait. Without readers the subscription ends after `linger`.

    The end of a track travels on another stream than its groups and may overtake them, so
    the local track ends when every group up to that end was seen, or `linger` later.
    """

    def __init__(self, owner: Asking, remote: Source, request: broadcast.TrackRequest) -> None:
        self._owner = owner
        self._remote = remote
        self._request = request
        self._name = request.name
        self._producer: track.Producer | None = None
        self._info_request: int | None = None
        self._subscription: int | None = None
        self._wishes = Subscription()
        self._ended = False
        self._first: int | None = None
        self._group_end: int | None = None
        self._settled = 0
        self._groups: dict[int, group.Producer] = {}
        self._early: list[events.Event] = []
        self._early_bytes = 0
        self._linger: asyncio.TimerHandle | None = None
        self._deliver: dict[type, Callable[..., None]] = {
            events.FrameReceived: self._frame,
            events.GroupOpened: self._opened,
            events.GroupFinished: self._finished,
            events.GroupReset: self._reset,
            events.DatagramReceived: self._datagram,
            events.GroupsDropped: self._dropped,
            events.SubscriptionEnded: self._over,
        }

    def start(self) -> None:
        """Ask for the facts and, when somebody wants groups, for those too."""
        session = self._owner.pump.session
        self._info_request = session.track_info(self._remote.path, self._name)
        if self._info_request is not None:
            self._owner.requests[self._info_request] = self
        if self._request.subscription is not None:
            self._subscribe(self._request.subscription)
        elif self._info_request is None:
            self._accept(TrackInfo())

    def receive(self, event: events.Event) -> None:
        """Take one event about our requests or groups."""
        match event:
            case events.TrackInfoReceived(info=info):
                self._drop_request(self._info_request)
                self._info_request = None
                self._accept(info)
            case events.RequestFailed(request=request, code=code, reason=reason):
                self._failed(request, code, reason)
            case events.Subscribed(info=info, group_start=first):
                self._first = first
                if self._info_request is None and self._producer is None:
                    self._accept(info or TrackInfo())
            case _ if self._producer is None:
                self._hold(event)
            case _:
                deliver = self._deliver.get(type(event))
                if deliver is not None:
                    deliver(self._producer, event)

    def wake(self) -> None:
        """Look at the readers' wishes in the next turn."""
        self._owner.pump.mark(self)

    def pump(self) -> None:
        """Follow the readers: subscribe, change the wishes, or begin to linger."""
        if self._producer is None or self._ended:
            return
        demand = self._producer.demand()
        if demand is None:
            if self._linger is None:
                loop = asyncio.get_running_loop()
                self._linger = loop.call_later(self._owner.linger, self._expire)
            return
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None
        if self._subscription is None:
            self._subscribe(demand)
        elif demand != self._wishes:
            self._wishes = demand
            self._owner.pump.session.update(self._subscription, demand)

    def close(self, code: int) -> None:
        """End for good: abort what readers still read, and forget the track."""
        if self._linger is not None:
            self._linger.cancel()
        self._owner.pump.forget(self)
        for request in (self._info_request, self._subscription):
            if request is not None:
                self._drop_request(request)
                self._owner.pump.session.cancel(request)
        for group_id in self._groups:
            self._owner.groups.pop(group_id, None)
        if self._producer is None:
            self._request.reject(code)
        else:
            self._producer.wake = None
            self._producer.abort(code)
            self._remote.producer.remove_track(self._name)
        self._ended = True
        self._remote.forget(self)

    def _subscribe(self, wishes: Subscription) -> None:
        self._wishes = wishes
        self._subscription = self._owner.pump.session.subscribe(
            self._remote.path, self._name, wishes
        )
        self._owner.requests[self._subscription] = self

    def _accept(self, info: TrackInfo) -> None:
        self._producer = self._request.accept(info)
        self._producer.wake = self.wake
        self.wake()
        early, self._early = self._early, []
        for event in early:
            self._deliver[type(event)](self._producer, event)

    def _hold(self, event: events.Event) -> None:
        size = len(event.frame.payload) if isinstance(event, events.FrameReceived) else 0
        self._early_bytes += size + MIN_EVENT_BYTES
        if self._early_bytes > MAX_EARLY_BYTES:
            self.close(StreamCode.TOO_FAR_BEHIND)
            return
        self._early.append(event)

    def _frame(self, producer: track.Producer, event: events.FrameReceived) -> None:
        writer = self._groups.get(event.group)
        if writer is not None:
            self._stamp(event.frame, producer.info.timescale)
            writer.write(event.frame)

    def _opened(self, producer: track.Producer, event: events.GroupOpened) -> None:
        if self._first is None:
            self._first = event.sequence
        try:
            self._groups[event.group] = producer.create_group(
                event.sequence, frame_start=event.frame_start
            )
            self._settled += 1
        except LocalError as exc:
            log.debug("group %d of %s not taken: %s", event.sequence, self._name, exc)
            self._owner.groups.pop(event.group, None)
            self._owner.pump.session.stop_group(event.group, StreamCode.CANCELLED)

    def _finished(self, _producer: track.Producer, event: events.GroupFinished) -> None:
        writer = self._groups.pop(event.group, None)
        if writer is not None:
            writer.finish()
        self._finish_if_over()

    def _reset(self, _producer: track.Producer, event: events.GroupReset) -> None:
        writer = self._groups.pop(event.group, None)
        if writer is not None:
            writer.abort(event.code)
        self._finish_if_over()

    def _dropped(self, producer: track.Producer, event: events.GroupsDropped) -> None:
        producer.drop(event.group_start, event.group_end, event.code)
        self._settled += max(0, event.group_end + 1 - event.group_start)
        self._finish_if_over()

    def _over(self, _producer: track.Producer, event: events.SubscriptionEnded) -> None:
        self._group_end = event.group_end
        self._ended = True
        if self._linger is not None:
            self._linger.cancel()
        loop = asyncio.get_running_loop()
        self._linger = loop.call_later(self._owner.linger, self._finish)
        self._finish_if_over()

    def _datagram(self, producer: track.Producer, event: events.DatagramReceived) -> None:
        self._stamp(event.frame, producer.info.timescale)
        try:
            writer = producer.create_group(event.sequence)
        except LocalError:
            return
        writer.write(event.frame)
        writer.finish()

    def _stamp(self, frame: Frame, timescale: int) -> None:
        if frame.timestamp is None:
            frame.timestamp = int(self._owner.pump.now() * timescale)

    def _failed(self, request: int, code: int, reason: str) -> None:
        self._drop_request(request)
        if request == self._info_request:
            self._info_request = None
        else:
            self._subscription = None
        if self._producer is None:
            self._request.reject(code, reason)
            self._ended = True
            other = self._subscription if self._subscription is not None else self._info_request
            if other is not None:
                self._drop_request(other)
                self._owner.pump.session.cancel(other)
            self._remote.forget(self)
        else:
            self.close(code)

    def _expire(self) -> None:
        self._linger = None
        if self._producer is not None and self._producer.demand() is None:
            self.close(StreamCode.CANCELLED)
            self._owner.pump.woken.set()

    def _finish_if_over(self) -> None:
        if self._ended and not self._groups and self._group_end is not None:
            first = self._group_end if self._first is None else self._first
            if self._settled >= self._group_end - first:
                self._finish()

    def _finish(self) -> None:
        if self._linger is not None:
            self._linger.cancel()
        if self._groups:
            self._linger = asyncio.get_running_loop().call_later(self._owner.linger, self._finish)
            return
        if self._producer is not None:
            self._producer.wake = None
            self._producer.finish(self._group_end)
        self._drop_request(self._subscription)
        self._remote.forget(self)

    def _drop_request(self, request: int | None) -> None:
        if request is not None:
            self._owner.requests.pop(request, None)


class UpstreamFetch:
    """One past group asked of the peer."""

    def __init__(self, owner: Asking, remote: Source, request: broadcast.FetchRequest) -> None:
        self._owner = owner
        self._remote = remote
        self._request = request
        self._info = TrackInfo()
        self._info_request: int | None = None
        self._fetch: int | None = None
        self._group_id: int | None = None
        self._producer: group.Producer | None = None

    def start(self) -> None:
        """Ask for the track's facts first: they tell the unit of the timestamps."""
        self._info_request = self._owner.pump.session.track_info(
            self._remote.path, self._request.name
        )
        if self._info_request is None:
            self._ask()
        else:
            self._owner.requests[self._info_request] = self

    def receive(self, event: events.Event) -> None:
        """Take one event about our requests or the group."""
        match event:
            case events.TrackInfoReceived(info=info):
                self._owner.requests.pop(event.request, None)
                self._info_request = None
                self._info = info
                self._ask()
            case events.GroupOpened(group=group_id):
                self._group_id = group_id
                self._producer = self._request.accept(self._info)
            case events.FrameReceived(frame=frame):
                if self._producer is not None:
                    if frame.timestamp is None:
                        frame.timestamp = int(self._owner.pump.now() * self._info.timescale)
                    self._producer.write(frame)
            case events.GroupFinished():
                if self._producer is not None:
                    self._producer.finish()
                self._done()
            case events.GroupReset(code=code) | events.RequestFailed(code=code):
                self.close(code)
            case _:
                pass

    def pump(self) -> None:
        """Do nothing: a fetch follows no wishes."""

    def close(self, code: int) -> None:
        """Give up."""
        if self._producer is None:
            self._request.reject(code)
        else:
            self._producer.abort(code)
        for request in (self._info_request, self._fetch):
            if request is not None:
                self._owner.pump.session.cancel(request)
        self._done()

    def _ask(self) -> None:
        request = self._request
        self._fetch = self._owner.pump.session.fetch(
            self._remote.path,
            request.name,
            group=request.group,
            priority=request.priority,
            frame_start=request.frame_start,
            frame_end=request.frame_end,
        )
        self._owner.requests[self._fetch] = self

    def _done(self) -> None:
        for request in (self._info_request, self._fetch):
            if request is not None:
                self._owner.requests.pop(request, None)
        if self._group_id is not None:
            self._owner.groups.pop(self._group_id, None)
        self._remote.forget(self)
