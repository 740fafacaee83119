"""What a peer's streams are, told by their first bytes, and those that come before their session.

draft-ietf-webtrans-http3, sections 4.2 and 4.6; RFC 9114, section 6.
"""

from typing import Final, NamedTuple

from aioquic.h3.connection import FrameType, StreamType
from aioquic.quic.connection import stream_is_unidirectional

from moqvox.transport.aioquic.varint import pull_varint

__all__ = ["Arrivals", "EarlyStream", "Head"]

MAX_EARLY_STREAMS: Final = 32
"""Streams that arrive before their session does; more are rejected."""


class Head(NamedTuple):
    """How a stream begins.

    Attributes:
        kind: the type of an HTTP/3 stream, or of the frame that a bidirectional one begins with.
        session: that it belongs to; None: HTTP/3's own.
        size: bytes that are no one's payload; a request's first frame is its own payload.
        rest: what came after them.
    """

    kind: int
    session: int | None
    size: int
    rest: bytes


class EarlyStream:
    """A stream whose session is not there yet; its bytes are not credited."""

    def __init__(self, session: int) -> None:
        self.session = session
        self.data = bytearray()
        self.fin = False

    def add(self, data: bytes, *, fin: bool) -> None:
        """Keep bytes."""
        self.data += data
        self.fin = fin


class Arrivals:
    """One connection's streams that nobody has taken yet."""

    def __init__(self) -> None:
        self._heads: dict[int, bytes] = {}
        self._early: dict[int, EarlyStream] = {}

    def read(self, stream: int, data: bytes) -> Head | None:
        """Take a stream's first bytes; None: too few of them yet, and they are kept."""
        held = self._heads.pop(stream, b"") + data
        is_uni = stream_is_unidirectional(stream)
        kind = pull_varint(held, 0)
        if kind is not None:
            if kind[0] != (StreamType.WEBTRANSPORT if is_uni else FrameType.WEBTRANSPORT_STREAM):
                size = kind[1] if is_uni else 0
                return Head(kind[0], None, size, held[size:])
            session = pull_varint(held, kind[1])
            if session is not None:
                return Head(kind[0], session[0], session[1], held[session[1] :])
        self._heads[stream] = held
        return None

    def early(self, stream: int) -> EarlyStream | None:
        """Return a stream that waits for its session, if it does."""
        return self._early.get(stream)

    def hold(self, stream: int, session: int) -> EarlyStream | None:
        """Let a stream wait for its session; None: too many do."""
        if len(self._early) >= MAX_EARLY_STREAMS:
            return None
        self._early[stream] = made = EarlyStream(session)
        return made

    def take_early(self) -> dict[int, EarlyStream]:
        """Take all that wait, as their session is there."""
        self._early, early = {}, self._early
        return early

    def forget(self, stream: int) -> None:
        """Forget a stream that is over."""
        self._heads.pop(stream, None)
        self._early.pop(stream, None)
