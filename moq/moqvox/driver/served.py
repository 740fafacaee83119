"""What is served to the peer: subscriptions, fetches and watches, from the model to the session."""

import asyncio
import logging
from collections import deque
from typing import Final

from moqvox.driver.pump import Pump
from moqvox.errors import LocalError, StreamCode, StreamEnded
from moqvox.frame import Subscription
from moqvox.model import group, origin, track
from moqvox.session.interface import Announcement

__all__ = ["Served", "ServedFetch", "ServedTrack", "ServedWatch", "Serving"]

log = logging.getLogger("moqvox.driver")

BATCH: Final = 16
"""Frames of a group written in one turn of the loop, so that what is more urgent may go first:
what is said again after a break is many, and would fill the window before the next request."""

SIFT_AT: Final = 256
"""Streams of ended groups that are kept in mind before all of them are looked through."""


class Serving:
    """All that one session serves now, by request and by group.

    Attributes:
        idle: set while no subscription is being served.
    """

    def __init__(self, pump: Pump) -> None:
        self.pump = pump
        self.by_request: dict[int, Served] = {}
        self.by_group: dict[int, Served] = {}
        self.idle = asyncio.Event()
        self.idle.set()
        self._tracks = 0

    def now(self) -> float:
        """Read the loop's clock, for stamping frames that came without a time."""
        return self.pump.now()

    def track_begun(self) -> None:
        """Note that a subscription is served."""
        self._tracks += 1
        self.idle.clear()

    def track_over(self) -> None:
        """Note that one subscription is served to its end."""
        self._tracks -= 1
        if not self._tracks:
            self.idle.set()


class Sending:
    """Moves one group's frames from the model to its stream, as far as the stream takes them.

    `request` is the subscription that hears of a group given up, as its stream may end before
    the peer can tell what it was for; None for a fetch.

    Attributes:
        is_behind: there is more to write in the next turn.
    """

    def __init__(
        self,
        pump: Pump,
        consumer: group.Consumer,
        group_id: int,
        units: float,
        request: int | None = None,
    ) -> None:
        self.id = group_id
        self.consumer = consumer
        self.is_behind = False
        self._pump = pump
        self._units = units
        self._request = request

    def send(self, now: float) -> bool:
        """Write what is there and fits, one turn's worth of it; True when the group is over."""
        session, consumer = self._pump.session, self.consumer
        self.is_behind = False
        try:
            if self._pump.writable(self.id):
                for _ in range(BATCH):
                    frame = consumer.poll()
                    if frame is None:
                        return self._finish()
                    if frame.timestamp is None:
                        frame.timestamp = int(now * self._units)
                    session.write_frame(self.id, frame)
                self._pump.act()
                self.is_behind = self._pump.writable(self.id)
            consumer.check()
        except StreamEnded as exc:
            code = exc.code
        except LocalError as exc:
            log.warning("group %d can't be sent: %s", consumer.sequence, exc)
            code = StreamCode.MALFORMED_TRACK
        else:
            return False
        if self._request is not None:
            session.drop(self._request, consumer.sequence, consumer.sequence, code)
        session.reset_group(self.id, code)
        consumer.close()
        return True

    def _finish(self) -> bool:
        if not self.consumer.ended:
            return False
        self._pump.session.finish_group(self.id)
        self.consumer.close()
        return True


class ServedTrack:
    """One subscription of the peer's, from the model's reader to the session."""

    def __init__(self, owner: Serving, request: int, consumer: track.Consumer) -> None:
        self.request = request
        self.consumer = consumer
        self._owner = owner
        self._pump = owner.pump
        self._groups: dict[int, Sending] = {}
        self._finished = False
        self._late: deque[int] = deque()
        self._sift_at = SIFT_AT
        consumer.wake = self.wake
        owner.by_request[request] = self
        owner.track_begun()
        self.wake()

    def wake(self) -> None:
        """Run `pump` in the next turn."""
        self._pump.mark(self)

    def pump(self) -> None:
        """Open the groups that came, send what came for those open, tell of the end."""
        session = self._pump.session
        try:
            self._open_groups()
            while (lost := self.consumer.poll_drop()) is not None:
                session.drop(self.request, *lost)
        except StreamEnded as exc:
            self._end()
            session.reject(self.request, exc.code)
            return
        now = self._owner.now()
        for group_id, sending in list(self._groups.items()):
            stream = self._pump.carrier(group_id)
            if sending.send(now):
                self._forget(group_id)
                if stream is not None:
                    self._settle()
                    self._late.append(stream)
            elif sending.is_behind:
                self.wake()
        if self.consumer.ended and not self._finished:
            self._finished = True
            session.finish(self.request, self.consumer.group_end or 0, keep_open=True)
        if self._finished and not self._groups:
            self._conclude()

    def _conclude(self) -> None:
        """End the request's stream once all groups have arrived.

        Peers (npm's @moq/net) give up groups that have not by then, and it would overtake them.
        """
        self._settle()
        if self._late:
            self._pump.mark_soon(self)
            return
        self._pump.session.conclude(self.request)
        self._end()

    def _settle(self) -> None:
        """Forget the oldest streams of ended groups, as far as they have arrived."""
        settled, late = self._pump.connection.settled, self._late
        while late and settled(late[0]):
            late.popleft()
        if len(late) >= self._sift_at:  # the oldest is stuck; those behind it need not stay
            self._late = deque(stream for stream in late if not settled(stream))
            self._sift_at = max(SIFT_AT, 2 * len(self._late))

    def _open_groups(self) -> None:
        """Begin the groups that came, as many as the transport has room for.

        Raises:
            StreamEnded: the track was aborted.
        """
        session = self._pump.session
        while not self._pump.congested:
            consumer = self.consumer.poll_group()
            if consumer is None:
                return
            sequence = consumer.sequence
            try:
                group_id = session.open_group(
                    self.request, sequence, frame_start=consumer.frame_start
                )
            except LocalError as exc:
                log.info("group %d can't be sent: %s", sequence, exc)
                consumer.close()
                session.drop(self.request, sequence, sequence, StreamCode.TOO_FAR_BEHIND)
                continue
            self._pump.act()
            units = self.consumer.info.timescale
            sending = Sending(self._pump, consumer, group_id, units, self.request)
            self._groups[group_id] = sending
            self._owner.by_group[group_id] = self
        self._pump.mark_later(self)

    def stop_group(self, group_id: int) -> None:
        """Give up one group that the peer wants no more of."""
        sending = self._groups.get(group_id)
        if sending is not None:
            sending.consumer.close()
            self._forget(group_id)

    def update(self, subscription: Subscription) -> None:
        """Take the peer's new wishes."""
        self.consumer.update(subscription)
        self.wake()

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
        if self._owner.by_request.pop(self.request, None) is not None:
            self._owner.track_over()


class ServedFetch:
    """One fetch of the peer's."""

    def __init__(
        self, owner: Serving, request: int, consumer: group.Consumer, group_id: int, units: int
    ) -> None:
        self._owner = owner
        self._request = request
        self._sending = Sending(owner.pump, consumer, group_id, units)
        consumer.wake = self.wake
        owner.by_request[request] = self
        owner.by_group[group_id] = self
        self.wake()

    def wake(self) -> None:
        """Run `pump` in the next turn."""
        self._owner.pump.mark(self)

    def pump(self) -> None:
        """Send what came."""
        if self._sending.send(self._owner.now()):
            self.cancel()
        elif self._sending.is_behind:
            self.wake()

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
        self._owner.by_request.pop(self._request, None)


class ServedWatch:
    """One watch of the peer's on our broadcasts."""

    def __init__(self, owner: Serving, request: int, watch: origin.Watch) -> None:
        self._owner = owner
        self._request = request
        self._watch = watch
        self._told: set[str] = set()
        watch.wake = self.wake
        owner.by_request[request] = self
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
        self._owner.by_request.pop(self._request, None)


Served = ServedTrack | ServedFetch | ServedWatch
