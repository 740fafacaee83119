"""The receiving halves of a connection's streams: order restored, credit for what was read."""

from moqvox.transport.inbox import Inbox
from moqvox.transport.memory.packet import (
    Frame,
    MaxData,
    MaxStreamData,
    MaxStreams,
    ResetStream,
    Segment,
)
from moqvox.transport.memory.settings import Limits

__all__ = ["Incoming"]

CREDIT_STEPS = 4
"""Credit goes out once a quarter of a window was read: one frame for many reads."""

STEP = 4
"""Stream IDs of one kind are this far apart (RFC 9000, section 2.1)."""


class _Past:
    """Streams of one kind that are over, in the space of those that are not in order."""

    def __init__(self) -> None:
        self._floor = 0
        self._above: set[int] = set()

    def add(self, index: int) -> None:
        self._above.add(index)
        while self._floor in self._above:
            self._above.discard(self._floor)
            self._floor += 1

    def __contains__(self, index: int) -> bool:
        return index < self._floor or index in self._above


class _Stream:
    """One receiving half, until its end was read.

    Attributes:
        early: segments that came before the bytes in front of them, by offset.
        next: offset of the first byte that is missing.
        handed: bytes that count as read.
        limit: bytes that the peer may send.
    """

    __slots__ = ("early", "handed", "is_over", "is_stopped", "limit", "next")

    def __init__(self, limit: int) -> None:
        self.early: dict[int, Segment] = {}
        self.next = 0
        self.handed = 0
        self.limit = limit
        self.is_over = False
        self.is_stopped = False


class Incoming:
    """All receiving halves of one side.

    Attributes:
        credit: limits to tell the peer, the newest of each kind.
        met: bidirectional streams of the peer's that were heard of since this was emptied.
    """

    def __init__(self, limits: Limits, inbox: Inbox, *, is_client: bool) -> None:
        self.credit: dict[tuple[type[Frame], int], Frame] = {}
        self.met: list[int] = []
        self._limits = limits
        self._inbox = inbox
        self._peer_bit = 1 if is_client else 0
        self._streams: dict[int, _Stream] = {}
        self._half_open: dict[int, int] = {}
        self._past = {True: _Past(), False: _Past()}
        self._ended = {True: 0, False: 0}
        self._allowed = {True: limits.max_bidi_streams, False: limits.max_uni_streams}
        self._handed = 0
        self._limit = limits.connection_window_bytes

    def expect(self, stream: int) -> None:
        """Prepare for the peer's half of a stream that we opened."""
        self._streams[stream] = _Stream(self._limits.stream_window_bytes)

    def meet(self, stream: int) -> _Stream | None:
        """Find a stream, announcing one of the peer's on first sight; None: it is over."""
        entry = self._streams.get(stream)
        index, kind = divmod(stream, STEP)
        bidirectional = kind < 2
        if entry is not None or kind & 1 != self._peer_bit or index in self._past[bidirectional]:
            return entry
        if stream in self._half_open:
            return None
        entry = self._streams[stream] = _Stream(self._limits.stream_window_bytes)
        self._half_open[stream] = 2 if bidirectional else 1
        self._inbox.opened(stream, bidirectional=bidirectional)
        if bidirectional:
            self.met.append(stream)
        return entry

    def receive(self, segment: Segment) -> None:
        """Take bytes, in whatever order they come."""
        stream = segment.stream
        entry = self.meet(stream)
        if entry is None or entry.is_over:
            return
        entry.early[segment.offset] = segment
        while (found := entry.early.pop(entry.next, None)) is not None:
            entry.next += len(found.data)
            entry.is_over = found.fin
            if entry.is_stopped:
                self._read(stream, entry, len(found.data), is_end=found.fin)
            else:
                self._inbox.data(stream, found.data, fin=found.fin)
            if found.fin:
                return

    def reset(self, frame: ResetStream) -> None:
        """Take the peer's reset: what is missing won't come and counts as read."""
        entry = self.meet(frame.stream)
        if entry is None or entry.is_over:
            return
        entry.is_over = True
        entry.early.clear()
        self._hand_over_bytes(frame.final_bytes - entry.next)
        self._inbox.reset(frame.stream, frame.code)

    def stop(self, stream: int) -> bool:
        """Suppress what still comes; False when nothing can come."""
        entry = self._streams.get(stream)
        if entry is None or entry.is_stopped:
            return False
        entry.is_stopped = True
        return not entry.is_over

    def hand_over(self, stream: int, size: int, *, is_end: bool) -> bool:
        """Note what the application reads now; False when it must not see it."""
        entry = self._streams.get(stream)
        if entry is None:
            self._hand_over_bytes(size)
            return False
        self._read(stream, entry, size, is_end=is_end)
        return not entry.is_stopped

    def half_over(self, stream: int) -> None:
        """Note that one half of a stream is over; both: the peer may open another one."""
        left = self._half_open.get(stream)
        if left is None:
            return
        if left > 1:
            self._half_open[stream] = left - 1
            return
        del self._half_open[stream]
        index, kind = divmod(stream, STEP)
        bidirectional = kind < 2
        self._past[bidirectional].add(index)
        self._ended[bidirectional] += 1
        limits = self._limits
        most = limits.max_bidi_streams if bidirectional else limits.max_uni_streams
        count = most + self._ended[bidirectional]
        if (count - self._allowed[bidirectional]) * CREDIT_STEPS >= most:
            self._allowed[bidirectional] = count
            self.credit[MaxStreams, int(bidirectional)] = MaxStreams(bidirectional, count)

    def _read(self, stream: int, entry: _Stream, size: int, *, is_end: bool) -> None:
        self._hand_over_bytes(size)
        entry.handed += size
        if is_end:
            del self._streams[stream]
            self.half_over(stream)
            return
        window = self._limits.stream_window_bytes
        limit = entry.handed + window
        if (limit - entry.limit) * CREDIT_STEPS >= window and not entry.is_over:
            entry.limit = limit
            self.credit[MaxStreamData, stream] = MaxStreamData(stream, limit)

    def _hand_over_bytes(self, size: int) -> None:
        self._handed += size
        window = self._limits.connection_window_bytes
        limit = self._handed + window
        if (limit - self._limit) * CREDIT_STEPS >= window:
            self._limit = limit
            self.credit[MaxData, 0] = MaxData(limit)
