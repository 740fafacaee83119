"""Streams that the peer opened, until they have told what they are; SETUP and GOAWAY.

draft-lcurley-moq-lite, sections STREAM_TYPE, "Setup" and "Goaway".
"""

from typing import Final

import msgspec

from moqvox.errors import RemoteError, SessionCode, StreamCode
from moqvox.session.events import GoawayReceived, SetupReceived
from moqvox.session.lite.publisher import Publisher
from moqvox.session.lite.served import ServedProbe
from moqvox.session.lite.streams import ControlStream, Streams
from moqvox.session.lite.subscriber import Subscriber
from moqvox.wire.cursor import violation
from moqvox.wire.framing import Framer, Oversized
from moqvox.wire.lite.message import decode
from moqvox.wire.lite.setup import Goaway, Role, Setup
from moqvox.wire.lite.streams import BidiType, GroupHeader, UniType

__all__ = ["Ends", "IncomingBidi", "IncomingUni"]

_BIDI_TYPES: Final = {int(kind): kind for kind in BidiType}


class Ends(msgspec.Struct, frozen=True):
    """Both halves of a session, and which end of the connection it is."""

    publisher: Publisher
    subscriber: Subscriber
    is_client: bool
    webtransport: bool


class _Incoming(ControlStream):
    """A stream whose type is not known yet."""

    __slots__ = ("_ends",)

    def __init__(self, streams: Streams, name: int, ends: Ends) -> None:
        super().__init__(streams, name)
        self._ends = ends

    def receive_reset(self, code: int) -> None:
        """Take the peer's change of mind."""
        self.abandon(code)

    def receive_fin(self) -> None:
        """Take the end of a stream that told nothing."""
        self.abandon(StreamCode.CANCELLED)

    def break_off(self, code: int, reason: str) -> None:
        """Give up a stream that can't be understood."""
        self.abandon(code)

    def hand_over(self, successor: ControlStream, *, fin: bool) -> None:
        """Let what the stream turned out to be take the rest."""
        self.streams.half_received.stop(self.name)
        self.streams.add(successor)
        successor.receive(b"", fin=fin)


class IncomingBidi(_Incoming):
    """A request of the peer's, of a type not known yet."""

    __slots__ = ()

    def receive(self, data: bytes, *, fin: bool) -> None:
        """Take the type."""
        self.framer.feed(data)
        kind = self.framer.varint()
        if kind is None:
            self.await_more(fin=fin)
            return
        successor = self._successor(kind)
        if successor is None:
            self.abandon(StreamCode.UNSUPPORTED)
            return
        if isinstance(successor, ServedProbe):
            successor.begin()
        self.hand_over(successor, fin=fin)

    def _successor(self, kind: int) -> ControlStream | None:
        known = _BIDI_TYPES.get(kind)
        if known is None:
            return None
        if known is BidiType.GOAWAY and self.streams.version.goaway:
            return IncomingGoaway(self.streams, self.name, self.framer, self._ends)
        return self._ends.publisher.serve(known, self.name, self.framer)


class IncomingUni(_Incoming):
    """A group or SETUP of the peer's, not known yet which."""

    __slots__ = ("_is_group",)

    def __init__(self, streams: Streams, name: int, ends: Ends) -> None:
        super().__init__(streams, name, ends)
        self._is_group = False

    def receive(self, data: bytes, *, fin: bool) -> None:
        """Take the type, and a group's header."""
        self.framer.feed(data)
        if not self._is_group and not self._take_type(fin=fin):
            return
        try:
            body = self.framer.message()
        except Oversized as exc:
            self.abandon(exc.code)
            return
        if body is None:
            self.await_more(fin=fin)
            return
        header = decode(GroupHeader, body, self.streams.version)
        group = self._ends.subscriber.open_group(self.name, header)
        if group is None:
            self.abandon(StreamCode.CANCELLED)
            return
        self.streams.half_received.stop(self.name)
        rest = self.framer.rest()
        if rest or fin:
            group.receive(rest, fin=fin)

    def abandon(self, code: int) -> None:
        """Want no more of it; there is no side of ours to end."""
        self.streams.stop(self.name, code)
        self.streams.drop(self.name)

    def _take_type(self, *, fin: bool) -> bool:
        kind = self.framer.varint()
        if kind is None:
            self.await_more(fin=fin)
        elif kind == UniType.GROUP:
            self._is_group = True
        elif kind == UniType.SETUP and self.streams.version.setup:
            setup = IncomingSetup(self.streams, self.name, self.framer, self._ends)
            self.hand_over(setup, fin=fin)
        else:
            self.abandon(StreamCode.UNSUPPORTED)
        return self._is_group


class _SessionStream(ControlStream):
    """A stream whose message is the whole session's: what breaks it breaks the session."""

    __slots__ = ("_ends", "_taken")

    def __init__(self, streams: Streams, name: int, framer: Framer, ends: Ends) -> None:
        super().__init__(streams, name, framer)
        self._ends = ends
        self._taken = False

    @property
    def expectant(self) -> bool:
        """Whether the message has still to come."""
        return not self._taken

    def take(self) -> bool:
        """Take the message; nothing may follow it."""
        body = self.framer.message()
        if body is None:
            return False
        if self._taken:
            raise violation("a second message on a stream that has one")
        self._taken = True
        self.take_body(body)
        return True

    def take_body(self, body: bytes) -> None:
        """Act on the message."""
        raise NotImplementedError

    def break_off(self, code: int, reason: str) -> None:
        """Close the session."""
        if code == StreamCode.EXCESSIVE_LOAD:
            raise RemoteError(SessionCode.EXCESSIVE_LOAD, reason)
        raise violation(reason)

    def time_out(self) -> None:
        """Close the session."""
        raise RemoteError(SessionCode.CONTROL_TIMEOUT, "half a session message for too long")


class IncomingSetup(_SessionStream):
    """The peer's SETUP."""

    __slots__ = ()

    def take_body(self, body: bytes) -> None:
        """Learn what the peer can do."""
        if self.streams.peer is not None:
            raise violation("a second SETUP")
        setup = decode(Setup, body, self.streams.version)
        if setup.path is not None and (self._ends.is_client or self._ends.webtransport):
            raise violation("a SETUP path where the handshake or nobody carries one")
        if setup.role is not None and self._ends.is_client:
            raise violation("a SETUP role from a server")
        self.streams.peer = setup
        self.streams.events.append(
            SetupReceived(
                setup.path or "",
                publishes=setup.role is not Role.SUBSCRIBER,
                subscribes=setup.role is not Role.PUBLISHER,
                origin=setup.origin,
            )
        )
        self._ends.subscriber.peer_known()
        self._ends.publisher.peer_known()

    def receive_fin(self) -> None:
        """Take the end of the stream."""
        if not self._taken:
            raise violation("a SETUP stream without SETUP")
        self.streams.drop(self.name)

    def receive_reset(self, code: int) -> None:
        """Go on without SETUP."""
        self.streams.drop(self.name)


class IncomingGoaway(_SessionStream):
    """The peer's GOAWAY; its stream stays open until the peer ends the session."""

    __slots__ = ()

    def take_body(self, body: bytes) -> None:
        """Learn where to go."""
        message = decode(Goaway, body, self.streams.version)
        if message.uri and not self._ends.is_client:
            raise violation("a GOAWAY from a client that names a URI")
        self.streams.events.append(GoawayReceived(message.uri))

    def receive_fin(self) -> None:
        """End our side too."""
        self.streams.write(self.name, b"", fin=True)
        self.streams.drop(self.name)

    def receive_reset(self, code: int) -> None:
        """End our side too."""
        self.abandon(code)
