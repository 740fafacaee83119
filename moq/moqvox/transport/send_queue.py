"""Bytes that wait to be sent: whose turn it is, how many may wait, who must pause.

The engine is fed only what it can send soon; all else waits here, in order of priority, so
that a late but urgent stream overtakes bytes that were queued before it. Lower priority
values go first; streams of one value take turns, `QUANTUM_BYTES` at a time.
"""

from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from moqvox.errors import LocalError

__all__ = ["QUANTUM_BYTES", "Chunk", "Marks", "SendQueue"]

QUANTUM_BYTES: Final = 1200
"""One turn of a stream: about one packet."""


class Marks(msgspec.Struct, frozen=True):
    """Bounds of a send queue, all in bytes.

    Attributes:
        stream_high: a stream with more than this pauses its writer.
        stream_low: it goes on once at most this is left.
        connection_high: with more than this in all streams together, every writer pauses.
        connection_low: they go on once at most this is left.
        hard: a write that would pass this raises.
    """

    stream_high: int = 256 * 1024
    stream_low: int = 64 * 1024
    connection_high: int = 2 * 1024 * 1024
    connection_low: int = 1024 * 1024
    hard: int = 16 * 1024 * 1024


class Chunk(msgspec.Struct, frozen=True, gc=False):
    """What to give to the engine next."""

    stream: int
    data: bytes
    fin: bool


class _Stream:
    """One stream's waiting bytes."""

    __slots__ = ("chunks", "fin", "offset", "parked", "priority", "queued", "waiting")

    def __init__(self, priority: int) -> None:
        self.priority = priority
        self.chunks: deque[bytes] = deque()
        self.offset = 0
        self.waiting = 0
        self.fin = False
        self.queued = False
        self.parked = False

    def pull(self, size: int) -> bytes:
        """Take up to `size` bytes off the front, copying only what is cut."""
        first = self.chunks[0]
        whole = len(first) == size or (len(first) < size and len(self.chunks) == 1)
        if self.offset == 0 and whole:
            self.chunks.popleft()
            self.waiting -= len(first)
            return first
        parts: list[bytes] = []
        wanted = size
        while wanted and self.chunks:
            first = self.chunks[0]
            part = first[self.offset : self.offset + wanted]
            parts.append(part)
            wanted -= len(part)
            self.offset += len(part)
            if self.offset == len(first):
                self.chunks.popleft()
                self.offset = 0
        data = b"".join(parts)
        self.waiting -= len(data)
        return data


class SendQueue:
    """All waiting bytes of one connection. Pure: knows no engine, no clock, no loop."""

    def __init__(self, marks: Marks | None = None) -> None:
        self._marks = marks or Marks()
        self._streams: dict[int, _Stream] = {}
        self._ready: dict[int, deque[int]] = {}
        self._order: list[int] = []
        self._choked: dict[int, None] = {}
        self._full = False
        self._waiting = 0

    @property
    def waiting_bytes(self) -> int:
        """Bytes that wait, in all streams."""
        return self._waiting

    @property
    def is_ready(self) -> bool:
        """Whether a stream has something that nothing but the engine's room holds back."""
        return bool(self._order)

    def is_next(self, stream: int) -> bool:
        """Whether bytes of this stream would leave at once: nothing at all waits before them."""
        entry = self._streams.get(stream)
        return not self._order and entry is not None and not (entry.waiting or entry.fin)

    @property
    def is_choked(self) -> bool:
        """Whether a writer waits for `relieved`."""
        return bool(self._choked)

    def __contains__(self, stream: int) -> bool:
        return stream in self._streams

    def __len__(self) -> int:
        return len(self._streams)

    def open(self, stream: int, priority: int) -> None:
        """Add a stream; nothing waits in it yet."""
        self._streams[stream] = _Stream(priority)

    def push(self, stream: int, data: bytes, *, fin: bool) -> bool:
        """Queue bytes; False when the stream is unknown or has ended, and they are dropped.

        Raises:
            LocalError: the hard bound would be passed; nothing was queued.
        """
        entry = self._streams.get(stream)
        if entry is None or entry.fin:
            return False
        if self._waiting + len(data) > self._marks.hard:
            raise LocalError(
                f"{self._waiting + len(data)} bytes unsent on one connection,"
                f" at most {self._marks.hard} may wait; heed `writable` or `drain`"
            )
        if data:
            entry.chunks.append(data)
            entry.waiting += len(data)
            self._waiting += len(data)
        entry.fin = fin
        if self._waiting > self._marks.connection_high:
            self._full = True
        if entry.waiting > self._marks.stream_high or self._full:
            self._choked[stream] = None
        self._enqueue(stream, entry)
        return True

    def waiting(self, stream: int) -> int:
        """Count the bytes that wait in one stream."""
        entry = self._streams.get(stream)
        return entry.waiting if entry else 0

    def writable(self, stream: int) -> bool:
        """Whether a write is welcome; after False, `relieved` names the stream one day."""
        if stream in self._choked:
            return False
        if self._is_full() and stream in self._streams:
            self._choked[stream] = None
            return False
        return True

    def relieved(self) -> list[int]:
        """Take the streams whose writers may go on, those that were choked until now."""
        if self._is_full() or not self._choked:
            return []
        low = self._marks.stream_low
        found = [s for s in self._choked if s in self._streams and self._streams[s].waiting <= low]
        for stream in found:
            del self._choked[stream]
        return sorted(found)

    def _is_full(self) -> bool:
        """Whether the connection's high mark was passed and its low mark not yet reached."""
        if self._full and self._waiting <= self._marks.connection_low:
            self._full = False
        return self._full

    def set_priority(self, stream: int, priority: int) -> None:
        """Move a stream to another class; unknown streams are ignored."""
        entry = self._streams.get(stream)
        if entry is None or entry.priority == priority:
            return
        if entry.queued:
            self._dequeue(stream, entry)
            entry.priority = priority
            self._enqueue(stream, entry)
        else:
            entry.priority = priority

    def drop(self, stream: int) -> int:
        """Forget a stream and what waits in it; how many bytes those were."""
        entry = self._streams.pop(stream, None)
        self._choked.pop(stream, None)
        if entry is None:
            return 0
        if entry.queued:
            self._dequeue(stream, entry)
        self._waiting -= entry.waiting
        return entry.waiting

    def unpark(self, streams: Iterable[int]) -> None:
        """Let streams take part again: the peer gave them credit."""
        for stream in streams:
            entry = self._streams.get(stream)
            if entry is not None and entry.parked:
                entry.parked = False
                self._enqueue(stream, entry)

    def take(self, budget: int, allowance: Callable[[int], int]) -> list[Chunk]:
        """Take the next bytes to send, the most urgent first.

        A stream whose allowance is used up is parked: it costs nothing until `unpark`. An end
        has no bytes, so no budget keeps it back.

        Args:
            budget: how many bytes at most.
            allowance: how many bytes the peer's limits let this stream send now; negative
                when the peer has not even allowed the stream, so its end can't go either.
        """
        taken: list[Chunk] = []
        while self._order:
            stream = self._ready[self._order[0]][0]
            entry = self._streams[stream]
            if budget <= 0 and entry.waiting:
                break
            chunk = self._turn(stream, entry, min(budget, QUANTUM_BYTES), allowance(stream))
            if chunk is not None:
                taken.append(chunk)
                budget -= len(chunk.data)
        return taken

    def _turn(self, stream: int, entry: _Stream, room: int, allowed: int) -> Chunk | None:
        self._dequeue(stream, entry)
        size = min(room, allowed, entry.waiting)
        if allowed < 0 or (size <= 0 and entry.waiting):
            entry.parked = True
            return None
        data = entry.pull(size) if size > 0 else b""
        self._waiting -= len(data)
        fin = entry.fin and not entry.waiting
        if fin:
            del self._streams[stream]
            self._choked.pop(stream, None)
        else:
            self._enqueue(stream, entry)
        return Chunk(stream, data, fin) if data or fin else None

    def _enqueue(self, stream: int, entry: _Stream) -> None:
        if entry.queued or entry.parked or not (entry.waiting or entry.fin):
            return
        entry.queued = True
        turns = self._ready.get(entry.priority)
        if turns is None:
            self._ready[entry.priority] = deque((stream,))
            self._order.append(entry.priority)
            self._order.sort()
        else:
            turns.append(stream)

    def _dequeue(self, stream: int, entry: _Stream) -> None:
        entry.queued = False
        turns = self._ready[entry.priority]
        if turns[0] == stream:
            turns.popleft()
        else:
            turns.remove(stream)
        if not turns:
            del self._ready[entry.priority]
            self._order.remove(entry.priority)
