"""Events that wait for the application, each kind bounded.

Bytes are bounded by the windows of flow control: what is here was not credited yet. Bytes of
one stream are gathered, so that a peer's tiny frames don't cost an object each.
"""

import asyncio
from typing import Final

import msgspec

from moqvox.errors import LocalError, SessionClosed
from moqvox.transport.interface import (
    Closed,
    DatagramReceived,
    Event,
    PathChanged,
    StreamData,
    StreamOpened,
    StreamReset,
    StreamStopped,
    StreamWritable,
)

__all__ = ["Inbox", "printable"]

MAX_REASON_CHARACTERS: Final = 256

DATAGRAM_BYTES: Final = 1500
"""So much room is kept for each datagram that may wait; a network may carry larger ones."""

FEW_BYTES: Final = 4096
"""Larger pieces are worth an event of their own; joining them would copy too much."""


class _Gathered:
    """Bytes of one stream that may still grow."""

    __slots__ = ("data", "fin", "stream")

    def __init__(self, stream: int, data: bytes, *, fin: bool) -> None:
        self.stream = stream
        self.data: bytes | bytearray = data
        self.fin = fin

    def add(self, data: bytes, *, fin: bool) -> None:
        if isinstance(self.data, bytes):
            self.data = bytearray(self.data)
        self.data += data
        self.fin = fin


class Inbox:
    """What arrived and was not read yet, in order; one reader."""

    def __init__(self, *, max_datagrams: int, max_path_changes: int) -> None:
        self._waiting: list[Event | _Gathered] = []
        self._open: dict[int, _Gathered] = {}
        self._writable: dict[int, None] = {}
        self._datagrams = 0
        self._datagram_bytes = 0
        self._path_changes = 0
        self._max_datagrams = max_datagrams
        self._max_path_changes = max_path_changes
        self._reader: asyncio.Future[None] | None = None
        self._closed: Closed | None = None
        self._is_over = False

    def opened(self, stream: int, *, bidirectional: bool) -> None:
        """Add news of a peer's stream."""
        self._add(StreamOpened(stream, bidirectional))

    def data(self, stream: int, data: bytes, *, fin: bool) -> None:
        """Add bytes, to those of the stream that wait already if there are any."""
        gathered = self._open.get(stream)
        if gathered is not None and len(gathered.data) + len(data) <= FEW_BYTES:
            gathered.add(data, fin=fin)
            return
        self._open[stream] = gathered = _Gathered(stream, data, fin=fin)
        self._add(gathered)

    def reset(self, stream: int, code: int) -> None:
        """Add the peer's reset; bytes that wait are still read before it."""
        self._open.pop(stream, None)
        self._add(StreamReset(stream, code))

    def stopped(self, stream: int, code: int) -> None:
        """Add the peer's wish to get no more; the caller sees to it that it comes once."""
        self._add(StreamStopped(stream, code))

    def writable(self, stream: int) -> None:
        """Add that a stream takes bytes again, once until it is read."""
        if stream not in self._writable:
            self._writable[stream] = None
            self._add(StreamWritable(stream))

    def datagram(self, data: bytes) -> None:
        """Add a datagram; dropped when too many wait, or too much of them."""
        more_bytes = self._datagram_bytes + len(data)
        most_bytes = self._max_datagrams * DATAGRAM_BYTES
        if self._datagrams < self._max_datagrams and more_bytes <= most_bytes:
            self._datagrams += 1
            self._datagram_bytes = more_bytes
            self._add(DatagramReceived(data))

    def path_changed(self, local: str, remote: str, cause: str = "") -> None:
        """Add a change of path; dropped when too many wait."""
        if self._path_changes < self._max_path_changes:
            self._path_changes += 1
            self._add(PathChanged(local, remote, cause))

    def closed(self, closed: Closed) -> None:
        """Add the end, its reason made safe; nothing comes after it."""
        if self._closed is None:
            closed = msgspec.structs.replace(closed, reason=printable(closed.reason))
            self._add(closed)
            self._closed = closed

    @property
    def is_closed(self) -> bool:
        """Whether the end is here, read or not."""
        return self._closed is not None

    def session_closed(self) -> SessionClosed:
        """Build the error for calls that come after the end."""
        closed = self._closed or Closed(0, "")
        return SessionClosed(closed.code, closed.reason, remote=closed.remote)

    async def wait(self) -> None:
        """Wait until there is something to take.

        Raises:
            SessionClosed: the end was taken already.
            LocalError: someone else waits.
        """
        if self._is_over:
            raise self.session_closed()
        if self._waiting:
            return
        if self._reader is not None:
            raise LocalError("two readers of one connection's events")
        self._reader = asyncio.get_running_loop().create_future()
        try:
            await self._reader
        finally:
            self._reader = None

    def take(self) -> list[Event]:
        """Take all of it, oldest first."""
        events: list[Event] = [
            StreamData(entry.stream, bytes(entry.data), entry.fin)
            if isinstance(entry, _Gathered)
            else entry
            for entry in self._waiting
        ]
        self._waiting.clear()
        self._open.clear()
        self._writable.clear()
        self._datagrams = self._datagram_bytes = self._path_changes = 0
        self._is_over = self._closed is not None
        return events

    def _add(self, entry: Event | _Gathered) -> None:
        if self._closed is None:
            self._waiting.append(entry)
            if self._reader is not None and not self._reader.done():
                self._reader.set_result(None)


def printable(text: str) -> str:
    """Make a peer's words safe for a terminal and a log, and short."""
    safe = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
    return safe[:MAX_REASON_CHARACTERS]
