"""moq-lite discovery: ANNOUNCE_REQUEST, ANNOUNCE_OK and the announcements.

draft-lcurley-moq-lite, sections ANNOUNCE_REQUEST to ANNOUNCE_UPDATE. The shipped version 06
has two costs (warm, cold) where the draft's text has epoch, ended and one cost.
"""

from enum import IntEnum
from typing import Final, Self

import msgspec

from moqvox.wire.cursor import Reader, Writer, violation
from moqvox.wire.lite.message import decode, encode, encode_typed
from moqvox.wire.version import LiteVersion

__all__ = [
    "AnnounceBroadcast",
    "AnnounceEnd",
    "AnnounceKind",
    "AnnounceOk",
    "AnnounceRequest",
    "AnnounceStart",
    "AnnounceStatus",
    "AnnounceUpdate",
    "Announcing",
    "decode_announcing",
    "encode_announcing",
]

MAX_COUNTED_HOPS: Final = 1024
"""Bound on a bare hop count, which costs its sender nothing."""


class AnnounceKind(IntEnum):
    """Types of the numbered announcements."""

    START = 0
    END = 1
    UPDATE = 2


class AnnounceStatus(IntEnum):
    """What an unnumbered announcement says of its broadcast."""

    ENDED = 0
    ACTIVE = 1
    RESTARTED = 2


class AnnounceRequest(msgspec.Struct, frozen=True, gc=False):
    """ANNOUNCE_REQUEST: tell me the broadcasts below `prefix`.

    Attributes:
        exclude_hop: no routes through that hop; 0 = all.
    """

    prefix: str
    exclude_hop: int = 0

    def write(self, out: Writer, version: LiteVersion) -> None:
        """Append the fields."""
        out.text(self.prefix)
        if version.exclude_hop:
            out.varint(self.exclude_hop)

    @classmethod
    def read(cls, body: Reader, version: LiteVersion) -> Self:
        """Take the fields."""
        return cls(body.text(), body.varint() if version.exclude_hop else 0)


class AnnounceOk(msgspec.Struct, frozen=True, gc=False):
    """ANNOUNCE_OK: the publisher's hop id, and how many announcements follow at once."""

    hop: int
    active: int

    def write(self, out: Writer, version: LiteVersion) -> None:
        """Append the fields."""
        out.varint(self.hop)
        out.varint(self.active)

    @classmethod
    def read(cls, body: Reader, version: LiteVersion) -> Self:
        """Take the fields."""
        return cls(body.varint(), body.varint())


class AnnounceBroadcast(msgspec.Struct, frozen=True, gc=False):
    """ANNOUNCE_BROADCAST, the unnumbered form: a broadcast comes or goes.

    Attributes:
        hops: from the source on; where the version only counts them, that many zeros.
    """

    status: AnnounceStatus
    suffix: str
    hops: tuple[int, ...] = ()

    def write(self, out: Writer, version: LiteVersion) -> None:
        """Append the fields."""
        out.u8(self.status)
        out.text(self.suffix)
        if version.hop_lists:
            out.varints(self.hops)
        else:
            out.varint(len(self.hops))

    @classmethod
    def read(cls, body: Reader, version: LiteVersion) -> Self:
        """Take the fields."""
        status = body.u8()
        known = AnnounceStatus.RESTARTED if version.announce_replaces else AnnounceStatus.ACTIVE
        if status > known:
            raise violation(f"an announcement of status {status}, 0 to {known:d} are known")
        suffix = body.text()
        if version.hop_lists:
            return cls(AnnounceStatus(status), suffix, body.varints())
        count = body.varint()
        if count > MAX_COUNTED_HOPS:
            raise violation(f"{count} hops, {MAX_COUNTED_HOPS} are allowed")
        return cls(AnnounceStatus(status), suffix, (0,) * count)


class AnnounceStart(msgspec.Struct, frozen=True, gc=False):
    """ANNOUNCE_START: a broadcast is there, and takes the stream's next number.

    Attributes:
        hops: from the source on, without the sender.
        warm_cost: cost of one more subscription as things are.
        cold_cost: cost if the sender had nothing of the broadcast yet.
    """

    suffix: str
    hops: tuple[int, ...] = ()
    warm_cost: int = 0
    cold_cost: int = 0

    def write(self, out: Writer, version: LiteVersion) -> None:
        """Append the fields."""
        out.text(self.suffix)
        out.varints(self.hops)
        out.varint(self.warm_cost)
        out.varint(self.cold_cost)

    @classmethod
    def read(cls, body: Reader, version: LiteVersion) -> Self:
        """Take the fields."""
        return cls(body.text(), body.varints(), body.varint(), body.varint())


class AnnounceEnd(msgspec.Struct, frozen=True, gc=False):
    """ANNOUNCE_END: the broadcast of that number is gone, and so is the number."""

    number: int

    def write(self, out: Writer, version: LiteVersion) -> None:
        """Append the fields."""
        out.varint(self.number)

    @classmethod
    def read(cls, body: Reader, version: LiteVersion) -> Self:
        """Take the fields."""
        return cls(body.varint())


class AnnounceUpdate(msgspec.Struct, frozen=True, gc=False):
    """ANNOUNCE_UPDATE: the broadcast of that number is now reached like this."""

    number: int
    hops: tuple[int, ...] = ()
    warm_cost: int = 0
    cold_cost: int = 0

    def write(self, out: Writer, version: LiteVersion) -> None:
        """Append the fields."""
        out.varint(self.number)
        out.varints(self.hops)
        out.varint(self.warm_cost)
        out.varint(self.cold_cost)

    @classmethod
    def read(cls, body: Reader, version: LiteVersion) -> Self:
        """Take the fields."""
        return cls(body.varint(), body.varints(), body.varint(), body.varint())


Announcing = AnnounceBroadcast | AnnounceStart | AnnounceEnd | AnnounceUpdate


def encode_announcing(message: Announcing, version: LiteVersion) -> bytes:
    """Encode an announcement, with its type where the form has one.

    Raises:
        LocalError: a field does not fit its format.
    """
    match message:
        case AnnounceBroadcast():
            return encode(message, version)
        case AnnounceStart():
            return encode_typed(AnnounceKind.START, message, version)
        case AnnounceEnd():
            return encode_typed(AnnounceKind.END, message, version)
        case AnnounceUpdate():
            return encode_typed(AnnounceKind.UPDATE, message, version)


def decode_announcing(kind: int, body: bytes, version: LiteVersion) -> Announcing:
    """Decode a numbered announcement of type `kind`.

    Raises:
        RemoteError: PROTOCOL_VIOLATION for an unknown type or a broken body.
    """
    match kind:
        case AnnounceKind.START:
            return decode(AnnounceStart, body, version)
        case AnnounceKind.END:
            return decode(AnnounceEnd, body, version)
        case AnnounceKind.UPDATE:
            return decode(AnnounceUpdate, body, version)
        case _:
            raise violation(f"an announcement of type {kind:#x}")
