"""A WebTransport session on a link and an engine whose peer's packets need no keys.

The peer is a script, which any bytes are: records of what it does on which stream. They go to
the engine as frames already decrypted, so an input costs no handshake and no ciphers, and the
same input always meets the same state.
"""

import functools
from collections.abc import Iterator

from aioquic import tls
from aioquic.buffer import encode_uint_var
from aioquic.quic.connection import (
    QuicConnectionError,
    QuicConnectionState,
    QuicNetworkPath,
    QuicReceiveContext,
    stream_is_client_initiated,
)
from aioquic.quic.packet import QuicFrameType
from tests.unit.transport.aioquic.wires import CLIENT, SERVER, configuration

from moqvox.transport.address import Address
from moqvox.transport.aioquic import Limits
from moqvox.transport.aioquic.arrivals import MAX_EARLY_STREAMS
from moqvox.transport.aioquic.exchange import Request
from moqvox.transport.aioquic.link import Link
from moqvox.transport.aioquic.private import Engine
from moqvox.transport.aioquic.webtransport import WebTransportConnection
from moqvox.transport.failures import ConnectFailed
from moqvox.transport.interface import Closed, StreamData, StreamOpened

PROTOCOL = "moq-lite-06"
LIMITS = Limits()
WINDOW = 1 << 20
BYTES, END, OTHER, DATAGRAM = range(4)
"""What a peer does: bytes of a stream, its last ones, its reset or STOP_SENDING, a datagram."""

_configuration = functools.cache(
    lambda *, is_client: configuration(is_client=is_client, limits=LIMITS)
)


def record(kind: int, stream: int, data: bytes) -> bytes:
    """Write a record of a script: kind, stream, length, bytes."""
    return bytes((kind, stream, len(data))) + data


def records(script: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Read a script; the last record may be shorter than it says."""
    at = 0
    while at + 3 <= len(script):
        end = at + 3 + script[at + 2]
        yield script[at] & 3, script[at + 1], script[at + 3 : end]
        at = end


class Session:
    """One end, whose application reads and answers at once. It is its link's carrier, too."""

    def __init__(self, *, is_client: bool) -> None:
        first = {} if is_client else {"original_destination_connection_id": bytes(8)}
        self.engine = engine = Engine(_configuration(is_client=is_client), LIMITS, **first)
        self.address = SERVER if is_client else CLIENT
        path = QuicNetworkPath(self.address, is_validated=True)
        # What a handshake leaves, as far as what arrives afterwards asks for it.
        engine._network_paths = [path]
        engine._state = QuicConnectionState.CONNECTED
        engine._remote_max_data = WINDOW
        engine._remote_max_datagram_frame_size = 65536
        engine._remote_max_streams_bidi = engine._remote_max_streams_uni = 100
        engine._remote_max_stream_data_bidi_local = WINDOW
        engine._remote_max_stream_data_bidi_remote = WINDOW
        engine._remote_max_stream_data_uni = WINDOW
        self.context = QuicReceiveContext(
            epoch=tls.Epoch.ONE_RTT,
            host_cid=engine.host_cid,
            network_path=path,
            quic_logger_frames=None,
            time=0.0,
            version=1,
        )
        self.link = Link(engine, LIMITS, self)
        request = Request("example.com", "/", (PROTOCOL,)) if is_client else None
        self.connection = self.link.observer = WebTransportConnection(
            self.link,
            is_client=is_client,
            protocols=[PROTOCOL],
            sponsor=self,
            request=request,
        )
        self.connection.start()
        self.ends: list[Closed] = []
        self.offers = 0
        self.is_ready = False
        self._sent: dict[int, int] = {}

    # The peer.

    def play(self, script: bytes) -> None:
        """Do what a script says, until it is done or the connection closes."""
        for kind, stream, data in records(script):
            try:
                self.engine._payload_received(self.context, self._frame(kind, stream, data))
            except QuicConnectionError:
                return  # what `receive_datagram` closes the connection for
            self.link._react()
            self._read()
            if self.link.is_closing:
                return  # nothing more is read, or credited
            self._discard()
            self._check()

    def _frame(self, kind: int, stream: int, data: bytes) -> bytes:
        if kind == DATAGRAM:
            return encode_uint_var(QuicFrameType.DATAGRAM) + data
        offset = self._sent.get(stream, 0)
        if kind != OTHER:
            self._sent[stream] = offset + len(data)
            head = (QuicFrameType.STREAM_BASE | 6 | kind, stream, offset, len(data))
            return b"".join(map(encode_uint_var, head)) + data
        code = encode_uint_var(int.from_bytes(data[1:9]) & ((1 << 62) - 1))
        if data[:1] > b"\x7f":
            return encode_uint_var(QuicFrameType.STOP_SENDING) + encode_uint_var(stream) + code
        head = encode_uint_var(QuicFrameType.RESET_STREAM) + encode_uint_var(stream)
        return head + code + encode_uint_var(offset)

    # The application.

    def _read(self) -> None:
        """Take what there is; answer streams, and stop those that begin with `!`."""
        for event in self.connection._inbox.take():
            if not self.connection._hand_over(event):
                continue
            if isinstance(event, Closed):
                self.ends.append(event)
            elif isinstance(event, StreamOpened) and event.bidirectional:
                self.connection.write(event.stream, b"yes?")
            elif isinstance(event, StreamData) and event.data[:1] == b"!":
                self.connection.stop(event.stream, 7)
                self.connection.reset(event.stream, 7)

    def _discard(self) -> None:
        """Discard what is finished, as the engine does where it writes a packet."""
        table = self.engine.table
        for stream in [stream for stream in table.busy if stream.is_finished]:
            table.pop(stream.stream_id)
            table.busy.remove(stream)
            del table.busy.members[stream.stream_id]
            if stream_is_client_initiated(stream.stream_id) != self.engine.is_client:
                self.engine._stream_limit(stream.stream_id).value += 1
        self.link._pump()

    def _check(self) -> None:
        """Hold that the books are right, and that nothing is kept without bound."""
        connection, table = self.connection, self.engine.table
        early = connection._arrivals._early
        assert len(early) <= MAX_EARLY_STREAMS
        assert not (early and self.is_ready), "streams wait for a session that is there"
        assert len(self.ends) <= 1
        assert self.offers <= 1
        for number, stream in table.items():
            arrived = stream.receiver.starting_offset()
            kept = len(connection._arrivals._heads.get(number, b""))
            kept += len(early[number].data) if number in early else 0
            assert stream.handed_bytes + kept <= max(arrived, stream.receiver.highest_offset)
            if not (stream.is_released or stream.receiver.is_finished):
                assert stream.handed_bytes + kept == arrived, "bytes that nobody has, or two"
        assert table._handed_bytes <= sum(self._sent.values())

    # Who waits for a session.

    def established(self, connection: WebTransportConnection) -> None:
        self.offers += 1
        self.is_ready = True

    def rejected(self, failure: ConnectFailed) -> None:
        self.offers += 1

    # The carrier.

    def now(self) -> float:
        return 0.0

    def touch(self, link: Link) -> None:
        """Nothing: no packet leaves."""

    rest = part = ended = forget = touch

    def schedule(self, link: Link, when: float) -> None:
        """Nothing: no time passes."""

    def defer(self, link: Link) -> bool:
        return False

    def has_unheard(self, link: Link) -> bool:
        return False

    def send(self, link: Link, data: bytes, address: Address) -> None:
        raise AssertionError("a packet without keys")

    def enrol(self, connection_id: bytes, link: Link) -> None:
        """Nothing: there is one link."""

    strike = enrol

    def local_address(self, link: Link) -> Address:
        return SERVER
