"""What is fuzzed: bytes in, nothing but the errors that are meant to come out.

`python -m tests.fuzz.run datagrams --seconds 40` runs one of them under atheris; the tests of
this folder run each over its corpus and over seeded mutations of it.
"""

import random
from collections.abc import Callable, Iterator
from typing import Final

from aioquic.quic.packet import QuicPacketType
from aioquic.quic.packet_builder import QuicPacketBuilder
from aioquic.tls import Epoch
from tests.fuzz.sessions import BYTES, DATAGRAM, END, OTHER, PROTOCOL, Session, record
from tests.unit.transport.aioquic.wires import CLIENT, Wire

from moqvox.transport.aioquic.capsules import (
    CapsuleError,
    CapsuleReader,
    close_capsule,
    read_close,
)
from moqvox.transport.aioquic.exchange import (
    Request,
    accept_fields,
    parse_request,
    request_fields,
)
from moqvox.transport.aioquic.headers import parse_long_header
from moqvox.transport.aioquic.http3 import (
    H3Error,
    SectionCodec,
    read_settings,
    settings_frame,
)
from moqvox.transport.aioquic.http3_streams import ExchangeStream, uni_stream
from moqvox.transport.aioquic.varint import pull_varint

Target = Callable[[bytes], None]

MAX_BYTES: Final = 1200
TURN_SECONDS: Final = 0.001
EDGES: Final = (0, 1, 0x3F, 0x40, 0x7F, 0x80, 0xC0, 0xFF)


class Server:
    """A server in mid-connection, made anew when a peer's bytes have ended it."""

    def __init__(self) -> None:
        self.wire = Wire().handshake()
        self.wire.run(0.3)

    @property
    def is_over(self) -> bool:
        return self.wire.server.ending() is not None or self.wire.client.ending() is not None

    def take(self, data: bytes, address: tuple[str, int] = CLIENT) -> None:
        """Deliver a datagram, and do what it calls for."""
        wire = self.wire
        wire.now += TURN_SECONDS
        wire.server.receive_datagram(data, address, wire.now)
        while wire.server.next_event() is not None:
            pass
        for _ in range(4):
            if not wire.server.datagrams_to_send(wire.now):
                break
        timer = wire.server.get_timer()
        if timer is not None and timer <= wire.now:
            wire.server.handle_timer(wire.now)

    def seal(self, frames: bytes) -> bytes:
        """Encrypt bytes as the frames of the client's next packet."""
        client = self.wire.client
        builder = QuicPacketBuilder(
            host_cid=client.host_cid,
            peer_cid=client._peer_cid.cid,
            version=1,
            is_client=True,
            max_datagram_size=MAX_BYTES,
            packet_number=client._packet_number,
        )
        client._packet_number += 1
        builder.start_packet(QuicPacketType.ONE_RTT, client._cryptos[Epoch.ONE_RTT])
        builder._buffer.push_bytes(frames[: MAX_BYTES - 40] or b"\0")
        (data,), _ = builder.flush()
        return data


_servers: list[Server] = []


def _server() -> Server:
    if not _servers or _servers[0].is_over:
        _servers[:] = [Server()]
    return _servers[0]


def datagrams(data: bytes) -> None:
    """Anything from the network: no key is known to who sends it."""
    parse_long_header(data)
    if data:
        _server().take(data)


def frames(data: bytes) -> None:
    """Anything from a client with keys: the bytes are the frames of a packet."""
    server = _server()
    server.take(server.seal(data))


def http3(data: bytes) -> None:
    """Anything on HTTP/3's streams: the first byte says which, the second how it is cut."""
    if len(data) < 3:
        return
    codec, step, rest = SectionCodec(), data[1] or 1, data[2:]

    def on_settings(payload: bytes) -> None:
        read_settings(payload, has_datagrams=bool(data[0] & 1))

    def on_fields(section: bytes) -> None:
        parse_request(codec.request(0, section))

    def on_capsule(_kind: int, value: bytes) -> None:
        read_close(value)

    try:
        stream = (
            ExchangeStream(on_fields, on_capsule, lambda: None)
            if data[0] & 2
            else uni_stream(data[0] >> 2 & 3, on_settings)
        )
        for start in range(0, len(rest), step):
            stream.feed(rest[start : start + step], fin=start + step >= len(rest))
    except (H3Error, CapsuleError):
        return


def webtransport(data: bytes) -> None:
    """Anything a peer does on a connection of HTTP/3: who it is, then a script of `sessions`."""
    if data:
        Session(is_client=bool(data[0] & 1)).play(data[1:])


def capsules(data: bytes) -> None:
    """Anything in the body of the CONNECT stream, and in datagrams."""
    pull_varint(data, 0)
    reader = CapsuleReader()
    try:
        for start in range(0, len(data), 7):
            for _, value in reader.feed(data[start : start + 7]):
                read_close(value)
    except CapsuleError:
        return


TARGETS: Final[dict[str, Target]] = {
    "datagrams": datagrams,
    "frames": frames,
    "http3": http3,
    "webtransport": webtransport,
    "capsules": capsules,
}


def seeds(name: str) -> Iterator[bytes]:
    """Give well-formed input of a kind, from which mutations begin."""
    if name == "datagrams":
        wire = Wire()
        yield from (data for data, _ in wire.client.datagrams_to_send(0.0))
        server = _server()
        yield server.seal(b"\x01")
        yield b"\xc0" + bytes(4) + b"\x08" + bytes(8) + b"\x08" + bytes(8)
    elif name == "frames":
        yield b"\x01"
        yield b"\x02\x05\x00\x00\x02"
        yield b"\x04\x00\x00\x03"
        yield b"\x05\x00\x00"
        yield b"\x06\x00\x04\x0e\x00\x00\x00"
        yield b"\x0f\x00\x00\x03abc"
        yield b"\x10\x44\x00\x11\x00\x44\x00\x12\x10\x14\x10\x15\x00\x10\x16\x10"
        yield b"\x18\x09\x00\x08" + bytes(24)
        yield b"\x19\x01\x1a" + bytes(8) + b"\x1b" + bytes(8)
        yield b"\x1c\x00\x00\x02no\x1d\x00\x00"
        yield b"\x30data"
    elif name == "http3":
        request = [(b":method", b"CONNECT"), (b":scheme", b"https"), (b":authority", b"a"),
                   (b":path", b"/"), (b":protocol", b"webtransport"),
                   (b"wt-available-protocols", b'"moq-lite-06"')]  # fmt: skip
        yield b"\x02\xff" + SectionCodec().encode(0, request) + b"\x00\x03\x68\x43\x00"
        yield b"\x01\xff\x04\x06\x01\x00\x33\x01\x08\x01"
    elif name == "webtransport":
        yield from _sessions()
    else:
        yield b"\x68\x43\x08\x00\x00\x00\x07stop"
        yield b"\x40\x99\x03abc\x78\xae\x00"


def _sessions() -> Iterator[bytes]:
    """Give scripts of sessions: a client's, whose streams may come first, and a server's."""
    request = Request("example.com", "/", (PROTOCOL,))
    control = record(BYTES, 2, b"\0" + settings_frame())
    asks = record(BYTES, 0, SectionCodec().encode(0, request_fields(request)))
    uni, bidi = b"\x40\x54\0", b"\x40\x41\0"
    early = record(BYTES, 14, uni + b"early") + record(END, 4, bidi + b"ask")
    early += record(OTHER, 18, b"")
    late = record(BYTES, 14, b" late") + record(END, 22, uni) + record(BYTES, 26, b"\x40")
    datagram = record(DATAGRAM, 0, b"\0hello")
    rejected = record(BYTES, 8, b"\x40\x41\x04!") + record(OTHER, 0, b"\xff" + bytes(8))
    closes = record(END, 0, b"\0\x0b" + close_capsule(7, "over"))
    qpack = record(BYTES, 6, b"\2\x20") + record(BYTES, 10, b"\3\x40")
    yield b"\0" + control + qpack + asks + early + late + datagram + rejected + closes
    yield b"\0" + early + rejected + control + asks + datagram + late
    yield b"\0" + b"".join(record(END, n, bidi) for n in range(4, 140, 4)) + control + asks
    again = asks + record(BYTES, 4, SectionCodec().encode(4, request_fields(request)))
    yield b"\0" + control + again + record(BYTES, 0, b"\0\5\x68\x43\2no")
    strange = [*request_fields(request), (b"origin", b"\xff")]
    yield b"\0" + control + record(END, 0, SectionCodec().encode(0, strange))
    answers = record(BYTES, 0, SectionCodec().encode(0, accept_fields(request, PROTOCOL)))
    control = record(BYTES, 3, b"\0" + settings_frame())
    early = record(BYTES, 15, uni + b"early") + record(END, 1, bidi + b"!ask")
    early += record(OTHER, 15, b"")
    yield b"\1" + control + early + answers + datagram + record(END, 19, uni + b"x") + closes
    yield b"\1" + control + record(END, 0, SectionCodec().encode(0, [(b":status", b"404")]))


def mutated(name: str, rng: random.Random) -> Iterator[bytes]:
    """Give endless variations of the seeds."""
    known = list(seeds(name))
    while True:
        data = bytearray(rng.choice(known) + (rng.choice(known) if rng.random() < 0.3 else b""))
        for _ in range(rng.randrange(1, 6)):
            place = rng.randrange(len(data) + 1)
            kind = rng.randrange(4)
            if kind == 0:
                del data[place : place + rng.randrange(1, 5)]
            elif kind == 1:
                data[place:place] = rng.randbytes(rng.randrange(1, 6))
            elif place < len(data):
                data[place] = rng.choice(
                    (0, 1, 0x3F, 0x40, 0x7F, 0x80, 0xC0, 0xFF, data[place] ^ 1)
                )
        yield bytes(data[:MAX_BYTES])
