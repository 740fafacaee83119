"""The sending halves of a connection's streams: what waits, what may go, what was heard."""

from collections import deque

from moqvox.errors import LocalError
from moqvox.transport.memory.packet import Frame, ResetStream, Segment
from moqvox.transport.memory.settings import Limits
from moqvox.transport.send_queue import SendQueue

__all__ = ["Outgoing"]

STEP = 4
"""Stream IDs of one kind are this far apart (RFC 9000, section 2.1)."""


class _Stream:
    """One sending half, until all of it is acknowledged."""

    __slots__ = ("held", "is_halted", "is_over", "limit", "offset", "outstanding", "pushed")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.pushed = 0
        self.offset = 0
        self.outstanding = 0
        self.is_over = False
        self.is_halted = False
        self.held: list[Frame] | None = None


class Outgoing:
    """All sending halves of one side.

    Attributes:
        control: frames that go before any stream's bytes.
        over: streams whose sending half ended since this was last emptied.
    """

    def __init__(self, limits: Limits, *, is_client: bool) -> None:
        self.queue = SendQueue(limits.marks)
        self.control: deque[Frame] = deque()
        self.over: list[int] = []
        self._limits = limits
        self._streams: dict[int, _Stream] = {}
        self._blocked: set[int] = set()
        self._limit = limits.connection_window_bytes
        self._pushed = 0
        self._first = {True: 0 if is_client else 1, False: 2 if is_client else 3}
        self._opened = {True: 0, False: 0}
        self._allowed = {True: limits.max_bidi_streams, False: limits.max_uni_streams}

    def open(self, *, bidirectional: bool, priority: int) -> int:
        """Open a stream of ours; see the contract."""
        index = self._opened[bidirectional]
        if index - self._allowed[bidirectional] >= self._limits.max_blocked_streams:
            raise LocalError(
                f"{self._limits.max_blocked_streams} streams wait for the peer's permission already"
            )
        self._opened[bidirectional] = index + 1
        stream = self._first[bidirectional] + STEP * index
        self.adopt(stream, priority=priority)
        if index >= self._allowed[bidirectional]:
            self._streams[stream].held = []
        return stream

    def adopt(self, stream: int, *, priority: int = 0) -> None:
        """Prepare to send on a stream, ours or the peer's."""
        self._streams[stream] = _Stream(self._limits.stream_window_bytes)
        self.queue.open(stream, priority)

    def write(self, stream: int, data: bytes, *, fin: bool) -> bool:
        """Queue bytes; False when they are dropped because the stream has ended."""
        if not self.queue.push(stream, data, fin=fin):
            return False
        self._streams[stream].pushed += len(data)
        self._pushed += len(data)
        return True

    def reset(self, stream: int, code: int) -> bool:
        """Abandon a stream; False when it is over anyway, its end sent or abandoned before."""
        entry = self._streams.get(stream)
        if entry is None or entry.is_over:
            return False
        self._abandon(stream, entry, code)
        return True

    def halt(self, stream: int, code: int) -> bool:
        """Obey a STOP_SENDING; False when there is nothing to stop any more.

        A stream whose end was sent is reset all the same while that is not acknowledged.
        """
        entry = self._streams.get(stream)
        if entry is None or entry.is_halted:
            return False
        self._abandon(stream, entry, code)
        return True

    def send_control(self, stream: int, frame: Frame) -> None:
        """Send a frame about a stream, as soon as the peer may hear of the stream."""
        entry = self._streams.get(stream)
        if entry is not None and entry.held is not None:
            entry.held.append(frame)
        else:
            self.control.append(frame)

    def take(self, budget: int) -> list[Segment]:
        """Take the next bytes to send, the most urgent first."""
        segments: list[Segment] = []
        for chunk in self.queue.take(budget, self._allowance):
            entry = self._streams[chunk.stream]
            segments.append(Segment(chunk.stream, entry.offset, chunk.data, chunk.fin))
            entry.offset += len(chunk.data)
            entry.outstanding += 1
            if chunk.fin:
                entry.is_over = True
                self.over.append(chunk.stream)
        return segments

    def take_control(self) -> list[Frame]:
        """Take the control frames that wait."""
        frames = list(self.control)
        self.control.clear()
        return frames

    def is_wanted(self, frame: Frame) -> bool:
        """Whether a lost frame is worth sending again; if not, it counts as heard."""
        if isinstance(frame, Segment):
            entry = self._streams.get(frame.stream)
            if entry is None or entry.is_halted:
                self.heard(frame)
                return False
        return True

    def heard(self, frame: Frame) -> None:
        """Note an acknowledgement; a half that is over and heard in whole is forgotten."""
        if isinstance(frame, (Segment, ResetStream)):
            entry = self._streams.get(frame.stream)
            if entry is not None:
                entry.outstanding -= 1
                if entry.is_over and not entry.outstanding:
                    del self._streams[frame.stream]

    def is_heard(self, stream: int) -> bool:
        """Whether a half that is over is acknowledged in whole."""
        return stream not in self._streams

    def allow_data(self, limit: int) -> None:
        """Take credit for all streams."""
        if limit > self._limit:
            self._limit = limit
            self._unblock(set(self._blocked))

    def allow_stream_data(self, stream: int, limit: int) -> None:
        """Take credit for one stream."""
        entry = self._streams.get(stream)
        if entry is not None and limit > entry.limit:
            entry.limit = limit
            self._unblock({stream})

    def allow_streams(self, count: int, *, bidirectional: bool) -> None:
        """Take permission for more streams."""
        before = self._allowed[bidirectional]
        if count <= before:
            return
        self._allowed[bidirectional] = count
        for index in range(before, min(count, self._opened[bidirectional])):
            stream = self._first[bidirectional] + STEP * index
            entry = self._streams.get(stream)
            if entry is not None and entry.held is not None:
                self.control.extend(entry.held)
                entry.held = None
                self._unblock({stream})

    def _abandon(self, stream: int, entry: _Stream, code: int) -> None:
        self._pushed -= self.queue.drop(stream)
        self._blocked.discard(stream)
        entry.is_halted = True
        entry.outstanding += 1
        if not entry.is_over:
            entry.is_over = True
            self.over.append(stream)
        self.send_control(stream, ResetStream(stream, code, entry.offset))

    def _allowance(self, stream: int) -> int:
        """Count what may go now; what the queue has handed out is no longer waiting there."""
        entry = self._streams[stream]
        if entry.held is not None:
            self._blocked.add(stream)
            return -1
        of_stream = entry.limit - (entry.pushed - self.queue.waiting(stream))
        of_all = self._limit - (self._pushed - self.queue.waiting_bytes)
        allowed = max(0, min(of_stream, of_all))
        if not allowed:
            self._blocked.add(stream)
        return allowed

    def _unblock(self, streams: set[int]) -> None:
        self._blocked -= streams
        self.queue.unpark(sorted(streams))
