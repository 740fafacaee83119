"""A WebTransport server on moqvox's transport alone: echoes, and does what a path asks for.

What it sees is printed as JSON lines, each with the path of its session; ends when stdin does.

`/echo...` (and raw QUIC, which has no path) returns bytes and datagrams; on a stream of its own
what came on a one-way stream;
`/close...?code=&reason=` closes at once; `/push...` opens streams, and one more when answered;
`/reset...?code=` opens some, resets them when told to, and opens one more when one was stopped;
`/stop...?code=` asks to stop what the client opens.
With `--careful` every new client has to prove its address.
"""

import asyncio
import datetime
import json
import sys
from urllib.parse import parse_qs, urlsplit

from moqvox.errors import SessionClosed
from moqvox.transport.aioquic import Limits, listen
from moqvox.transport.credentials import ServerCertificate
from moqvox.transport.interface import (
    Closed,
    Connection,
    DatagramReceived,
    StreamData,
    StreamOpened,
    StreamReset,
    StreamStopped,
)
from moqvox_certs import generate

PROTOCOLS = ["echo-2", "echo-1"]


def emit(event: str, **fields: object) -> None:
    """Print one JSON object on a line of its own, at once."""
    print(json.dumps({"event": event, **fields}), flush=True)


class Session:
    """One client."""

    def __init__(self, connection: Connection) -> None:
        parts = urlsplit(connection.path)
        self.path = parts.path
        self.wishes = {key: values[0] for key, values in parse_qs(parts.query).items()}
        self.connection = connection
        self._one_way: dict[int, int] = {}
        self._ours: list[int] = []
        self._said: dict[int, bytes] = {}

    @property
    def code(self) -> int:
        """The code that the path asks for."""
        return int(self.wishes.get("code", "0"))

    async def serve(self) -> None:
        """Serve to the end."""
        emit("session", path=self.path, protocol=self.connection.protocol)
        self._begin()
        try:
            while True:
                for event in await self.connection.events():
                    self._take(event)
        except SessionClosed:
            return

    def _begin(self) -> None:
        connection = self.connection
        if self.path.startswith("/close"):
            connection.close(self.code, self.wishes.get("reason", ""))
        elif self.path.startswith("/push"):
            connection.write(connection.open_stream(bidirectional=False), b"one way", fin=True)
            connection.write(connection.open_stream(bidirectional=True), b"both ways", fin=True)
        elif self.path.startswith("/reset"):
            for bidirectional in (False, True):
                self._ours.append(connection.open_stream(bidirectional=bidirectional))
                connection.write(self._ours[-1], b"and then")

    def _take(self, event: object) -> None:
        connection = self.connection
        if isinstance(event, StreamOpened):
            self._opened(event)
        elif isinstance(event, StreamData):
            self._data(event)
        elif isinstance(event, DatagramReceived):
            connection.send_datagram(event.data)
        elif isinstance(event, StreamReset):
            emit("reset", path=self.path, code=event.code)
        elif isinstance(event, StreamStopped):
            emit("stopped", path=self.path, code=event.code)
            self._confirm()
        elif isinstance(event, Closed):
            emit("closed", path=self.path, code=event.code, reason=event.reason, lost=event.lost)

    def _opened(self, event: StreamOpened) -> None:
        if not event.bidirectional:
            self._one_way[event.stream] = self.connection.open_stream(bidirectional=False)
        if self.path.startswith("/stop"):
            self.connection.stop(event.stream, self.code)

    def _data(self, event: StreamData) -> None:
        connection = self.connection
        if self.path.startswith("/echo") or not self.path:
            back = self._one_way.get(event.stream, event.stream)
            connection.write(back, event.data, fin=event.fin)
        elif self.path.startswith("/reset") and event.fin:
            for stream in self._ours:
                connection.reset(stream, self.code)
        else:
            said = self._said[event.stream] = self._said.get(event.stream, b"") + event.data
            if event.fin:
                emit("answer", path=self.path, text=said.decode())
                self._confirm()

    def _confirm(self) -> None:
        """Tell a client that may close only once it was heard, as a close ends all streams."""
        self.connection.write(self.connection.open_stream(bidirectional=False), b"heard", fin=True)


async def _run(*, careful: bool) -> None:
    made = generate(["localhost", "127.0.0.1"], datetime.datetime.now(datetime.UTC))
    identity = ServerCertificate(made.cert_pem, made.key_pem)
    limits = Limits(retry_above_half_open=0) if careful else Limits()
    listener = await listen(
        "127.0.0.1", 0, protocols=PROTOCOLS, certificate=identity, limits=limits
    )
    host, port = listener.addresses[0]
    async with asyncio.TaskGroup() as tasks:

        async def accept() -> None:
            while True:
                try:
                    connection = await listener.accept()
                except SessionClosed:
                    return
                tasks.create_task(Session(connection).serve())

        tasks.create_task(accept())
        emit("ready", address=f"{host}:{port}", fingerprint=made.fingerprint_hex)
        await asyncio.to_thread(sys.stdin.read)
        await listener.close()


if __name__ == "__main__":
    asyncio.run(_run(careful="--careful" in sys.argv[1:]))
