"""The TCP side of a bad network on one machine: forwards connections, or holds them up.

A `Link` can lose datagrams; of TCP only the time can be seen from outside, so an outage here
holds bytes back until it is over, and a kernel's retransmissions are what it is not.
"""

import asyncio
import contextlib
import logging
from types import TracebackType
from typing import Final, Self

from moqvox.driver.scope import scope

__all__ = ["Gate"]

log = logging.getLogger("moqvox.client.link")

MAX_CONNECTIONS: Final = 256
"""At a time; further ones are closed at once."""

PIECE_BYTES: Final = 64 * 1024


class Gate:
    """Forwards TCP connections to one server. Use it as an async context manager.

    Args:
        target: the server's address and port.
        bind: where clients find the gate; port 0 takes any.
    """

    def __init__(
        self, target: tuple[str, int], *, bind: tuple[str, int] = ("127.0.0.1", 0)
    ) -> None:
        self._target = target
        self._bind = bind
        self._running: set[asyncio.Task[None]] = set()
        self._shut: list[tuple[float, float]] = []
        self._exits = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Start forwarding.

        Raises:
            OSError: the address can't be bound.
        """
        self._loop = asyncio.get_running_loop()
        self._tasks = await self._exits.enter_async_context(scope())
        self._server = await asyncio.start_server(self._welcome, *self._bind)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.close()
        for task in list(self._running):
            task.cancel()
        await self._exits.__aexit__(None, None, None)

    @property
    def address(self) -> tuple[str, int]:
        """Where clients find the gate."""
        name = self._server.sockets[0].getsockname()
        return str(name[0]), int(name[1])

    def outage(self, duration: float, *, after: float = 0.0) -> None:
        """Hold everything up for `duration` seconds, `after` seconds from now."""
        start = self._loop.time() + after
        self._shut = [each for each in self._shut if each[1] > self._loop.time()]
        self._shut.append((start, start + duration))

    def _welcome(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._running) >= MAX_CONNECTIONS:
            writer.close()
            return
        task = self._tasks.create_task(self._forward(reader, writer), name="gate")
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._passage()
            inner_reader, inner_writer = await asyncio.open_connection(*self._target)
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._pump(reader, inner_writer))
                    tasks.create_task(self._pump(inner_reader, writer))
            finally:
                inner_writer.close()
        except* OSError as broken:
            log.debug("a connection through the gate broke: %s", broken)
        finally:
            writer.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(PIECE_BYTES):
            await self._passage()
            writer.write(piece)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()

    async def _passage(self) -> None:
        """Wait until no outage holds things up."""
        while True:
            now = self._loop.time()
            ends = [end for start, end in self._shut if start <= now < end]
            if not ends:
                return
            await asyncio.sleep(max(ends) - now)
