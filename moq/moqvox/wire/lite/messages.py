"""moq-lite requests and replies: SUBSCRIBE, TRACK, FETCH and what answers them.

draft-lcurley-moq-lite, sections SUBSCRIBE to FETCH.
"""

from enum import IntEnum
from typing import Self

import msgspec

from moqvox.frame import Subscription, TrackInfo
from moqvox.wire.cursor import Reader, Writer, violation
from moqvox.wire.lite.message import decode, encode_typed
from moqvox.wire.version import LiteVersion

__all__ = [
    "Fetch",
    "Subscribe",
    "SubscribeDrop",
    "SubscribeEnd",
    "SubscribeOk",
    "SubscribeReply",
    "SubscribeStart",
    "SubscribeUpdate",
    "Track",
    "TrackReply",
    "decode_reply",
    "encode_reply",
]


class Subscribe(msgspec.Struct, frozen=True, gc=False):
    """SUBSCRIBE: send me this track.

    Attributes:
        number: chosen by the subscriber, never used twice in a session.
    """

    number: int
    broadcast: str
    track: str
    wishes: Subscription

    def write(self, out: Writer, version: LiteVersion) -> None:
        """Append the fields."""
        out.varint(self.number)
        out.text(self.broadcast)
        out.text(self.track)
        _write_wishes(out, self.wishes, version)

    @classmethod
    def read(cls, body: Reader, version: LiteVersion) -> Self:
        """Take the fields."""
        return cls(body.varint(), body.text(), body.text(), _read_wishes(body, version))


class SubscribeUpdate(msgspec.Struct, frozen=True, gc=False):
    """SUBSCRIBE_UPDATE: new wishes, which replace the former ones whole."""

    wishes: Subscription

    def write(self, out: Writer, version: LiteVersion) -> None:
        """Append the fields."""
        _write_wishes(out, self.wishes, version)

    @classmethod
    def read(cls, body: Reader, version: LiteVersion) -> Self:
        """Take the fields."""
        return cls(_read_wishes(body, version))


class SubscribeOk(msgspec.Struct, frozen=True, gc=False):
    """SUBSCRIBE_OK: accepted, with the publisher's facts. May come again when they change.

    Attributes:
        group_start: first group that will come; None = not known yet.
        group_end: last group, inclusive; None = without end.
    """

    priority: int
    ordered: bool
    max_age_ms: int
    group_start: int | None = None
    group_end: int | None = None

    def write(self, out: Writer, version: LiteVersion) -> None:
        """Append the fields."""
        out.u8(self.priority)
        out.flag(self.ordered)
        out.varint(self.max_age_ms)
        out.optional(self.group_start)
        out.optional(self.group_end)

    @classmethod
    def read(cls, body: Reader, version: LiteVersion) -> Self:
        """Take the fields."""
        return cls(body.u8(), body.flag(), body.varint(), body.optional(), body.optional())


class SubscribeStart(msgspec.Struct, frozen=True, gc=False):
    """SUBSCRIBE_START: accepted, and `group` is the first that will come."""

    group: int

    def write(self, out: Writer, version: LiteVersion) -> None:
        """Append the fields."""
        out.varint(self.group)

    @classmethod
    def read(cls, body: Reader, version: LiteVersion) -> Self:
        """Take the fields."""
        return cls(body.varint())


class SubscribeEnd(msgspec.Struct, frozen=True, gc=False):
    """SUBSCRIBE_END: `group` and all behind it will never be."""

    group: int

    def write(self, out: Writer, version: LiteVersion) -> None:
        """Append the fields."""
        out.varint(self.group)

    @classmethod
    def read(cls, body: Reader, version: LiteVersion) -> Self:
        """Take the fields."""
        return cls(body.varint())


class SubscribeDrop(msgspec.Struct, frozen=True, gc=False):
    """SUBSCRIBE_DROP: groups `group_start` to `group_end`, inclusive, will not come."""

    group_start: int
    group_end: int
    code: int

    def write(self, out: Writer, version: LiteVersion) -> None:
        """Append the fields."""
        out.varint(self.group_start)
        out.varint(self.group_end)
        out.varint(self.code)

    @classmethod
    def read(cls, body: Reader, version: LiteVersion) -> Self:
        """Take the fields."""
        return cls(body.varint(), body.varint(), body.varint())


class Track(msgspec.Struct, frozen=True, gc=False):
    """TRACK: tell me this track's facts."""

    broadcast: str
    track: str

    def write(self, out: Writer, version: LiteVersion) -> None:
        """Append the fields."""
        out.text(self.broadcast)
        out.text(self.track)

    @classmethod
    def read(cls, body: Reader, version: LiteVersion) -> Self:
        """Take the fields."""
        return cls(body.text(), body.text())


class TrackReply(msgspec.Struct, frozen=True, gc=False):
    """TRACK_INFO: the facts, fixed for the track's life."""

    info: TrackInfo

    def write(self, out: Writer, version: LiteVersion) -> None:
        """Append the fields."""
        out.u8(self.info.priority)
        if version.ordered_field:
            out.flag(self.info.ordered)
        out.varint(self.info.max_age_ms)
        out.varint(self.info.timescale)

    @classmethod
    def read(cls, body: Reader, version: LiteVersion) -> Self:
        """Take the fields."""
        priority = body.u8()
        ordered = body.flag() if version.ordered_field else False
        max_age_ms, timescale = body.varint(), body.varint()
        if timescale == 0:
            raise violation("a track with a timescale of 0")
        return cls(TrackInfo(priority, ordered, max_age_ms, timescale))


class Fetch(msgspec.Struct, frozen=True, gc=False):
    """FETCH: send me one past group, or a range of its frames, both ends inclusive."""

    broadcast: str
    track: str
    priority: int
    group: int
    frame_start: int = 0
    frame_end: int | None = None

    def write(self, out: Writer, version: LiteVersion) -> None:
        """Append the fields."""
        out.text(self.broadcast)
        out.text(self.track)
        out.u8(self.priority)
        out.varint(self.group)
        if version.frame_ranges:
            out.varint(self.frame_start)
            out.optional(self.frame_end)

    @classmethod
    def read(cls, body: Reader, version: LiteVersion) -> Self:
        """Take the fields."""
        whole = (body.text(), body.text(), body.u8(), body.varint())
        if version.frame_ranges:
            return cls(*whole, body.varint(), body.optional())
        return cls(*whole)


SubscribeReply = SubscribeOk | SubscribeStart | SubscribeEnd | SubscribeDrop


class StartedKind(IntEnum):
    """Types of the replies where START and END exist."""

    START = 0
    END = 1
    DROP = 2


class AcceptedKind(IntEnum):
    """Types of the replies where OK exists."""

    OK = 0
    DROP = 1


def encode_reply(message: SubscribeReply, version: LiteVersion) -> bytes:
    """Encode a reply on a subscribe stream; the version must have that reply.

    Raises:
        LocalError: a field does not fit its format.
    """
    match message:
        case SubscribeOk():
            kind: int = AcceptedKind.OK
        case SubscribeStart():
            kind = StartedKind.START
        case SubscribeEnd():
            kind = StartedKind.END
        case SubscribeDrop():
            kind = StartedKind.DROP if version.end_message else AcceptedKind.DROP
    return encode_typed(kind, message, version)


def decode_reply(kind: int, body: bytes, version: LiteVersion) -> SubscribeReply:
    """Decode a reply of type `kind`.

    Raises:
        RemoteError: PROTOCOL_VIOLATION for an unknown type or a broken body.
    """
    if not version.end_message:
        if kind == AcceptedKind.OK:
            return decode(SubscribeOk, body, version)
        if kind == AcceptedKind.DROP:
            return decode(SubscribeDrop, body, version)
    elif kind == StartedKind.START:
        return decode(SubscribeStart, body, version)
    elif kind == StartedKind.END:
        return decode(SubscribeEnd, body, version)
    elif kind == StartedKind.DROP:
        return decode(SubscribeDrop, body, version)
    raise violation(f"a reply of type {kind:#x} on a subscribe stream")


def _write_wishes(out: Writer, wishes: Subscription, version: LiteVersion) -> None:
    out.u8(wishes.priority)
    if version.ordered_field:
        out.flag(wishes.ordered)
    out.varint(wishes.max_age_ms)
    if version.start_is_floor:
        out.varint(wishes.group_start or 0)
    else:
        out.optional(wishes.group_start)
    out.optional(wishes.group_end)
    if version.frame_ranges:
        out.varint(wishes.frame_start)
        out.optional(wishes.frame_end)


def _read_wishes(body: Reader, version: LiteVersion) -> Subscription:
    priority = body.u8()
    ordered = body.flag() if version.ordered_field else False
    max_age_ms = body.varint()
    group_start = (body.varint() or None) if version.start_is_floor else body.optional()
    group_end = body.optional()
    if not version.frame_ranges:
        return Subscription(priority, ordered, max_age_ms, group_start, group_end)
    frame_start, frame_end = body.varint(), body.optional()
    return Subscription(
        priority, ordered, max_age_ms, group_start, group_end, frame_start, frame_end
    )
