"""A session alone, with a hand-written peer: bytes in, actions out."""

from moqvox.session.actions import Action, OpenStream, Reset, Stop, Write
from moqvox.session.events import Event
from moqvox.session.lite.session import LiteSession
from moqvox.wire.lite.message import encode
from moqvox.wire.lite.setup import Setup
from moqvox.wire.varint import encode_varint
from moqvox.wire.version import LITE_ALPNS, lite_version

ALL = LITE_ALPNS
SETUPS = LITE_ALPNS[:2]
"""Versions with SETUP, a track stream, timestamps and datagrams."""
OLD = LITE_ALPNS[2:]
PEER = Setup(origin=0x5E4)


class Wired:
    """A session whose peer is the test."""

    def __init__(
        self,
        alpn: str = "moq-lite-06",
        *,
        is_client: bool = True,
        webtransport: bool = True,
        origin: int = 0xC11E,
        setup: Setup | None = PEER,
        **options,
    ) -> None:
        self.version = lite_version(alpn)
        self.session = LiteSession(
            alpn, is_client=is_client, webtransport=webtransport, origin=origin, **options
        )
        self.session.start(0.0)
        self.actions()
        if setup is not None and self.version.setup:
            self.open(b"\x01" + encode(setup, self.version), bidirectional=False, fin=True)
            self.session.events()

    def events(self) -> list[Event]:
        return self.session.events()

    def event(self) -> Event:
        (event,) = self.session.events()
        return event

    def actions(self) -> list[Action]:
        return self.session.actions()

    def written(self, stream: int) -> bytes:
        """Drain the actions; return what they write to a stream."""
        writes = [action for action in self.actions() if isinstance(action, Write)]
        return b"".join(write.data for write in writes if write.stream == stream)

    def abandoned(self, stream: int) -> set[tuple[type, int]]:
        """Drain the actions; return resets and stops of a stream."""
        return {
            (type(action), action.code)
            for action in self.actions()
            if isinstance(action, Reset | Stop) and action.stream == stream
        }

    def opened(self) -> list[OpenStream]:
        return [action for action in self.actions() if isinstance(action, OpenStream)]

    def open(self, data: bytes, *, bidirectional: bool = True, fin: bool = False) -> int:
        """Open a stream as the peer, with first bytes."""
        name = self.session.accept_stream(bidirectional=bidirectional)
        self.session.receive_stream(name, data, fin=fin)
        return name

    def ask(self, kind: int, message) -> int:
        """Open a request as the peer."""
        return self.open(encode_varint(kind) + encode(message, self.version))

    def send(self, stream: int, data: bytes, *, fin: bool = False) -> None:
        self.session.receive_stream(stream, data, fin=fin)
