"""The sending halves of a connection's streams: what waits, and what the peer allows."""

from collections import deque

from moqvox.errors import LocalError
from moqvox.transport.send_queue import Marks, SendQueue
from moqvox.transport.streams.frames import ResetStream, Segment, StopSending
from moqvox.transport.streams.grant import Grant
from moqvox.transport.streams.ids import STEP, first_id, index_of, is_bidirectional, is_from

__all__ = ["Sending"]

Control = ResetStream | StopSending


class _Half:
    """One sending half, until its end is on its way.

    Attributes:
        limit: bytes that the peer takes of it.
        pushed: bytes that were queued, sent or not.
        held: frames about the stream, while the peer must not hear of it.
    """

    __slots__ = ("held", "limit", "pushed", "sent")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.pushed = 0
        self.sent = 0
        self.held: list[Control] | None = None


class Sending:
    """All sending halves of one side.

    Nothing of a stream goes out before the peer has allowed the stream.

    Attributes:
        queue: bytes that wait.
        control: frames that go before any stream's bytes.
        over: streams whose sending half ended since this was last emptied.
        is_early: the peer has not answered yet, so only what is marked may leave; see `confirm`.
    """

    def __init__(
        self, marks: Marks, *, max_blocked_streams: int, max_segment_bytes: int, is_client: bool
    ) -> None:
        self.queue = SendQueue(marks)
        self.control: deque[Control] = deque()
        self.over: list[int] = []
        self.is_early = False
        self._shut: set[int] = set()
        self._is_client = is_client
        self._max_blocked_streams = max_blocked_streams
        self._max_segment_bytes = max_segment_bytes
        self._halves: dict[int, _Half] = {}
        self._blocked: set[int] = set()
        self._grant = Grant()
        self._limit = 0
        self._pushed = 0
        self._opened = {True: 0, False: 0}
        self._allowed = {True: 0, False: 0}

    def begin(self, grant: Grant) -> None:
        """Take the peer's first limits; until then they are all 0."""
        self._grant = grant
        for stream, half in self._halves.items():
            half.limit = self._first_limit(stream)
        self.allow_data(grant.max_data)
        self.allow_streams(grant.max_streams_bidi, bidirectional=True)
        self.allow_streams(grant.max_streams_uni, bidirectional=False)

    def confirm(self) -> None:
        """Let all streams send: the peer has answered."""
        self.is_early = False
        shut, self._shut = self._shut, set()
        self.queue.unpark(sorted(shut))

    def open(self, *, bidirectional: bool, priority: int, early: bool = False) -> int:
        """Open a stream of ours; see the contract."""
        index = self._opened[bidirectional]
        if index - self._allowed[bidirectional] >= self._max_blocked_streams:
            raise LocalError(
                f"{self._max_blocked_streams} streams wait for the peer's permission already"
            )
        self._opened[bidirectional] = index + 1
        stream = first_id(by_client=self._is_client, bidirectional=bidirectional) + STEP * index
        self.adopt(stream, priority=priority)
        if index >= self._allowed[bidirectional]:
            self._halves[stream].held = []
        if self.is_early and not early:
            self._shut.add(stream)
        return stream

    def adopt(self, stream: int, *, priority: int = 0) -> None:
        """Prepare to send on a stream, ours or the peer's."""
        self._halves[stream] = _Half(self._first_limit(stream))
        self.queue.open(stream, priority)

    def has_opened(self, stream: int) -> bool:
        """Whether a stream of our own kind was ever opened and allowed by the peer."""
        bidirectional = is_bidirectional(stream)
        most = min(self._opened[bidirectional], self._allowed[bidirectional])
        return index_of(stream) < most

    def write(self, stream: int, data: bytes, *, fin: bool) -> bool:
        """Queue bytes; False when they are dropped because the stream has ended."""
        if not self.queue.push(stream, data, fin=fin):
            return False
        self._halves[stream].pushed += len(data)
        self._pushed += len(data)
        return True

    def abandon(self, stream: int, code: int) -> bool:
        """Reset a stream; False when its end was sent already."""
        if stream not in self.queue:
            return False
        self._pushed -= self.queue.drop(stream)
        self._blocked.discard(stream)
        self.over.append(stream)
        half = self._halves[stream]
        frame = ResetStream(stream, code, half.sent)
        if half.held is None:
            del self._halves[stream]
            self.control.append(frame)
        else:
            half.held.append(frame)
        return True

    def has_left(self, stream: int) -> bool:
        """Whether nothing of a stream waits here any more, its end included."""
        return stream not in self._halves

    def say(self, stream: int, frame: Control) -> None:
        """Send a frame about a stream, as soon as the peer may hear of the stream."""
        half = self._halves.get(stream)
        if half is not None and half.held is not None:
            half.held.append(frame)
        else:
            self.control.append(frame)

    @property
    def is_settled(self) -> bool:
        """Whether all that was queued is on its way."""
        return not (self.control or self.queue.is_ready or self._blocked)

    def take(self, budget: int) -> list[Segment]:
        """Take the next bytes to send, the most urgent first; pieces of a stream are joined."""
        segments: list[Segment] = []
        for chunk in self.queue.take(budget, self._allowance):
            half = self._halves[chunk.stream]
            last = segments[-1] if segments else None
            if (
                last is not None
                and last.stream == chunk.stream
                and len(last.data) + len(chunk.data) <= self._max_segment_bytes
            ):
                data = last.data + chunk.data
                segments[-1] = Segment(chunk.stream, last.offset, data, chunk.fin)
            else:
                segments.append(Segment(chunk.stream, half.sent, chunk.data, chunk.fin))
            half.sent += len(chunk.data)
            if chunk.fin:
                del self._halves[chunk.stream]
                self.over.append(chunk.stream)
        return segments

    def allow_data(self, limit: int) -> None:
        """Take credit for all streams."""
        if limit > self._limit:
            self._limit = limit
            self._unblock(set(self._blocked))

    def allow_stream_data(self, stream: int, limit: int) -> None:
        """Take credit for one stream."""
        half = self._halves.get(stream)
        if half is not None and limit > half.limit:
            half.limit = limit
            self._unblock({stream})

    def allow_streams(self, count: int, *, bidirectional: bool) -> None:
        """Take permission for more streams."""
        before = self._allowed[bidirectional]
        if count <= before:
            return
        self._allowed[bidirectional] = count
        first = first_id(by_client=self._is_client, bidirectional=bidirectional)
        for index in range(before, min(count, self._opened[bidirectional])):
            self._release(first + STEP * index)

    def _release(self, stream: int) -> None:
        half = self._halves.get(stream)
        if half is None or half.held is None:
            return
        self.control.extend(half.held)
        half.held = None
        if stream in self.queue:
            self._unblock({stream})
        else:
            del self._halves[stream]

    def _first_limit(self, stream: int) -> int:
        grant = self._grant
        if not is_bidirectional(stream):
            return grant.max_stream_data_uni
        if is_from(stream, client=self._is_client):
            return grant.max_stream_data_bidi_remote
        return grant.max_stream_data_bidi_local

    def _allowance(self, stream: int) -> int:
        """Count what may go now; what the queue has handed out is no longer waiting there."""
        half = self._halves[stream]
        if stream in self._shut:
            return -1
        if half.held is not None:
            self._blocked.add(stream)
            return -1
        of_stream = half.limit - (half.pushed - self.queue.waiting(stream))
        of_all = self._limit - (self._pushed - self.queue.waiting_bytes)
        allowed = max(0, min(of_stream, of_all))
        if not allowed and self.queue.waiting(stream):
            self._blocked.add(stream)
        return allowed

    def _unblock(self, streams: set[int]) -> None:
        self._blocked -= streams
        self.queue.unpark(sorted(streams))
