"""Requests of ours that the peer answers: SUBSCRIBE, TRACK, FETCH, PROBE.

draft-lcurley-moq-lite, sections "Subscribe", "Track", "Fetch" and "Probe".
"""

from typing import Final

from moqvox.errors import StreamCode
from moqvox.frame import Subscription, TrackInfo
from moqvox.session.events import (
    GroupOpened,
    GroupsDropped,
    ProbeReceived,
    RequestFailed,
    Subscribed,
    SubscriptionEnded,
    TrackInfoReceived,
)
from moqvox.session.lite.groups import ReceivedGroup
from moqvox.session.lite.streams import ControlStream, Streams
from moqvox.wire.cursor import violation
from moqvox.wire.lite.message import decode, encode
from moqvox.wire.lite.messages import (
    SubscribeDrop,
    SubscribeEnd,
    SubscribeOk,
    SubscribeReply,
    SubscribeStart,
    SubscribeUpdate,
    TrackReply,
    decode_reply,
)
from moqvox.wire.lite.setup import Probe
from moqvox.wire.lite.streams import GroupHeader

__all__ = [
    "Asked",
    "AskedFetch",
    "AskedProbe",
    "AskedSubscription",
    "AskedTrack",
    "Subscriptions",
]

_MAX_ENDED: Final = 64
"""Ended subscriptions that stragglers among their groups still find."""


class Asked(ControlStream):
    """One request of ours."""

    __slots__ = ()

    def receive_fin(self) -> None:
        """Take the end of a reply that is missing something."""
        self.break_off(StreamCode.CANCELLED, "the peer ended the request")

    def receive_reset(self, code: int) -> None:
        """Take the peer's refusal."""
        self.break_off(code, "")

    def receive_stop(self, code: int) -> None:
        """Wait for the answer, or the refusal: that the peer reads no more of us is neither.

        A publisher that has said all stops reading, and that may overtake what it said.
        """
        self.streams.half_received.start(self.name)

    def break_off(self, code: int, reason: str) -> None:
        """End the request for what the peer did."""
        self.cancel(code)
        self.streams.events.append(RequestFailed(self.name, code, reason))

    def cancel(self, code: int = StreamCode.CANCELLED) -> None:
        """End the request for reasons of our own."""
        self.abandon(code)

    def conclude(self) -> None:
        """End our side after the peer's."""
        self.streams.write(self.name, b"", fin=True)
        self.streams.drop(self.name)


class AskedTrack(Asked):
    """We ask for a track's facts."""

    __slots__ = ()

    def take(self) -> bool:
        """Take the answer."""
        body = self.framer.message()
        if body is None:
            return False
        reply = decode(TrackReply, body, self.streams.version)
        self.conclude()
        self.streams.events.append(TrackInfoReceived(self.name, reply.info))
        return True


class AskedProbe(Asked):
    """We ask for the peer's estimates of its bandwidth."""

    __slots__ = ()

    def take(self) -> bool:
        """Take an estimate."""
        body = self.framer.message()
        if body is None:
            return False
        probe = decode(Probe, body, self.streams.version)
        self.streams.events.append(ProbeReceived(probe.bitrate_bps, probe.rtt_ms))
        return True


class Subscriptions:
    """Ours, by the numbers that the headers of their groups carry.

    One that the publisher ended is kept for groups that arrive behind its end, until it is
    cancelled or 64 more have ended.
    """

    def __init__(self) -> None:
        self._by_number: dict[int, AskedSubscription] = {}
        self._ended: dict[int, AskedSubscription] = {}
        self._given = 0
        self._agreed: set[int] = set()

    def next_number(self, wanted: int | None) -> int:
        """Return the wanted number, or else one, that was never used."""
        if wanted is not None and wanted not in self._agreed:
            self._agreed.add(wanted)
            return wanted
        self._given += 1
        return self._given - 1

    def was_used(self, number: int) -> bool:
        """Whether a subscription had a number, or has it."""
        return number < self._given or number in self._agreed

    def add(self, subscription: "AskedSubscription") -> None:
        """Let groups find a subscription."""
        self._by_number[subscription.number] = subscription

    def find(self, number: int) -> "AskedSubscription | None":
        """Find what a group belongs to."""
        return self._by_number.get(number)

    def find_ended(self, request: int) -> "AskedSubscription | None":
        """Find an ended subscription by its request."""
        return self._ended.get(request)

    def end(self, subscription: "AskedSubscription") -> None:
        """Note that the publisher opens no more groups."""
        self._ended[subscription.name] = subscription
        if len(self._ended) > _MAX_ENDED:
            self.remove(next(iter(self._ended.values())))

    def clear(self) -> None:
        """Let groups find no subscription any more."""
        for subscription in self._by_number.values():
            subscription.let_go()
        self._by_number.clear()
        self._ended.clear()

    def remove(self, subscription: "AskedSubscription") -> None:
        """Let groups find a subscription no longer."""
        self._ended.pop(subscription.name, None)
        self._by_number.pop(subscription.number, None)


class AskedSubscription(Asked):
    """We subscribe to a track.

    Attributes:
        number: names the subscription in the headers of its groups.
        groups: those that are coming in.
    """

    __slots__ = ("_accepted", "_ended", "_subscriptions", "_whole", "groups", "number")

    def __init__(
        self,
        streams: Streams,
        name: int,
        subscriptions: Subscriptions,
        number: int | None = None,
    ) -> None:
        super().__init__(streams, name)
        self.number = subscriptions.next_number(number)
        self._subscriptions = subscriptions
        self.groups: dict[int, ReceivedGroup] = {}
        self._accepted = False
        self._ended = False
        self._whole = True

    def take(self) -> bool:
        """Take a reply."""
        typed = self.framer.typed()
        if typed is None:
            return False
        self._apply(decode_reply(*typed, self.streams.version))
        return True

    def receive_fin(self) -> None:
        """Take the publisher's end; groups that are under way still come."""
        self._end(None)
        self.conclude()
        self._subscriptions.end(self)

    def receive_reset(self, code: int) -> None:
        """Take the publisher's refusal, or its leave.

        Where no message tells the end of a track, a publisher that left after all of it
        was delivered looks like this; with every group whole nothing is known to be missing.
        """
        is_leave = code in (StreamCode.INTERNAL, StreamCode.CANCELLED)
        is_whole = self._accepted and self._whole and not self.groups
        if is_leave and is_whole and not self.streams.version.end_message:
            self.receive_fin()
        else:
            super().receive_reset(code)

    def receive_stop(self, code: int) -> None:
        """Go on once it is accepted: the publisher only takes no more wishes."""
        if not self._accepted:
            super().receive_stop(code)

    def cancel(self, code: int = StreamCode.CANCELLED) -> None:
        """End the subscription and its groups."""
        self._subscriptions.remove(self)
        for group in list(self.groups.values()):
            group.stop(code)
        if self.live:
            self.abandon(code)

    def break_off(self, code: int, reason: str) -> None:
        """End the subscription and its groups for what the peer did."""
        for group in list(self.groups.values()):
            group.refuse(code)
        super().break_off(code, reason)

    def let_go(self) -> None:
        """Refer to no group of it."""
        self.groups.clear()

    def update(self, wishes: Subscription) -> None:
        """Tell new wishes."""
        message = encode(SubscribeUpdate(wishes), self.streams.version)
        self.streams.write(self.name, message)

    def open_group(self, name: int, header: GroupHeader) -> ReceivedGroup:
        """Let a group come in."""
        group = ReceivedGroup(self.streams, name, self.groups, self._lose)
        self.streams.add(group)
        opened = GroupOpened(self.name, name, header.sequence, header.frame_start)
        self.streams.events.append(opened)
        return group

    def _lose(self) -> None:
        """Note that a group did not come whole."""
        self._whole = False

    def _apply(self, reply: SubscribeReply) -> None:
        match reply:
            case SubscribeOk():
                info = TrackInfo(reply.priority, reply.ordered, reply.max_age_ms)
                self._accept(info, reply.group_start)
                if reply.group_end is not None:
                    self._end(reply.group_end + 1)
            case SubscribeStart():
                self._accept(None, reply.group)
            case SubscribeEnd():
                self._end(reply.group)
            case SubscribeDrop():
                if reply.group_end < reply.group_start:
                    raise violation(f"groups {reply.group_start} to {reply.group_end} dropped")
                self.streams.events.append(
                    GroupsDropped(self.name, reply.group_start, reply.group_end, reply.code)
                )

    def _accept(self, info: TrackInfo | None, group_start: int | None) -> None:
        """Report the first acceptance; a repeated one only moves the publisher's bounds."""
        if not self._accepted:
            self._accepted = True
            self.streams.events.append(Subscribed(self.name, info, group_start))

    def _end(self, group_end: int | None) -> None:
        if not self._ended:
            self._ended = True
            self.streams.events.append(SubscriptionEnded(self.name, group_end))


class AskedFetch(ReceivedGroup):
    """We ask for a past group, which comes in on the same stream."""

    __slots__ = ("_frame_start", "_opened", "_priority", "_sequence")

    def __init__(
        self, streams: Streams, name: int, *, sequence: int, frame_start: int, priority: int
    ) -> None:
        super().__init__(streams, name, {})
        self._sequence = sequence
        self._frame_start = frame_start if streams.version.frame_ranges else 0
        self._priority = priority
        self._opened = False

    def receive(self, data: bytes, *, fin: bool) -> None:
        """Take frames; there is no header in front of them."""
        if not self._opened and (data or fin):
            self._opened = True
            self.streams.events.append(
                GroupOpened(self.name, self.name, self._sequence, self._frame_start, self._priority)
            )
        super().receive(data, fin=fin)

    def finish(self) -> None:
        """Report that it is whole, and end our side too."""
        super().finish()
        self.streams.write(self.name, b"", fin=True)

    def receive_stop(self, code: int) -> None:
        """Take the peer's refusal."""
        self.lose(code)

    def lose(self, code: int) -> None:
        """Report the refusal, or that the rest will not come."""
        if self._opened:
            super().lose(code)
        else:
            self.forget()
            self.streams.events.append(RequestFailed(self.name, code))
        self.streams.reset(self.name, StreamCode.CANCELLED)

    def stop(self, code: int) -> None:
        """Want no more of it; nothing is reported."""
        super().stop(code)
        self.streams.reset(self.name, code)

    def cancel(self, code: int = StreamCode.CANCELLED) -> None:
        """End the request for reasons of our own."""
        self.stop(code)
