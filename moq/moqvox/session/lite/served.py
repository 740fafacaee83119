"""Requests of the peer's that we answer: SUBSCRIBE, TRACK, FETCH, PROBE.

draft-lcurley-moq-lite, sections "Subscribe", "Track", "Fetch" and "Probe".
"""

import msgspec

from moqvox import path as paths
from moqvox.errors import LocalError, StreamCode
from moqvox.frame import Subscription, TrackInfo
from moqvox.session.events import (
    FetchRequested,
    GroupStopped,
    ProbeRequested,
    RequestCancelled,
    SubscribeRequested,
    SubscribeUpdated,
    TrackInfoRequested,
)
from moqvox.session.lite.groups import Sending, SentGroup
from moqvox.session.lite.streams import ControlStream, Streams
from moqvox.session.priority import fetch_priority, group_priority, ordered_by_age
from moqvox.wire.cursor import violation
from moqvox.wire.framing import Framer
from moqvox.wire.lite.message import decode, encode
from moqvox.wire.lite.messages import (
    Fetch,
    Subscribe,
    SubscribeDrop,
    SubscribeEnd,
    SubscribeOk,
    SubscribeReply,
    SubscribeStart,
    SubscribeUpdate,
    Track,
    TrackReply,
    encode_reply,
)
from moqvox.wire.lite.setup import Probe
from moqvox.wire.lite.streams import GroupHeader, UniType
from moqvox.wire.varint import encode_varint

__all__ = ["Served", "ServedFetch", "ServedProbe", "ServedSubscription", "ServedTrack"]


class Served(ControlStream):
    """One request of the peer's."""

    __slots__ = ("asked",)

    def __init__(self, streams: Streams, name: int, framer: Framer) -> None:
        super().__init__(streams, name, framer)
        self.asked = False

    @property
    def expectant(self) -> bool:
        """Whether the request itself has still to come."""
        return not self.asked

    def receive_fin(self) -> None:
        """Take the end of the peer's side: it has asked all it wants to ask."""
        if not self.asked:
            self.abandon(StreamCode.CANCELLED)

    def receive_reset(self, code: int) -> None:
        """Take the peer's loss of interest."""
        self.break_off(code, "")

    def break_off(self, code: int, reason: str) -> None:
        """End the request for what the peer did."""
        self.reject(code)
        if self.asked:
            self.streams.events.append(RequestCancelled(self.name, code))

    def reject(self, code: int) -> None:
        """End the request for reasons of our own."""
        self.abandon(code)

    def name_of(self, broadcast: str) -> str | None:
        """Bring a broadcast's path into our form; None, and the request refused, if it has none."""
        try:
            return paths.normalise(broadcast)
        except LocalError:
            self.abandon(StreamCode.NOT_FOUND)
            return None


class ServedTrack(Served):
    """The peer asks for a track's facts."""

    __slots__ = ()

    def take(self) -> bool:
        """Take the request; nothing may follow it."""
        body = self.framer.message()
        if body is None:
            return False
        if self.asked:
            raise violation("a second message on a track stream")
        request = decode(Track, body, self.streams.version)
        broadcast = self.name_of(request.broadcast)
        if broadcast is not None:
            self.asked = True
            self.streams.events.append(TrackInfoRequested(self.name, broadcast, request.track))
        return True

    def accept(self, info: TrackInfo) -> None:
        """Answer, and be done."""
        reply = encode(TrackReply(info), self.streams.version)
        self.streams.write(self.name, reply, fin=True)
        self.streams.drop(self.name)


class ServedFetch(Served):
    """The peer asks for a past group, which goes out on the same stream."""

    __slots__ = ("_group", "_priority", "_sending", "_sequence")

    def __init__(self, sending: Sending, name: int, framer: Framer) -> None:
        super().__init__(sending.streams, name, framer)
        self._sending = sending
        self._group: SentGroup | None = None
        self._priority = self._sequence = 0

    def take(self) -> bool:
        """Take the request; nothing may follow it."""
        body = self.framer.message()
        if body is None:
            return False
        if self.asked:
            raise violation("a second message on a fetch stream")
        request = decode(Fetch, body, self.streams.version)
        broadcast = self.name_of(request.broadcast)
        if broadcast is None:
            return True
        self.asked = True
        self._priority, self._sequence = request.priority, request.group
        self.streams.events.append(
            FetchRequested(
                self.name,
                broadcast,
                request.track,
                request.priority,
                request.group,
                request.group,
                request.frame_start,
                request.frame_end,
            )
        )
        return True

    def accept(self) -> None:
        """Let the group be written to, under the request's own name."""
        if self._group is not None:
            raise LocalError(f"fetch {self.name} is accepted already")
        place = self._sending.places.next()
        self._group = SentGroup(self._sending, self.name, self._sequence, place)
        self._sending.add(self._group)
        self.streams.prioritise(self.name, fetch_priority(self._priority, place))

    def receive_stop(self, code: int) -> None:
        """Take the peer's loss of interest."""
        if self._group is None:
            self.break_off(code, "")
        else:
            self.reject(code)
            self.streams.events.append(GroupStopped(self.name, code))

    def reject(self, code: int) -> None:
        """End the request, and the group with it."""
        self._sending.groups.pop(self.name, None)
        self.abandon(code)


class ServedSubscription(Served):
    """The peer subscribes to a track.

    Attributes:
        numbers: of the peer's live subscriptions.
    """

    __slots__ = (
        "_ended",
        "_info",
        "_kept",
        "_numbers",
        "_open",
        "_sending",
        "_started",
        "number",
        "wishes",
    )

    def __init__(self, sending: Sending, name: int, framer: Framer, numbers: set[int]) -> None:
        super().__init__(sending.streams, name, framer)
        self.number = -1
        self.wishes = Subscription()
        self._sending = sending
        self._numbers = numbers
        self._info: TrackInfo | None = None
        self._open: dict[int, SentGroup] = {}
        self._started = False
        self._ended = self._kept = False

    def take(self) -> bool:
        """Take the request or an update to it."""
        body = self.framer.message()
        if body is None:
            return False
        if self.asked:
            update = decode(SubscribeUpdate, body, self.streams.version)
            self.wishes = self._complete(update.wishes)
            self._reprioritise()
            self.streams.events.append(SubscribeUpdated(self.name, self.wishes))
            return True
        request = decode(Subscribe, body, self.streams.version)
        if request.number in self._numbers:
            raise violation(f"subscription {request.number} twice")
        broadcast = self.name_of(request.broadcast)
        if broadcast is None:
            return True
        self.asked = True
        self.number = request.number
        self._numbers.add(request.number)
        self.wishes = self._complete(request.wishes)
        self.streams.events.append(
            SubscribeRequested(self.name, broadcast, request.track, self.wishes)
        )
        return True

    def receive_fin(self) -> None:
        """Take the peer's goodbye."""
        self.break_off(StreamCode.CANCELLED, "")

    def reject(self, code: int) -> None:
        """End the subscription and its groups."""
        self._ended = False
        for group in list(self._open.values()):
            self._sending.reset(group, code)
        self._numbers.discard(self.number)
        self.abandon(code)

    def accept(self, info: TrackInfo, group_start: int | None) -> None:
        """Begin to serve."""
        if self._info is not None:
            raise LocalError(f"subscription {self.name} is accepted already")
        if not self.streams.version.end_message:
            self._reply(SubscribeOk(info.priority, info.ordered, info.max_age_ms, group_start))
        elif group_start is not None:
            self._start(group_start)
        self._info = info

    def finish(self, group_end: int, *, keep_open: bool = False) -> None:
        """Tell the end; the stream ends once no group of it is being written.

        `keep_open`: and `conclude` was called.
        """
        self._require_accepted()
        if self._ended:
            raise LocalError(f"subscription {self.name} has ended already")
        if self.streams.version.end_message:
            self._reply(SubscribeEnd(group_end))
        self._ended = True
        self._kept = keep_open
        self._conclude()

    def conclude(self) -> None:
        """End the stream, once it is finished and no group of it is being written."""
        self._kept = False
        self._conclude()

    def drop(self, group_start: int, group_end: int, code: int) -> None:
        """Tell that groups will not come."""
        self._require_accepted()
        self._reply(SubscribeDrop(group_start, group_end, code))

    def open_group(self, sequence: int, frame_start: int) -> int:
        """Begin a group on a stream of its own."""
        info = self._require_accepted()
        version = self.streams.version
        if frame_start and not version.frame_ranges:
            raise LocalError(f"{version.alpn} sends groups from their first frame only")
        header = encode(GroupHeader(self.number, sequence, frame_start), version)
        if version.end_message and not self._started:
            self._start(sequence)
        newer = [group.place for group in self._open.values() if group.sequence > sequence]
        place = self._sending.places.next(min(newer, default=None))
        group = _SubscriptionGroup(self._sending, self.streams.mint(), sequence, place)
        group.subscription = self
        self._open[group.name] = group
        self._sending.add(group)
        self.streams.add(group)
        priority = self._priority(group, info)
        self.streams.open(group.name, bidirectional=False, priority=priority)
        self.streams.write(group.name, encode_varint(UniType.GROUP) + header)
        return group.name

    def group_ended(self, group: SentGroup) -> None:
        """Note that a group is not written to any longer."""
        self._open.pop(group.name, None)
        self._conclude()

    def _conclude(self) -> None:
        if self._ended and not self._kept and not self._open and self.live:
            self.streams.write(self.name, b"", fin=True)
            self._numbers.discard(self.number)
            self.streams.drop(self.name)

    def _complete(self, wishes: Subscription) -> Subscription:
        if self.streams.version.ordered_field:
            return wishes
        return msgspec.structs.replace(wishes, ordered=ordered_by_age(wishes.max_age_ms))

    def _require_accepted(self) -> TrackInfo:
        if self._info is None:
            raise LocalError(f"subscription {self.name} is not accepted yet")
        return self._info

    def _start(self, sequence: int) -> None:
        self._started = True
        self._reply(SubscribeStart(sequence))

    def _reply(self, reply: SubscribeReply) -> None:
        self.streams.write(self.name, encode_reply(reply, self.streams.version))

    def _priority(self, group: SentGroup, info: TrackInfo) -> int:
        wishes = self.wishes
        return group_priority(
            wishes.priority, info.priority, ordered=wishes.ordered, place=group.place
        )

    def _reprioritise(self) -> None:
        if self._info is not None:
            for group in self._open.values():
                self.streams.prioritise(group.name, self._priority(group, self._info))


class _SubscriptionGroup(SentGroup):
    """A group sent for a subscription."""

    __slots__ = ("subscription",)

    subscription: ServedSubscription

    def ended(self) -> None:
        """Tell the subscription."""
        self.subscription.group_ended(self)


class ServedProbe(Served):
    """The peer wants estimates of our bandwidth."""

    __slots__ = ()

    def begin(self) -> None:
        """Report the stream itself, which asks without a message."""
        self.asked = True
        self.streams.events.append(ProbeRequested(self.name, 0))

    def take(self) -> bool:
        """Take a new target."""
        body = self.framer.message()
        if body is None:
            return False
        target = decode(Probe, body, self.streams.version)
        self.streams.events.append(ProbeRequested(self.name, target.bitrate_bps))
        return True

    def receive_fin(self) -> None:
        """Take the peer's goodbye."""
        self.break_off(StreamCode.CANCELLED, "")

    def answer(self, bitrate_bps: int, rtt_ms: int) -> None:
        """Send an estimate."""
        message = encode(Probe(bitrate_bps, rtt_ms), self.streams.version)
        self.streams.write(self.name, message)
