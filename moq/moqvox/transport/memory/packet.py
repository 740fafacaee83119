"""What travels on a link in memory: packets of frames, as QUIC has them, never encoded."""

from typing import Final

import msgspec

from moqvox.transport.streams.frames import Segment, StreamFrame

__all__ = [
    "PACKET_BYTES",
    "Close",
    "Frame",
    "Hello",
    "Message",
    "Moved",
    "MovedSeen",
    "Packet",
    "Ping",
    "Pong",
    "Refusal",
    "StatelessReset",
    "Welcome",
    "size_of",
]

PACKET_BYTES: Final = 1200
"""Payload of a full packet."""

PACKET_OVERHEAD_BYTES: Final = 30
FRAME_OVERHEAD_BYTES: Final = 8


class Message(msgspec.Struct, frozen=True, gc=False):
    """A datagram of the application; never sent twice."""

    data: bytes


class Moved(msgspec.Struct, frozen=True, gc=False):
    """The client speaks from another address now; `serial` tells old news from new."""

    serial: int
    address: str


class MovedSeen(msgspec.Struct, frozen=True, gc=False):
    """The server answers on the new path."""

    serial: int


class Ping(msgspec.Struct, frozen=True, gc=False):
    """A sign of life is asked for."""


class Pong(msgspec.Struct, frozen=True, gc=False):
    """It is given: an acknowledgement that counts as a packet."""


class Close(msgspec.Struct, frozen=True, gc=False):
    """The sender has closed the connection."""

    code: int
    reason: str


class StatelessReset(msgspec.Struct, frozen=True, gc=False):
    """The host behind the address knows nothing of the connection."""


class Hello(msgspec.Struct, frozen=True, gc=False):
    """A client wants a connection."""


class Welcome(msgspec.Struct, frozen=True, gc=False):
    """The server has one for it; `takes_early`: and has read what came before this."""

    protocol: str
    takes_early: bool = True


class Refusal(msgspec.Struct, frozen=True, gc=False):
    """The server has none for it."""

    reason: str


Frame = (
    StreamFrame
    | Message
    | Ping
    | Pong
    | Moved
    | MovedSeen
    | Close
    | StatelessReset
    | Hello
    | Welcome
    | Refusal
)


class Packet:
    """Frames that meet one fate.

    Attributes:
        attempt: how often its frames were lost before.
        has_arrived: set on arrival; what arrives again is a duplicate.
        is_early: it left before its sender had an answer.
    """

    __slots__ = ("attempt", "frames", "has_arrived", "is_early", "sent_at", "size_bytes")

    def __init__(
        self,
        frames: tuple[Frame, ...],
        sent_at: float,
        attempt: int = 0,
        *,
        is_early: bool = False,
    ) -> None:
        self.frames = frames
        self.sent_at = sent_at
        self.attempt = attempt
        self.has_arrived = False
        self.is_early = is_early
        self.size_bytes = PACKET_OVERHEAD_BYTES + sum(map(size_of, frames))


def size_of(frame: Frame) -> int:
    """Count a frame's bytes, about as QUIC would encode it."""
    if isinstance(frame, (Segment, Message)):
        return FRAME_OVERHEAD_BYTES + len(frame.data)
    return FRAME_OVERHEAD_BYTES
