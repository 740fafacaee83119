"""Ends of a connection in memory, and readers that note when they heard what."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field

from tests.aio import run

from moqvox.errors import SessionClosed
from moqvox.transport.interface import (
    Closed,
    DatagramReceived,
    Event,
    PathChanged,
    StreamData,
    StreamOpened,
)
from moqvox.transport.memory import Limits, LinkSettings, MemoryConnection, pair

BAD = LinkSettings(loss=20, delay_ms=20, jitter_ms=15, reorder=10, duplicate=10)
"""A link on which everything goes wrong now and then."""


@dataclass
class Ear:
    """One end, read all the time, and what it heard when."""

    connection: MemoryConnection
    heard: list[tuple[float, Event]] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    async def listen(self) -> None:
        loop = asyncio.get_running_loop()
        with suppress(SessionClosed):
            while True:
                for event in await self.connection.events():
                    self.heard.append((loop.time(), event))
                self.news.set()

    async def until(self, condition: Callable[["Ear"], object]) -> float:
        """Wait for the condition; returns the time."""
        async with asyncio.timeout(600):
            while not condition(self):
                self.news.clear()
                await self.news.wait()
        return asyncio.get_running_loop().time()

    @property
    def events(self) -> list[Event]:
        return [event for _, event in self.heard]

    def of(self, kind: type) -> list[Event]:
        return [event for event in self.events if isinstance(event, kind)]

    def data(self, stream: int) -> bytes:
        found = (e.data for e in self.of(StreamData) if e.stream == stream)
        return b"".join(found)

    def ended(self, stream: int) -> bool:
        return any(e.stream == stream and e.fin for e in self.of(StreamData))

    @property
    def datagrams(self) -> list[bytes]:
        return [event.data for event in self.of(DatagramReceived)]

    @property
    def paths(self) -> list[tuple[str, str]]:
        return [(event.local, event.remote) for event in self.of(PathChanged)]

    @property
    def opened(self) -> list[int]:
        return [event.stream for event in self.of(StreamOpened)]

    @property
    def closed(self) -> Closed | None:
        last = self.events[-1] if self.heard else None
        return last if isinstance(last, Closed) else None


Body = Callable[[Ear, Ear], Awaitable[None]]


def on_pair(
    body: Body,
    *,
    link: LinkSettings | None = None,
    seed: int = 0,
    limits: Limits | None = None,
) -> tuple[Ear, Ear]:
    """Run a body on both ends, both read all the time; then close and check the ends."""

    async def main() -> tuple[Ear, Ear]:
        ends = pair(link=link or LinkSettings(), seed=seed, limits=limits or Limits())
        client, server = Ear(ends[0]), Ear(ends[1])
        async with asyncio.TaskGroup() as tasks:
            for ear in (client, server):
                tasks.create_task(ear.listen())
            await body(client, server)
            for ear in (client, server):
                ear.connection.close()
        assert client.closed is not None
        assert server.closed is not None
        return client, server

    return run(main())


def write_all(connection: MemoryConnection, payload: bytes, *, priority: int = 0) -> int:
    """Send one whole one-way stream."""
    stream = connection.open_stream(bidirectional=False, priority=priority)
    connection.write(stream, payload, fin=True)
    return stream
