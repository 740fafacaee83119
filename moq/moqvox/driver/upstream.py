"""One track asked of the peer, on behalf of all local readers."""

import asyncio
import logging
from collections.abc import Callable
from typing import ClassVar, Final

from moqvox.driver.account import Account
from moqvox.driver.asking import UNANSWERED, Asking, Source
from moqvox.driver.braid import Braid, Strand
from moqvox.errors import LocalError, StreamCode
from moqvox.frame import Frame, Subscription, TrackInfo
from moqvox.model import broadcast, group, track
from moqvox.session import events

__all__ = ["Upstream"]

log = logging.getLogger("moqvox.driver")

MAX_EARLY_BYTES: Final = 1024 * 1024
"""Frames held while the track's facts are still on their way."""

MIN_EVENT_BYTES: Final = 64
"""What an event without payload counts towards that bound."""

QUIET: Final = 5
"""Times `linger` without news after which groups that have not come are given up."""

CALM: Final = 0.5
"""Seconds, or `CALM_RTTS` if that is more, without news on a network that works: then groups
of an uncounted end would have come, their losses repaired."""

CALM_RTTS: Final = 8


class Upstream:
    """One subscription to the peer for all local readers of a track.

    The track's facts and its groups are asked for at once, to save a round trip; groups
    that come before the facts wait, unless those were agreed on. Without readers the
    subscription ends after `linger`.

    The end of a track travels on another stream than its groups and may overtake them, so
    the local track ends when every group up to that end was seen. Not every peer accounts
    for all of them: then it ends once no more came for a while.
    """

    def __init__(self, owner: Asking, remote: Source, request: broadcast.TrackRequest) -> None:
        self._owner = owner
        self._remote = remote
        self._request = request
        self._name = request.name
        self._agreed = remote.agreed.get(request.name)
        self._producer: track.Producer | None = None
        self._info_request: int | None = None
        self._subscription: int | None = None
        self._wishes = Subscription()
        self._ended = False
        self._first: int | None = None
        self._group_end: int | None = None
        self._account = Account()
        self._groups: dict[int, group.Producer] = {}
        self._braid: Braid | None = None
        self._strands: dict[int, Strand] = {}
        self._early: list[events.Event] = []
        self._early_bytes = 0
        self._linger: asyncio.TimerHandle | None = None
        self._quiet_for = 0.0
        self._changes_before = 0

    def start(self) -> None:
        """Ask for the facts and, when somebody wants groups, for those too."""
        session = self._owner.pump.session
        self._wait_for_answer()
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
                if self._producer is None:
                    self._accept(info)
            case events.RequestFailed(request=request, code=code, reason=reason):
                self._failed(request, code, reason)
            case events.Subscribed(info=info, group_start=first):
                self._first = first
                if self._info_request is None and self._producer is None:
                    self._accept(info or TrackInfo())
            case events.GroupOpened() if self._producer is None and self._agreed is not None:
                self._accept(self._agreed.info)
                self.receive(event)
            case _ if self._producer is None:
                self._hold(event)
            case _:
                deliver = self._DELIVER.get(type(event))
                if deliver is not None:
                    deliver(self, self._producer, event)

    @property
    def name(self) -> str:
        """The track's."""
        return self._name

    @property
    def is_shared(self) -> bool:
        """Whether another way fills the track besides."""
        return self._braid is not None

    def share(self) -> Braid | None:
        """Let another way fill the track besides; from now on both ways' frames are compared.

        None: there is nothing to share, no facts yet, no readers, the end is known, or it is
        shared already. The track then outlives this subscription.
        """
        producer = self._producer
        if producer is None or self._ended or self._braid is not None or not producer.used:
            return None
        latest = producer.latest
        missing = () if latest is None else self._account.missing(self._first or 0, latest)
        self._braid = Braid(producer, self._groups.values(), missing)
        self._strands = {
            number: self._braid.strand(writer.sequence, writer.next_index)
            for number, writer in self._groups.items()
        }
        self._groups.clear()
        self._remote.producer.remove_track(self._name)
        return self._braid

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
        """End for good: abort what readers still read, and forget the track.

        When the publisher has told the end and all of it came, it is given out to the end.
        """
        if self._producer is None:
            self._request.reject(code)
        elif self._braid is not None:
            pass
        elif self._ended and (self._group_end is None or self._all_seen()):
            for writer in self._groups.values():
                writer.abort(code)
            self._producer.finish(self._group_end)
        else:
            self._producer.abort(code)
            self._remote.producer.remove_track(self._name)
        self._ended = True
        self._let_go()

    def _subscribe(self, wishes: Subscription) -> None:
        self._wishes = wishes
        self._subscription = self._owner.pump.session.subscribe(
            self._remote.path,
            self._name,
            wishes,
            None if self._agreed is None else self._agreed.number,
        )
        self._owner.requests[self._subscription] = self

    def _accept(self, info: TrackInfo) -> None:
        self._cancel_timer()
        self._producer = self._request.accept(info)
        self._producer.wake = self.wake
        self.wake()
        early, self._early = self._early, []
        for event in early:
            self._DELIVER[type(event)](self, self._producer, event)

    def _wait_for_answer(self) -> None:
        """Give up a request that the peer leaves unanswered, once nobody waits for it."""
        self._linger = asyncio.get_running_loop().call_later(UNANSWERED, self._look)

    def _look(self) -> None:
        if self._request.wanted:
            self._wait_for_answer()
        else:
            self.close(StreamCode.CANCELLED)
            self._owner.pump.woken.set()

    def _hold(self, event: events.Event) -> None:
        size = 0
        if isinstance(event, events.FrameReceived | events.DatagramReceived):
            size = len(event.frame.payload)
        self._early_bytes += size + MIN_EVENT_BYTES
        if self._early_bytes > MAX_EARLY_BYTES:
            self.close(StreamCode.TOO_FAR_BEHIND)
            return
        self._early.append(event)

    def _frame(self, producer: track.Producer, event: events.FrameReceived) -> None:
        writer = self._strands.get(event.group) or self._groups.get(event.group)
        if writer is not None:
            self._stamp(event.frame, producer.info.timescale)
            writer.write(event.frame)

    def _opened(self, producer: track.Producer, event: events.GroupOpened) -> None:
        sequence = event.sequence
        if self._first is None:
            self._first = sequence
        is_new = sequence not in self._account
        self._account.add(sequence, sequence)
        if is_new and self._braid is not None:
            self._strands[event.group] = self._braid.strand(sequence, event.frame_start)
            return
        if is_new:
            try:
                writer = producer.create_group(sequence, frame_start=event.frame_start)
            except LocalError as exc:
                log.debug("group %d of %s not taken: %s", sequence, self._name, exc)
            else:
                self._groups[event.group] = writer
                return
        self._owner.groups.pop(event.group, None)
        self._owner.pump.session.stop_group(event.group, StreamCode.CANCELLED)

    def _finished(self, _producer: track.Producer, event: events.GroupFinished) -> None:
        writer = self._strands.pop(event.group, None) or self._groups.pop(event.group, None)
        if writer is not None:
            writer.finish()
        self._finish_if_over()

    def _reset(self, _producer: track.Producer, event: events.GroupReset) -> None:
        self._strands.pop(event.group, None)
        writer = self._groups.pop(event.group, None)
        if writer is not None:
            writer.abort(event.code)
        self._finish_if_over()

    def _dropped(self, producer: track.Producer, event: events.GroupsDropped) -> None:
        start, end = event.group_start, event.group_end
        if self._braid is None:
            for lost in self._account.missing(start, end):
                producer.drop(*lost, event.code)
        self._account.add(start, end)
        self._finish_if_over()

    def _over(self, _producer: track.Producer, event: events.SubscriptionEnded) -> None:
        self._group_end = event.group_end
        self._ended = True
        self._changes_before = self._account.changes
        self._wait_for_groups()
        self._finish_if_over()

    def _datagram(self, producer: track.Producer, event: events.DatagramReceived) -> None:
        self._stamp(event.frame, producer.info.timescale)
        self._account.add(event.sequence, event.sequence)
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
        self.close(code)

    def _expire(self) -> None:
        self._linger = None
        if self._producer is not None and self._producer.demand() is None:
            self.close(StreamCode.CANCELLED)
            self._owner.pump.woken.set()

    def _finish_if_over(self) -> None:
        if self._ended and not self._groups and not self._strands and self._all_seen():
            self._finish()

    def _all_seen(self) -> bool:
        """Tell whether every group up to the end was seen; never, where the end is not told."""
        if self._group_end is None:
            return False
        first = self._group_end if self._first is None else self._first
        return not self._account.missing(first, self._group_end - 1)

    def _wait_for_groups(self) -> None:
        self._cancel_timer()
        wait = self._owner.linger
        if self._group_end is None:
            rtt = self._owner.pump.connection.stats().rtt
            wait = min(wait, max(CALM, CALM_RTTS * rtt))
        loop = asyncio.get_running_loop()
        self._linger = loop.call_later(wait, self._finish_if_quiet, wait)

    def _finish_if_quiet(self, waited: float) -> None:
        """End the track unless groups are open or more came lately.

        That our own answer to an uncounted end was acknowledged shows that the network works.
        """
        if self._groups or self._strands or self._account.changes != self._changes_before:
            self._changes_before = self._account.changes
            self._quiet_for = 0.0
            self._wait_for_groups()
            return
        self._quiet_for += waited
        unacked_bytes = self._owner.pump.connection.stats().unacked_bytes
        is_calm = self._group_end is None and not unacked_bytes
        if is_calm or self._quiet_for >= QUIET * self._owner.linger:
            self._finish()
            self._owner.pump.woken.set()
        else:
            self._wait_for_groups()

    def _finish(self) -> None:
        if self._producer is not None and self._braid is None:
            self._producer.finish(self._group_end)
        self._let_go()

    def _let_go(self) -> None:
        self._cancel_timer()
        self._owner.pump.forget(self)
        self._early.clear()
        for request in (self._info_request, self._subscription):
            if request is not None:
                self._drop_request(request)
                self._owner.pump.session.cancel(request)
        self._owner.forget_groups(self)
        self._groups.clear()
        self._strands.clear()
        if self._producer is not None:
            self._producer.wake = None
        self._remote.forget(self)

    def _cancel_timer(self) -> None:
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None

    def _drop_request(self, request: int | None) -> None:
        if request is not None:
            self._owner.requests.pop(request, None)

    _DELIVER: ClassVar[dict[type, Callable[..., None]]] = {
        events.FrameReceived: _frame,
        events.GroupOpened: _opened,
        events.GroupFinished: _finished,
        events.GroupReset: _reset,
        events.DatagramReceived: _datagram,
        events.GroupsDropped: _dropped,
        events.SubscriptionEnded: _over,
    }
