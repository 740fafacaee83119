"""The receiving halves of a connection's streams: what the peer may send, credit for what was read.

Every number in a peer's frame is checked here before it counts for anything.
"""

from typing import Protocol

from moqvox.transport.inbox import Inbox
from moqvox.transport.streams.frames import (
    MaxData,
    MaxStreamData,
    MaxStreams,
    ResetStream,
    Segment,
)
from moqvox.transport.streams.ids import index_of, is_bidirectional, is_from
from moqvox.transport.streams.violation import TransportCode, Violation

__all__ = ["Credit", "Half", "Receiving", "Windows"]

Credit = MaxData | MaxStreamData | MaxStreams

CREDIT_STEPS = 4
"""Credit goes out once a quarter of a window was read: one frame for many reads."""


class Windows(Protocol):
    """What a connection may hold of a peer's; see the adapters' `Limits`."""

    @property
    def stream_window_bytes(self) -> int:
        """Received and unread bytes of one stream."""

    @property
    def connection_window_bytes(self) -> int:
        """Received and unread bytes of all streams."""

    @property
    def max_bidi_streams(self) -> int:
        """Streams of both directions that the peer may have open at once."""

    @property
    def max_uni_streams(self) -> int:
        """Streams of its own direction that the peer may have open at once."""


class Half:
    """One receiving half, until its end was read.

    Attributes:
        received: bytes that came, or that a reset says were sent.
        handed: bytes that count as read.
        limit: bytes that the peer may send.
        is_over: the peer has ended or reset it.
        is_stopped: we have asked the peer to stop.
    """

    __slots__ = ("handed", "is_over", "is_stopped", "limit", "received")

    def __init__(self, limit: int) -> None:
        self.received = 0
        self.handed = 0
        self.limit = limit
        self.is_over = False
        self.is_stopped = False


class _Arrivals:
    """Which of the peer's streams of one kind were heard of.

    Opening a stream opens all before it (RFC 9000, section 3.2); those that were passed
    over still count as open, so there are never more of them than the limit allows.
    """

    __slots__ = ("allowed", "ended", "most", "next", "skipped")

    def __init__(self, most: int) -> None:
        self.most = most
        self.allowed = most
        self.ended = 0
        self.next = 0
        self.skipped: set[int] = set()

    def is_new(self, index: int) -> bool:
        """Whether this is the first that is heard of a stream.

        Raises:
            Violation: the stream is beyond the limit.
        """
        if index >= self.allowed:
            raise Violation(
                TransportCode.STREAM_LIMIT_ERROR,
                f"stream number {index} of its kind, {self.allowed} are allowed",
            )
        if index < self.next:
            return index in self.skipped
        return True

    def add(self, index: int) -> None:
        """Note a new stream."""
        if index < self.next:
            self.skipped.discard(index)
            return
        self.skipped.update(range(self.next, index))
        self.next = index + 1


class Receiving:
    """All receiving halves of one side.

    Attributes:
        credit: limits to tell the peer, the newest of each kind.
        met: bidirectional streams of the peer's that were heard of since this was emptied.
    """

    def __init__(self, windows: Windows, inbox: Inbox, *, is_client: bool) -> None:
        self.credit: dict[tuple[type, int], Credit] = {}
        self.met: list[int] = []
        self._windows = windows
        self._inbox = inbox
        self._is_client = is_client
        self._halves: dict[int, Half] = {}
        self._half_open: dict[int, int] = {}
        self._arrivals = {
            True: _Arrivals(windows.max_bidi_streams),
            False: _Arrivals(windows.max_uni_streams),
        }
        self._received = 0
        self._handed = 0
        self._limit = windows.connection_window_bytes

    def expect(self, stream: int) -> None:
        """Prepare for the peer's half of a stream that we opened."""
        self._halves[stream] = Half(self._windows.stream_window_bytes)

    def meet(self, stream: int) -> Half | None:
        """Find a stream, announcing one of the peer's on first sight; None: it is over.

        Raises:
            Violation: the peer may not open it yet.
        """
        half = self._halves.get(stream)
        if half is not None or is_from(stream, client=self._is_client):
            return half
        bidirectional = is_bidirectional(stream)
        arrivals = self._arrivals[bidirectional]
        index = index_of(stream)
        if not arrivals.is_new(index):
            return None
        arrivals.add(index)
        half = self._halves[stream] = Half(self._windows.stream_window_bytes)
        self._half_open[stream] = 2 if bidirectional else 1
        self._inbox.opened(stream, bidirectional=bidirectional)
        if bidirectional:
            self.met.append(stream)
        return half

    def receive(self, segment: Segment) -> None:
        """Take the next bytes of a stream.

        Raises:
            Violation: they are beyond a limit, or not the next ones.
        """
        half = self.meet(segment.stream)
        size = len(segment.data)
        if half is None or half.is_over:
            self._count(size)
            self._hand_over_bytes(size)
            return
        if segment.offset is not None and segment.offset != half.received:
            raise Violation(
                TransportCode.PROTOCOL_VIOLATION,
                f"bytes at {segment.offset} of stream {segment.stream}, {half.received} is next",
            )
        self._grow(segment.stream, half, half.received + size)
        half.is_over = segment.fin
        if half.is_stopped:
            self._read(segment.stream, half, size, is_end=segment.fin)
        elif size or segment.fin:
            self._inbox.data(segment.stream, segment.data, fin=segment.fin)

    def reset(self, frame: ResetStream) -> None:
        """Take the peer's reset: what it says was sent and did not come counts as read.

        Raises:
            Violation: the final size is beyond a limit.
        """
        half = self.meet(frame.stream)
        if half is None or half.is_over:
            return
        missing = max(0, frame.final_bytes - half.received)
        self._grow(frame.stream, half, half.received + missing)
        half.is_over = True
        self._hand_over_bytes(missing)
        self._inbox.reset(frame.stream, frame.code)

    def stop(self, stream: int) -> bool:
        """Suppress what still comes; False when nothing can come."""
        half = self._halves.get(stream)
        if half is None or half.is_stopped:
            return False
        half.is_stopped = True
        return not half.is_over

    def hand_over(self, stream: int, size: int, *, is_end: bool) -> bool:
        """Note what the application reads now; False when it must not see it."""
        half = self._halves.get(stream)
        if half is None:
            self._hand_over_bytes(size)
            return False
        self._read(stream, half, size, is_end=is_end)
        return not half.is_stopped

    def half_over(self, stream: int) -> None:
        """Note that one half of a stream is over; both: the peer may open another one."""
        left = self._half_open.get(stream)
        if left is None:
            return
        if left > 1:
            self._half_open[stream] = left - 1
            return
        del self._half_open[stream]
        bidirectional = is_bidirectional(stream)
        arrivals = self._arrivals[bidirectional]
        arrivals.ended += 1
        count = arrivals.most + arrivals.ended
        if (count - arrivals.allowed) * CREDIT_STEPS >= arrivals.most:
            arrivals.allowed = count
            self.credit[MaxStreams, int(bidirectional)] = MaxStreams(bidirectional, count)

    def take_credit(self) -> list[Credit]:
        """Take the limits to tell the peer."""
        credit = list(self.credit.values())
        self.credit.clear()
        return credit

    def _grow(self, stream: int, half: Half, received: int) -> None:
        if received > half.limit:
            raise Violation(
                TransportCode.FLOW_CONTROL_ERROR,
                f"{received} bytes on stream {stream}, {half.limit} are allowed",
            )
        self._count(received - half.received)
        half.received = received

    def _count(self, size: int) -> None:
        self._received += size
        if self._received > self._limit:
            raise Violation(
                TransportCode.FLOW_CONTROL_ERROR,
                f"{self._received} bytes on all streams, {self._limit} are allowed",
            )

    def _read(self, stream: int, half: Half, size: int, *, is_end: bool) -> None:
        self._hand_over_bytes(size)
        half.handed += size
        if is_end:
            del self._halves[stream]
            self.credit.pop((MaxStreamData, stream), None)
            self.half_over(stream)
            return
        window = self._windows.stream_window_bytes
        limit = half.handed + window
        if (limit - half.limit) * CREDIT_STEPS >= window and not half.is_over:
            half.limit = limit
            self.credit[MaxStreamData, stream] = MaxStreamData(stream, limit)

    def _hand_over_bytes(self, size: int) -> None:
        self._handed += size
        window = self._windows.connection_window_bytes
        limit = self._handed + window
        if (limit - self._limit) * CREDIT_STEPS >= window:
            self._limit = limit
            self.credit[MaxData, 0] = MaxData(limit)
