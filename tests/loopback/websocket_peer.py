"""A WebSocket client of another make, which speaks QMux by hand."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator

from tests.loopback.pairs import PATIENCE, certificate
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from moqvox.transport.websocket import Listener
from moqvox.transport.websocket.frames import Frame, Hello, decode_record, encode_frame
from moqvox.transport.websocket.parameters import Parameters

__all__ = ["PARAMETERS", "Stranger", "request", "strange", "trust"]

PARAMETERS = Parameters(
    max_data=1 << 20,
    max_stream_data_bidi_local=1 << 18,
    max_stream_data_bidi_remote=1 << 18,
    max_stream_data_uni=1 << 18,
    max_streams_bidi=100,
    max_streams_uni=100,
)


def trust() -> ssl.SSLContext:
    return ssl.create_default_context(cadata=certificate().ca_pem.decode())


class Stranger:
    """One of the library's connections, and what it was told."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.heard: list[Frame] = []

    async def say(self, *frames: Frame) -> None:
        await self.socket.send(b"".join(map(encode_frame, frames)))

    async def until(self, kind: type[Frame]) -> Frame:
        """Read until a frame of a kind comes."""
        async with asyncio.timeout(PATIENCE):
            while True:
                for frame in decode_record(await self.socket.recv()):
                    self.heard.append(frame)
                    if isinstance(frame, kind):
                        return frame

    async def until_closed(self) -> int:
        """Read until the WebSocket closes; its code."""
        async with asyncio.timeout(PATIENCE):
            with contextlib.suppress(ConnectionClosed):
                while True:
                    self.heard.extend(decode_record(await self.socket.recv()))
        return self.socket.close_code or 0


@contextlib.asynccontextmanager
async def strange(
    listener: Listener,
    *subprotocols: str,
    path: str = "/room",
    hello: Parameters | None = PARAMETERS,
    secure: bool = True,
    **options: object,
) -> AsyncIterator[Stranger]:
    """Open a WebSocket, and greet as QMux wants it unless `hello` is None."""
    host, port = listener.addresses[0]
    uri = f"{'wss' if secure else 'ws'}://{host}:{port}{path}"
    names = list(subprotocols or ("qmux-01.moq-lite-06",))
    context = {"ssl": trust()} if secure else {}
    options = {"ping_interval": None, "compression": None, **context, **options}
    async with connect(uri, subprotocols=names, **options) as socket:
        stranger = Stranger(socket)
        if hello is not None:
            await stranger.say(Hello(hello))
        yield stranger


async def request(
    listener: Listener, text: bytes, *, secure: bool = False
) -> tuple[int, dict[str, str], bytes]:
    """Send the bytes of an HTTP request; status, headers and body of the answer."""
    host, port = listener.addresses[0]
    options = {"ssl": trust(), "server_hostname": "localhost"} if secure else {}
    async with asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_connection(host, port, **options)
        writer.write(text)
        answer = await reader.read()
        writer.close()
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            await writer.wait_closed()
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    return int(status.split()[1]) if status else 0, headers, body
