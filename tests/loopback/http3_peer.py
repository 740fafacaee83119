"""A peer that speaks HTTP/3 byte by byte, so that tests can break any rule of it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pylsqpack
from tests.loopback.pairs import HASTY, PROTOCOL, Reader, dial, open_listener

from moqvox.transport.aioquic import Limits, Listener
from moqvox.transport.aioquic.varint import encode_varint, pull_varint
from moqvox.transport.interface import Closed, Connection

SETTINGS = bytes.fromhex("0400")

CONTROL, PUSH, ENCODER, DECODER = 0, 1, 2, 3
DATA, HEADERS = 0, 1


def frame(kind: int, payload: bytes) -> bytes:
    return encode_varint(kind) + encode_varint(len(payload)) + payload


def fields(*pairs: tuple[str, str]) -> bytes:
    """Encode a HEADERS frame with the static table only."""
    _, section = pylsqpack.Encoder().encode(
        0, [(name.encode(), value.encode()) for name, value in pairs]
    )
    return frame(HEADERS, section)


def connect_request(
    *extra: tuple[str, str],
    protocols: str | None = f'"{PROTOCOL}"',
    path: str = "/room",
    protocol: str = "webtransport",
) -> bytes:
    offers = [("wt-available-protocols", protocols)] if protocols is not None else []
    return fields(
        (":method", "CONNECT"),
        (":scheme", "https"),
        (":authority", "localhost"),
        (":path", path),
        (":protocol", protocol),
        *offers,
        *extra,
    )


def read_frames(data: bytes) -> list[tuple[int, bytes]]:
    found = []
    while data:
        kind, offset = pull_varint(data, 0)
        length, offset = pull_varint(data, offset)
        found.append((kind, data[offset : offset + length]))
        data = data[offset + length :]
    return found


def read_fields(data: bytes) -> dict[str, str]:
    """Decode the HEADERS frame that a stream begins with."""
    kind, section = read_frames(data)[0]
    assert kind == HEADERS
    _, decoded = pylsqpack.Decoder(0, 0).feed_header(0, section)
    return {name.decode(): value.decode() for name, value in decoded}


class Browser:
    """The client's side of an HTTP/3 connection."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.reader = Reader(connection)

    def uni(self, kind: int, data: bytes = b"", *, fin: bool = False) -> int:
        stream = self.connection.open_stream(bidirectional=False)
        self.connection.write(stream, encode_varint(kind) + data, fin=fin)
        return stream

    def bidi(self, data: bytes, *, fin: bool = False) -> int:
        stream = self.connection.open_stream(bidirectional=True)
        self.connection.write(stream, data, fin=fin)
        return stream

    def greet(self) -> None:
        self.uni(CONTROL, SETTINGS)

    async def answer(self, stream: int) -> dict[str, str]:
        await self.reader.until(lambda reader: reader.data.get(stream))
        return read_fields(bytes(self.reader.data[stream]))

    async def open_session(self, *extra: tuple[str, str]) -> int:
        self.greet()
        stream = self.bidi(connect_request(*extra))
        assert (await self.answer(stream))[":status"] == "200"
        return stream

    async def until_closed(self) -> Closed:
        return await self.reader.until_closed()


@contextlib.asynccontextmanager
async def browsing(limits: Limits = HASTY) -> AsyncIterator[tuple[Browser, Listener]]:
    """Connect to a listener as HTTP/3, nothing said yet."""
    listener = await open_listener(limits=limits)
    try:
        async with asyncio.timeout(10):
            connection = await dial(listener, protocols=["h3"])
            yield Browser(connection), listener
            connection.close()
            await connection.wait_closed()
    finally:
        await listener.close()
