"""The sending half of a stream, which may send bytes again before they are lost."""

from aioquic.quic.packet import QuicStreamFrame
from aioquic.quic.packet_builder import QuicDeliveryState
from aioquic.quic.stream import QuicStreamSender

from moqvox.transport.aioquic.private.packets import (
    STREAM_HEAD_BYTES,
    SentFrame,
    stream_frame,
)
from moqvox.transport.aioquic.private.ranges import Ranges
from moqvox.transport.aioquic.streams import StreamTable
from moqvox.transport.aioquic.varint import encode_varint

__all__ = ["Sender"]


class Sender(QuicStreamSender):
    """A sending half with books of its own on every frame that is on the way.

    Upstream takes each byte to be on the way once. Here copies may be, and each is reported
    by itself: what has arrived is released once, and a loss is queued again only if no other
    frame still carries it. So every byte that was sent and not acknowledged is either queued
    or on the way, always. Until something is copied, there are no such books.
    """

    table: StreamTable

    def __init__(self, stream_id: int | None, writable: bool) -> None:
        super().__init__(stream_id, writable)
        self._acked, self._pending = Ranges(), Ranges()  # type: ignore[assignment]  # their place
        self._name = encode_varint(stream_id or 0)
        self._flying: dict[tuple[int, int, bool], int] | None = None
        self._copied_stop = 0

    @property
    def unsent_bytes(self) -> int:
        """Bytes never sent yet; those lost and due again don't count."""
        return self._buffer_stop - self.highest_offset

    @property
    def end_offset(self) -> int:
        """Bytes written so far."""
        return self._buffer_stop

    @property
    def held_bytes(self) -> int:
        """Bytes from the first that was not acknowledged to the last written."""
        return self._buffer_stop - self._buffer_start

    @property
    def released_offset(self) -> int:
        """Everything before it has arrived."""
        return self._buffer_start

    @property
    def takes_bytes(self) -> bool:
        """Whether neither the end nor a reset was queued."""
        return self._buffer_fin is None and self._reset_error_code is None

    def cut(self, room: int, max_offset: int) -> tuple[bytes, SentFrame] | None:
        """Take the next frame, encoded, and what it carries; None when nothing fits.

        Args:
            room: bytes of the whole frame, its head included.
            max_offset: how far the peer's limits let it reach.
        """
        pending = self._pending
        start = pending[0].start if pending else self._buffer_stop
        offset = encode_varint(start) if start else b""
        room -= STREAM_HEAD_BYTES + len(self._name) + len(offset)
        if room < 0:
            return None
        if pending:
            due = pending[0].stop
            stop = min(due, start + room, max_offset)
            if stop <= start:
                return None
            before = self._buffer_start
            data = bytes(self._buffer[start - before : stop - before])
            pending.subtract(start, stop)
            if stop > self.highest_offset:
                self.highest_offset = stop
            fin = stop == self._buffer_fin
        else:
            stop, data, fin = start, b"", self._pending_eof
        if fin:
            self._pending_eof = False
        self.buffer_is_empty = not (pending or self._pending_eof)
        if not (data or fin):
            return None
        if self._flying is not None:
            self._flies(start, stop, fin=fin)
        frame = stream_frame(self._name, offset, data, fin=fin)
        return frame, (self, start, stop, fin)

    def get_frame(self, max_size: int, max_offset: int | None = None) -> QuicStreamFrame | None:
        """Take the next frame; upstream finds out only at the next one that it was the last."""
        frame = super().get_frame(max_size, max_offset)
        if not (self._pending or self._pending_eof):
            self.buffer_is_empty = True
        if frame is not None and self._flying is not None:
            self._flies(frame.offset, frame.offset + len(frame.data), fin=frame.fin)
        return frame

    def _flies(self, start: int, stop: int, *, fin: bool) -> None:
        if self._flying is None:
            self._flying = {}
        self._flying[start, stop, fin] = self._flying.get((start, stop, fin), 0) + 1

    def lacks(self, start: int, stop: int) -> bool:
        """Whether any of these bytes has not arrived, as far as we know."""
        return bool(self._missing(start, stop))

    def repeat(self, start: int, stop: int) -> int:
        """Queue again what was sent of a range and not acknowledged; returns how many bytes."""
        again = self._missing(start, min(stop, self.highest_offset))
        if self._reset_error_code is not None:
            return 0
        for due in self._pending:
            again.subtract(due.start, due.stop)
        if self._flying is None and again:
            for place in self.table.under_way_of(self):
                self._flies(*place[:2], fin=place[2])
        size = 0
        for part in again:
            size += len(part)
            self._pending.add(part.start, part.stop)
            self._copied_stop = max(self._copied_stop, part.stop)
        if size:
            self.buffer_is_empty = False
            self.table.wake(self._stream_id)
        return size

    def on_data_delivery(
        self, delivery: QuicDeliveryState, start: int, stop: int, fin: bool
    ) -> None:
        """Note one frame's fate; a loss, and the last ACK, need the engine's attention."""
        if self._flying is not None:
            copies = self._flying.pop((start, stop, fin), 1)
            if copies > 1:
                self._flying[start, stop, fin] = copies - 1
        if not self._copied_stop:
            super().on_data_delivery(delivery, start, stop, fin)
        elif self._reset_error_code is None:
            if delivery == QuicDeliveryState.ACKED:
                self._arrived(start, stop, fin=fin)
            else:
                self._lost(start, stop, fin=fin)
        if self.is_finished or not self.buffer_is_empty:
            self.table.wake(self._stream_id)

    def arrived(self, start: int, stop: int, fin: bool) -> None:
        """Note that a frame was acknowledged; the usual one is the oldest, and was not copied."""
        if (
            start != self._buffer_start
            or self._acked
            or self._flying is not None
            or self._reset_error_code is not None
        ):
            self.on_data_delivery(QuicDeliveryState.ACKED, start, stop, fin)
            return
        if stop > start:
            self._buffer_start = stop
            del self._buffer[: stop - start]
        if fin:
            self._acked_fin = True
        if self._acked_fin and stop == self._buffer_fin:
            self.is_finished = True
            self.table.wake(self._stream_id)

    def on_reset_delivery(self, delivery: QuicDeliveryState) -> None:
        """Note a fate; either one needs the engine's attention."""
        super().on_reset_delivery(delivery)
        self.table.wake(self._stream_id)

    def reset(self, error_code: int) -> None:
        """Abandon; what was never sent is no longer on the engine's books."""
        if self._reset_error_code is None and not self.is_finished:
            self.table.fed_bytes -= self.unsent_bytes
        super().reset(error_code)
        self.table.wake(self._stream_id)

    def _arrived(self, start: int, stop: int, *, fin: bool) -> None:
        """Release bytes once; copies of them that wait need not leave any more."""
        fresh = min(max(start, self._buffer_start), stop)
        super().on_data_delivery(QuicDeliveryState.ACKED, fresh, stop, fin)
        if stop > start and self._pending:
            self._pending.subtract(start, stop)
        if fin:
            self._pending_eof = False
        if not (self._pending or self._pending_eof):
            self.buffer_is_empty = True

    def _lost(self, start: int, stop: int, *, fin: bool) -> None:
        """Queue what has neither arrived nor travels in another frame."""
        missing = self._missing(start, stop)
        if start < self._copied_stop:
            for first, last, _ in self._flying or ():
                if last > first:
                    missing.subtract(first, last)
        for part in missing:
            super().on_data_delivery(QuicDeliveryState.LOST, part.start, part.stop, fin=False)
        if fin and not self._acked_fin and not any(last for _, _, last in self._flying or ()):
            super().on_data_delivery(QuicDeliveryState.LOST, stop, stop, fin=True)

    def _missing(self, start: int, stop: int) -> Ranges:
        start = max(start, self._buffer_start)
        missing = Ranges()
        if stop > start:
            missing.add(start, stop)
            for done in self._acked:
                missing.subtract(done.start, done.stop)
        return missing
