"""The receiving half of a stream, with a bound on its gaps."""

from aioquic.quic.connection import QuicConnectionError
from aioquic.quic.events import StreamDataReceived
from aioquic.quic.packet import QuicErrorCode, QuicFrameType, QuicStreamFrame
from aioquic.quic.packet_builder import QuicDeliveryState
from aioquic.quic.stream import QuicStreamReceiver

from moqvox.transport.aioquic.limits import MAX_GAPS
from moqvox.transport.aioquic.streams import StreamTable

__all__ = ["Receiver"]


class Receiver(QuicStreamReceiver):
    """A receiving half with a bound on gaps, and thereby on the ranges that it keeps."""

    table: StreamTable

    def on_stop_sending_delivery(self, delivery: QuicDeliveryState) -> None:
        """Note a fate; what was lost is due again, for which the stream must be looked at."""
        super().on_stop_sending_delivery(delivery)
        if self.stop_pending:
            self.table.wake(self._stream_id)

    def handle_frame(self, frame: QuicStreamFrame) -> StreamDataReceived | None:
        """Take a frame; too many gaps are the peer's attack, not the network's loss."""
        if len(self._ranges) > MAX_GAPS:
            raise QuicConnectionError(
                QuicErrorCode.INTERNAL_ERROR, QuicFrameType.STREAM_BASE, "too many gaps in a stream"
            )
        return super().handle_frame(frame)

    def news_in(self, offset: int, size: int) -> int:
        """Count the new bytes of so many from there on; 0 also if any before them are missing."""
        start = self._buffer_start
        if start != self.highest_offset or offset > start or self.is_finished:
            return 0
        return max(0, offset + size - start) if self._final_size is None else 0

    def take(self, stream_id: int, offset: int, data: bytes, fin: bool) -> StreamDataReceived:
        """Take bytes of which some are new, and none before them are missing."""
        start = self._buffer_start
        stop = self.highest_offset = self._buffer_start = offset + len(data)
        if fin:
            self._final_size = stop
            self.is_finished = True
        fresh = data[start - offset :] if offset < start else data
        return StreamDataReceived(data=fresh, end_stream=fin, stream_id=stream_id)
