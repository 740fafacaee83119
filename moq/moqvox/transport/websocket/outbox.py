"""Packs what is to be said into messages: control first, then datagrams, then streams."""

from collections import deque
from typing import Final

from moqvox.transport.streams.receiving import Receiving
from moqvox.transport.streams.sending import Sending
from moqvox.transport.websocket.frames import Datagram, Frame, Ping, Pong, encode_frame
from moqvox.transport.websocket.limits import MAX_MESSAGE_BYTES, MAX_SEGMENT_BYTES
from moqvox.transport.websocket.parameters import DEFAULT_RECORD_BYTES, Parameters
from moqvox.transport.websocket.subprotocols import QmuxVersion

__all__ = ["DATAGRAM_OVERHEAD_BYTES", "Outbox"]

DATAGRAM_OVERHEAD_BYTES: Final = 1 + 4
"""Type and length in front of a datagram's bytes."""


class Outbox:
    """One side's way out. Holds few bytes of its own: streams wait in their queue.

    Attributes:
        pong: number of the newest ping that is not answered yet; older ones need no answer.
        max_datagram_bytes: largest datagram that the peer takes; 0: none.
    """

    def __init__(
        self, version: QmuxVersion, sending: Sending, receiving: Receiving, *, max_datagrams: int
    ) -> None:
        self.pong: int | None = None
        self._version = version
        self._sending = sending
        self._receiving = receiving
        self._max_datagrams = max_datagrams
        self._datagrams: deque[bytes] = deque()
        self._pings = 0
        self._is_ping_due = False
        self._record_bytes = DEFAULT_RECORD_BYTES if version.has_records else MAX_MESSAGE_BYTES
        self.max_datagram_bytes = 0

    def begin(self, parameters: Parameters) -> None:
        """Take the peer's limits on messages and datagrams."""
        if not self._version.has_records:
            return
        self._record_bytes = min(parameters.max_record_bytes, MAX_MESSAGE_BYTES)
        if self._version.has_datagrams:
            most = min(parameters.max_datagram_frame_bytes, self._record_bytes)
            self.max_datagram_bytes = max(0, most - DATAGRAM_OVERHEAD_BYTES)

    @property
    def pings(self) -> int:
        """How many pings were sent: their numbers are below this."""
        return self._pings

    def ping(self) -> None:
        """Send a ping with the next message."""
        self._is_ping_due = True

    def add_datagram(self, data: bytes) -> bool:
        """Queue a datagram; False when it is too large or too many wait."""
        if len(data) > self.max_datagram_bytes or not self.max_datagram_bytes:
            return False
        if len(self._datagrams) >= self._max_datagrams:
            return False
        self._datagrams.append(data)
        return True

    @property
    def is_settled(self) -> bool:
        """Whether all that was queued is on its way."""
        return self._sending.is_settled and not (self._datagrams or self._receiving.credit)

    def take(self) -> list[bytes]:
        """Take the next messages, about one full one; an empty list when there is nothing.

        All of them must be sent before anything else is.
        """
        frames = self._take_control()
        size = 0
        while self._datagrams and size < MAX_SEGMENT_BYTES:
            data = self._datagrams.popleft()
            frames.append(encode_frame(Datagram(data)))
            size += len(data)
        if size < MAX_SEGMENT_BYTES:
            frames.extend(map(encode_frame, self._sending.take(MAX_SEGMENT_BYTES - size)))
        return self._pack(frames)

    def _take_control(self) -> list[bytes]:
        control: list[Frame] = [*self._receiving.take_credit()]
        control.extend(self._sending.control)
        self._sending.control.clear()
        if self.pong is not None:
            control.append(Pong(self.pong))
            self.pong = None
        if self._is_ping_due:
            control.append(Ping(self._pings))
            self._pings += 1
            self._is_ping_due = False
        return [encode_frame(frame) for frame in control]

    def _pack(self, frames: list[bytes]) -> list[bytes]:
        if not self._version.has_records:
            return frames
        messages: list[bytes] = []
        waiting: list[bytes] = []
        size = 0
        for frame in frames:
            if size + len(frame) > self._record_bytes:
                messages.append(b"".join(waiting))
                waiting.clear()
                size = 0
            waiting.append(frame)
            size += len(frame)
        if waiting:
            messages.append(b"".join(waiting))
        return messages
