"""Subscriptions of the peer's, and the groups that are sent for them.

draft-lcurley-moq-lite, sections "Subscribe" and "Group".
"""

from typing import Protocol

import msgspec

from moqvox.errors import LocalError, StreamCode
from moqvox.frame import Subscription, TrackInfo
from moqvox.session.events import SubscribeRequested, SubscribeUpdated
from moqvox.session.lite.groups import Sending, SentGroup
from moqvox.session.lite.served import Served
from moqvox.session.priority import group_priority, ordered_by_age
from moqvox.wire.cursor import violation
from moqvox.wire.framing import Framer
from moqvox.wire.lite.message import decode, encode
from moqvox.wire.lite.messages import (
    Subscribe,
    SubscribeDrop,
    SubscribeEnd,
    SubscribeOk,
    SubscribeReply,
    SubscribeStart,
    SubscribeUpdate,
    encode_reply,
)
from moqvox.wire.lite.streams import GroupHeader, UniType
from moqvox.wire.varint import encode_varint

__all__ = ["Adoption", "ServedSubscription"]


class Adoption(Protocol):
    """What was sent ahead of the peer's requests."""

    def adopt(self, asked: "ServedSubscription", broadcast: str, track: str) -> bool:
        """Let a request that came go on with what was sent for it; False for nothing."""


class ServedSubscription(Served):
    """The peer subscribes to a track.

    Attributes:
        numbers: of the peer's live subscriptions.
        early: whether its groups may leave before the peer has answered anything.
    """

    __slots__ = (
        "_adoption",
        "_alias",
        "_ended",
        "_info",
        "_kept",
        "_numbers",
        "_open",
        "_sending",
        "_started",
        "early",
        "number",
        "wishes",
    )

    def __init__(
        self,
        sending: Sending,
        name: int,
        framer: Framer,
        numbers: set[int],
        adoption: Adoption,
    ) -> None:
        super().__init__(sending.streams, name, framer)
        self._adoption = adoption
        self._alias = name
        self.early = False
        self.number = -1
        self.wishes = Subscription()
        self._sending = sending
        self._numbers = numbers
        self._info: TrackInfo | None = None
        self._open: dict[int, _SubscriptionGroup] = {}
        self._started = False
        self._ended = self._kept = False

    @property
    def request(self) -> int:
        """The name by which the application knows it."""
        return self._alias

    def take(self) -> bool:
        """Take the request or an update to it."""
        body = self.framer.message()
        if body is None:
            return False
        if self.asked:
            update = decode(SubscribeUpdate, body, self.streams.version)
            self.wishes = self._complete(update.wishes)
            self._reprioritise()
            self.streams.events.append(SubscribeUpdated(self.request, self.wishes))
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
        if self._adoption.adopt(self, broadcast, request.track):
            self._reprioritise()
            self.streams.events.append(SubscribeUpdated(self.request, self.wishes))
            self._conclude()
        else:
            self.streams.events.append(
                SubscribeRequested(self.request, broadcast, request.track, self.wishes)
            )
        return True

    def go_on(self, before: "ServedSubscription") -> None:
        """Take the place of one that was served before it was asked for."""
        self._alias = before.request
        self._info, self._started = before._info, before._started  # noqa: SLF001  # one of us
        self._ended, self._kept = before._ended, before._kept  # noqa: SLF001
        self._open = before._open  # noqa: SLF001
        for group in self._open.values():
            group.subscription = self

    def let_go(self) -> None:
        """Refer to no group of it."""
        self._open.clear()

    def stopped(self, code: int) -> bool:
        """Hear that the peer stops a group; True when that ends more than the group."""
        return False

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
        self.streams.open(group.name, bidirectional=False, priority=priority, early=self.early)
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

    def receive_stop(self, code: int) -> None:
        """Take the peer's loss of interest."""
        if not self.subscription.stopped(code):
            super().receive_stop(code)

    def ended(self) -> None:
        """Tell the subscription."""
        self.subscription.group_ended(self)
