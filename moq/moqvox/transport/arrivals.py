"""New connections that wait for a listener's `accept`."""

import asyncio
from typing import Generic, TypeVar

from moqvox.errors import SessionClosed

__all__ = ["Arrivals"]

C = TypeVar("C")


class Arrivals(Generic[C]):
    """A queue with an end; the listener bounds its length, and refuses others."""

    def __init__(self) -> None:
        self._waiting: asyncio.Queue[C | None] = asyncio.Queue()
        self._closed: SessionClosed | None = None

    def __len__(self) -> int:
        return self._waiting.qsize()

    @property
    def is_closed(self) -> bool:
        """Whether nobody is to be let in any more."""
        return self._closed is not None

    def add(self, connection: C) -> None:
        """Queue a connection."""
        self._waiting.put_nowait(connection)

    async def next(self) -> C:
        """Wait for the next connection; those that wait at the end are still handed out.

        Raises:
            SessionClosed: the listener is closed.
        """
        while True:
            connection = await self._waiting.get()
            if connection is not None:
                return connection
            self._waiting.put_nowait(None)  # for whoever waits besides
            if self._closed is not None:
                raise self._closed

    def close(self, code: int, reason: str) -> None:
        """End the queue, and wake those who wait; the first close counts."""
        if self._closed is None:
            self._closed = SessionClosed(code, reason)
            self._waiting.put_nowait(None)
