"""The streams and datagrams of one link: what waits to be sent, what the engine has of it."""

from abc import ABC, abstractmethod

from moqvox.errors import LocalError
from moqvox.transport.aioquic.limits import Limits
from moqvox.transport.aioquic.private import Engine
from moqvox.transport.send_queue import SendQueue

__all__ = ["LinkStreams"]


class LinkStreams(ABC):
    """What a connection does with its link's streams, as QUIC numbers them.

    Bytes go to the engine at once where nothing waits before them and they fit, else into the
    send queue; whoever carries the link out feeds the engine from there.

    Attributes:
        engine: of the link.
        table: the engine's streams.
        limits: bounds of the link.
    """

    def __init__(self, engine: Engine, limits: Limits) -> None:
        self.engine = engine
        self.table = engine.table
        self.limits = limits
        self._queue = SendQueue(limits.marks)

    @abstractmethod
    def touch(self) -> None:
        """Send at the end of this turn: there is something new to say."""

    @property
    @abstractmethod
    def is_closing(self) -> bool:
        """Whether nothing new is taken any more."""

    def open_stream(self, *, bidirectional: bool, priority: int, early: bool = False) -> int:
        """Open a stream; see the contract."""
        if self.engine.blocked_streams >= self.limits.max_blocked_streams:
            raise LocalError(
                f"{self.engine.blocked_streams} streams wait for the peer's permission already"
            )
        stream = self.engine.open_stream(
            bidirectional=bidirectional, priority=priority, early=early
        )
        self._queue.open(stream, priority)
        return stream

    def adopt_stream(self, stream: int) -> None:
        """Prepare to write to a stream that the peer opened."""
        self._queue.open(stream, 0)

    def write(self, stream: int, data: bytes, *, fin: bool) -> None:
        """Queue bytes; see the contract."""
        if self._queue.is_next(stream) and self.engine.takes(stream, len(data)):
            if fin:
                self._queue.drop(stream)
            self.table.feed(stream, data, fin=fin)
        elif not self._queue.push(stream, data, fin=fin):
            return
        self.touch()

    def writable(self, stream: int) -> bool:
        """Whether the stream takes more; see the contract."""
        return self._queue.writable(stream)

    def settled(self, stream: int) -> bool:
        """Whether a stream's bytes and its end, or its reset, are acknowledged."""
        return stream not in self._queue and self.table.settled(stream)

    def set_priority(self, stream: int, priority: int) -> None:
        """Change the order of sending."""
        self._queue.set_priority(stream, priority)
        self.table.set_priority(stream, priority)

    def reset(self, stream: int, code: int) -> None:
        """Abandon our side; what waits is dropped."""
        self._queue.drop(stream)
        self.table.abandon(stream, code)
        self.touch()

    def drop(self, stream: int) -> None:
        """Forget what waits for a stream that the engine has reset already."""
        self._queue.drop(stream)

    def stop(self, stream: int, code: int) -> None:
        """Ask the peer to stop."""
        self.table.refuse(stream, code)
        self.touch()

    def hand_over(self, stream: int, size: int) -> None:
        """Credit the peer for bytes that were read."""
        if self.table.hand_over(stream, size):
            self.touch()

    def release(self, stream: int) -> None:
        """Let a stream go whose end was read."""
        if self.table.release(stream):
            self.touch()

    def send_datagram(self, data: bytes, *, early: bool = False) -> bool:
        """Queue a datagram if it fits and may leave; see the contract."""
        engine = self.engine
        if self.is_closing or len(data) > engine.max_datagram_payload:
            return False
        if engine.is_early and not early:
            return False
        if engine.queued_datagrams >= self.limits.max_datagrams:
            return False
        engine.send_datagram_frame(data)
        self.touch()
        return True
