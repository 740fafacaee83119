"""Two connected ends of each kind of transport, and a reader that sorts what arrives."""

import asyncio
import contextlib
import datetime
import functools
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import TypeVar

from moqvox.transport import memory, websocket
from moqvox.transport.aioquic import Limits, Listener, connect, listen
from moqvox.transport.credentials import ServerCertificate, Verify
from moqvox.transport.interface import (
    Closed,
    Connection,
    DatagramReceived,
    Event,
    StreamData,
    StreamOpened,
    StreamReset,
    StreamStopped,
    StreamWritable,
)
from moqvox_certs import Certificate, generate

PROTOCOL = "moq-lite-06"
PATIENCE = 10.0

ENGINES = ("quic", "webtransport")
KINDS = ("memory", "websocket", *ENGINES)

MEMORY_LINK = memory.LinkSettings(delay_ms=5, rate_kbps=100_000)

HASTY = Limits(linger=0.05)
"""For tests that end while something is queued that nobody will read."""


@functools.cache
def certificate() -> Certificate:
    return generate(["localhost", "127.0.0.1", "::1"], datetime.datetime.now(datetime.UTC))


def identity() -> ServerCertificate:
    return ServerCertificate(certificate().cert_pem, certificate().key_pem)


async def open_listener(**options: object) -> Listener:
    options = {"protocols": [PROTOCOL], "certificate": identity(), **options}
    return await listen("127.0.0.1", options.pop("port", 0), **options)


async def dial(listener: Listener, **options: object) -> Connection:
    host, port = listener.addresses[0]
    options = {
        "protocols": [PROTOCOL],
        "webtransport": False,
        "verify": Verify.authority(certificate().ca_pem),
        "timeout": PATIENCE,
        **options,
    }
    return await connect(host, port, **options)


@dataclass
class Pair:
    client: "Reader"
    server: "Reader"
    listener: Listener | websocket.Listener | None = None


T = TypeVar("T", memory.Limits, websocket.Limits)


def same_limits(limits: Limits, like: type[T]) -> T:
    """Carry over the bounds that both engines know."""
    names = set(Limits.__struct_fields__) & set(like.__struct_fields__)
    return like(**{name: getattr(limits, name) for name in names})


async def open_websocket_listener(**options: object) -> websocket.Listener:
    options = {"protocols": [PROTOCOL], "tls": identity(), **options}
    return await websocket.listen_websocket("127.0.0.1", 0, **options)


async def dial_websocket(listener: websocket.Listener, **options: object) -> Connection:
    host, port = listener.addresses[0]
    options = {
        "protocols": [PROTOCOL],
        "verify": Verify.authority(certificate().ca_pem),
        "timeout": PATIENCE,
        **options,
    }
    return await websocket.connect_websocket(host, port, **options)


@contextlib.asynccontextmanager
async def pair(
    kind: str, *, limits: Limits = HASTY, idle_timeout: float = 30.0
) -> AsyncIterator[Pair]:
    """Connect two ends, over loopback unless in memory; both are closed at the end."""
    if kind == "memory":
        client, server = memory.pair(
            protocol=PROTOCOL,
            path="/room?x=1",
            limits=same_limits(limits, memory.Limits),
            link=MEMORY_LINK,
        )
        yield Pair(Reader(client), Reader(server))
        client.close()
        await client.wait_closed()
        return
    options = {"limits": limits, "idle_timeout": idle_timeout}
    if kind == "websocket":
        options["limits"] = same_limits(limits, websocket.Limits)
        listener = await open_websocket_listener(**options)
    else:
        listener = await open_listener(**options)
    options["path"] = "/room?x=1"
    try:
        if kind == "websocket":
            client = await dial_websocket(listener, **options)
        else:
            client = await dial(listener, webtransport=kind == "webtransport", **options)
        server = await listener.accept()
        yield Pair(Reader(client), Reader(server), listener)
        client.close()
        await client.wait_closed()
    finally:
        await listener.close()


@dataclass
class Reader:
    """One end, and all it has heard."""

    connection: Connection
    events: list[Event] = field(default_factory=list)
    opened: dict[int, bool] = field(default_factory=dict)
    data: dict[int, bytearray] = field(default_factory=dict)
    ended: set[int] = field(default_factory=set)
    resets: dict[int, int] = field(default_factory=dict)
    stops: dict[int, int] = field(default_factory=dict)
    writable: list[int] = field(default_factory=list)
    datagrams: list[bytes] = field(default_factory=list)
    closed: Closed | None = None

    def note(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, StreamOpened):
            assert event.stream not in self.opened
            self.opened[event.stream] = event.bidirectional
        elif isinstance(event, StreamData):
            assert event.stream not in self.ended
            self.data.setdefault(event.stream, bytearray()).extend(event.data)
            if event.fin:
                self.ended.add(event.stream)
        elif isinstance(event, StreamReset):
            self.resets[event.stream] = event.code
        elif isinstance(event, StreamStopped):
            assert event.stream not in self.stops
            self.stops[event.stream] = event.code
        elif isinstance(event, StreamWritable):
            self.writable.append(event.stream)
        elif isinstance(event, DatagramReceived):
            self.datagrams.append(event.data)
        elif isinstance(event, Closed):
            self.closed = event

    async def until(self, condition: Callable[["Reader"], object]) -> None:
        """Read until the condition holds."""
        async with asyncio.timeout(PATIENCE):
            while not condition(self):
                for event in await self.connection.events():
                    self.note(event)

    async def until_closed(self) -> Closed:
        await self.until(lambda reader: reader.closed is not None)
        assert self.closed is not None
        assert self.events[-1] == self.closed
        return self.closed
