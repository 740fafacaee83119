"""A QUIC client that says anything: honest until `forge` is called. Blocking, no event loop."""

import contextlib
import os
import random
import select
import socket
import ssl
import time

from aioquic.buffer import Buffer
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection, QuicConnectionId, QuicConnectionState
from aioquic.quic.crypto import CryptoPair
from aioquic.quic.events import ConnectionTerminated, HandshakeCompleted, StreamDataReceived
from aioquic.quic.packet import QuicPacketType, pull_quic_header
from aioquic.quic.packet_builder import QuicPacketBuilder
from aioquic.tls import Epoch

RAW = "moq-lite-06"
DATAGRAM_BYTES = 1200
VERSION_1 = 1
IP_PKTINFO = 8
BUFFER_BYTES = 4 << 20

Address = tuple[str, int]


def varint(*values: int) -> bytes:
    buf = Buffer(capacity=8 * len(values))
    for value in values:
        buf.push_uint_var(value)
    return buf.data


def stream_frame(stream: int, offset: int, data: bytes, *, fin: bool = False) -> bytes:
    return varint(0x0E | fin, stream, offset, len(data)) + data


def crypto_frame(offset: int, data: bytes) -> bytes:
    return varint(0x06, offset, len(data)) + data


def ack_frame(largest: int, *rest: int, first: int = 0) -> bytes:
    """Acknowledge `first` + 1 packets up to the largest; `rest` is gap, range, gap, range..."""
    return varint(0x02, largest, 0, len(rest) // 2, first, *rest)


def seal(
    kind, crypto, frames, *, number, host_cid, peer_cid, token=b"", size=DATAGRAM_BYTES
) -> bytes:
    """Encrypt frames, well-formed or not, as one packet in a datagram of its own."""
    builder = QuicPacketBuilder(
        host_cid=host_cid,
        peer_cid=peer_cid,
        version=VERSION_1,
        is_client=True,
        max_datagram_size=size,
        packet_number=number,
        peer_token=token,
    )
    builder.start_packet(kind, crypto)
    builder._buffer.push_bytes(frames)
    return builder.flush()[0][0]


class Attacker:
    """One client. What it sent and got is counted in UDP payload bytes."""

    def __init__(self, address: Address, *, alpn: str = RAW, source: str = "127.0.0.1", **options):
        configuration = QuicConfiguration(
            is_client=True,
            alpn_protocols=[alpn],
            server_name="localhost",
            verify_mode=ssl.CERT_NONE,
            max_datagram_frame_size=65536,
            **options,
        )
        self.address = address
        self.tickets = []
        self.quic = QuicConnection(
            configuration=configuration, session_ticket_handler=self.tickets.append
        )
        self.socket = udp(source)
        self.sent_bytes = self.received_bytes = 0
        self.data: dict[int, bytearray] = {}
        self.is_ready = False
        self.on_data = lambda _stream: None
        self.is_mute = False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    @property
    def closed(self) -> ConnectionTerminated | None:
        """How the victim ended the connection, from its first word about it."""
        is_over = self.quic._state in (QuicConnectionState.DRAINING, QuicConnectionState.TERMINATED)
        return self.quic._close_event if is_over else None

    # Honest.

    def connect(self, timeout: float = 5.0) -> "Attacker":
        self.quic.connect(self.address, time.monotonic())
        self.pump(timeout, lambda: self.is_ready or self.closed)
        if not self.is_ready:
            self.socket.close()
            raise TimeoutError(f"no handshake: {self.closed}")
        self.pump(timeout, lambda: self.quic._handshake_confirmed or self.closed)
        return self

    def close(self) -> None:
        """Leave in good order; a victim that is gone is not told."""
        self.is_mute = False
        self.quic.close()
        self.flush()
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.sent_bytes += len(data)
        with contextlib.suppress(OSError):
            self.socket.sendto(data, self.address)

    def flush(self) -> None:
        if self.is_mute:
            return
        for data, _ in self.quic.datagrams_to_send(time.monotonic()):
            self.send(data)

    def pump(self, seconds: float, until=lambda: False) -> bool:
        """Exchange packets for a while; returns whether the condition came true."""
        deadline = time.monotonic() + seconds
        while True:
            self.flush()
            if until():
                return True
            now = time.monotonic()
            if now >= deadline:
                return False
            timer = None if self.is_mute else self.quic.get_timer()
            wait = deadline - now if timer is None else max(0.0, min(deadline, timer) - now)
            if is_readable(self.socket, wait):
                self._read()
            elif timer is not None and timer <= time.monotonic():
                self.quic.handle_timer(time.monotonic())
                self._note()

    def _read(self) -> None:
        for _ in range(64):
            try:
                data = self.socket.recv(65536)
            except OSError:
                return
            self.received_bytes += len(data)
            self.quic.receive_datagram(data, self.address, time.monotonic())
            self._note()

    def _note(self) -> None:
        while (event := self.quic.next_event()) is not None:
            if isinstance(event, HandshakeCompleted):
                self.is_ready = True
            elif isinstance(event, StreamDataReceived):
                self.data.setdefault(event.stream_id, bytearray()).extend(event.data)
                self.on_data(event.stream_id)

    def open(self, data: bytes = b"", *, bidirectional: bool = True, fin: bool = False) -> int:
        stream = self.quic.get_next_available_stream_id(is_unidirectional=not bidirectional)
        self.quic.send_stream_data(stream, data, fin)
        return stream

    def ask(self, question: bytes, timeout: float = 5.0) -> bytes:
        """Send a stream to its end and wait for the first bytes of the answer."""
        stream = self.open(question, fin=True)
        self.pump(timeout, lambda: self.data.get(stream) or self.closed)
        return bytes(self.data.get(stream, b""))

    @property
    def open_streams_left(self) -> int:
        """How many more bidirectional streams the victim allows now."""
        return self.quic._remote_max_streams_bidi - self.quic._local_next_stream_id_bidi // 4

    # Not honest.

    def forge(self, frames: bytes, *, size: int = DATAGRAM_BYTES) -> None:
        """Send these bytes as the frames of a properly encrypted packet."""
        self.send(self.seal(frames, size=size))

    def seal(self, frames: bytes, *, size: int = DATAGRAM_BYTES) -> bytes:
        number = self.quic._packet_number
        self.quic._packet_number += 1
        return seal(
            QuicPacketType.ONE_RTT,
            self.quic._cryptos[Epoch.ONE_RTT],
            frames,
            number=number,
            host_cid=self.quic.host_cid,
            peer_cid=self.quic._peer_cid.cid,
            size=size,
        )

    def mute(self) -> None:
        """Send nothing but what is forged: nothing that arrives is acknowledged."""
        self.is_mute = True

    def keep_ids(self) -> None:
        """Let the victim retire connection IDs as often as it likes, to no effect."""
        handlers = self.quic._QuicConnection__frame_handlers
        handlers[0x19] = (lambda _context, _kind, buf: buf.pull_uint_var(), handlers[0x19][1])

    def answer_to(self, cid: bytes, sequence: int) -> None:
        """Take packets for a connection ID that a forged frame gave the victim."""
        self.quic._host_cids.append(QuicConnectionId(cid=cid, sequence_number=sequence))

    def stop_crediting(self) -> None:
        """Acknowledge, but raise no limit any more."""
        self.quic._write_connection_limits = lambda **_: None
        self.quic._write_stream_limits = lambda **_: None


def is_retry(data: bytes) -> bool:
    return data[:1] >= b"\xf0"


def is_readable(sock: socket.socket, seconds: float) -> bool:
    """Wait for a datagram; select(2) knows no more than 1024 files."""
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def udp(host: str) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
    sock.bind((host, 0))
    sock.setblocking(False)
    return sock


class Crowd:
    """First packets from as many sources of 127.0.0.0/8 as one likes, through one socket."""

    def __init__(self, address: Address, seed: int = 0) -> None:
        self.address = address
        self.socket = udp("0.0.0.0")
        self.rng = random.Random(seed)
        self.sent_bytes = self.received_bytes = 0
        template = QuicConnection(
            configuration=QuicConfiguration(
                is_client=True, alpn_protocols=[RAW], server_name="localhost"
            )
        )
        template.connect(address, 0.0)
        self.host_cid = template.host_cid
        self.hello = bytes(template._crypto_streams[Epoch.INITIAL].sender._buffer)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def source(self) -> str:
        rng = self.rng
        return f"127.{rng.randrange(1, 255)}.{rng.randrange(256)}.{rng.randrange(1, 255)}"

    def initial(
        self, frames: bytes | None = None, *, peer_cid: bytes = b"", token: bytes = b""
    ) -> bytes:
        """Build a client's first datagram, by default with an honest ClientHello."""
        peer_cid = peer_cid or os.urandom(8)
        crypto = CryptoPair()
        crypto.setup_initial(cid=peer_cid, is_client=True, version=VERSION_1)
        frames = crypto_frame(0, self.hello) if frames is None else frames
        frames += bytes(max(0, 1150 - len(frames) - len(token)))
        return seal(
            QuicPacketType.INITIAL,
            crypto,
            frames,
            number=0,
            host_cid=self.host_cid,
            peer_cid=peer_cid,
            token=token,
        )

    def send(self, data: bytes, source: str) -> None:
        self.sent_bytes += len(data)
        info = bytes(4) + socket.inet_aton(source) + bytes(4)
        with contextlib.suppress(OSError):
            self.socket.sendmsg([data], [(socket.IPPROTO_IP, IP_PKTINFO, info)], 0, self.address)

    def prove(self, source: str, address: Address | None = None) -> bytes:
        """Ask from an address; when the answer is a Retry, send what it asks for.

        Returns the datagram that came last. `address`: who gets the proof, if somebody else.
        """
        self.send(self.initial(), source)
        answer = self.answer()
        if not is_retry(answer):
            return answer
        proof = self.proof(answer)
        self.address, home = address or self.address, self.address
        self.send(proof, source)
        self.address = home
        return self.answer()

    def proof(self, retry: bytes) -> bytes:
        """Build the first packet again, as a Retry wants it."""
        header = pull_quic_header(Buffer(data=retry), host_cid_length=8)
        return self.initial(peer_cid=header.source_cid, token=header.token)

    def answer(self, seconds: float = 1.0) -> bytes:
        """Wait for one datagram; empty when none comes."""
        if not is_readable(self.socket, seconds):
            return b""
        return self.socket.recv(65536)

    def answers(self, seconds: float = 0.0) -> list[bytes]:
        """Collect what came back, waiting that long in all."""
        deadline = time.monotonic() + seconds
        found = []
        while True:
            wait = max(0.0, deadline - time.monotonic())
            if not is_readable(self.socket, wait):
                self.received_bytes += sum(map(len, found))
                return found
            found.append(self.socket.recv(65536))
