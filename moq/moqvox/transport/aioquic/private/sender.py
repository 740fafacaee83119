"""The sending half of a stream."""

from aioquic.quic.packet import QuicStreamFrame
from aioquic.quic.packet_builder import QuicDeliveryState
from aioquic.quic.stream import QuicStreamSender

from moqvox.transport.aioquic.streams import StreamTable

__all__ = ["Sender"]


class Sender(QuicStreamSender):
    """A sending half that tells the table when it has something to do again."""

    table: StreamTable

    @property
    def unsent_bytes(self) -> int:
        """Bytes never sent yet; those lost and due again don't count."""
        return self._buffer_stop - self.highest_offset

    @property
    def end_offset(self) -> int:
        """Bytes written so far."""
        return self._buffer_stop

    @property
    def takes_bytes(self) -> bool:
        """Whether neither the end nor a reset was queued."""
        return self._buffer_fin is None and self._reset_error_code is None

    def get_frame(self, max_size: int, max_offset: int | None = None) -> QuicStreamFrame | None:
        """Take the next frame; upstream finds out only at the next one that it was the last."""
        frame = super().get_frame(max_size, max_offset)
        if not (len(self._pending) or self._pending_eof):
            self.buffer_is_empty = True
        return frame

    def on_data_delivery(
        self, delivery: QuicDeliveryState, start: int, stop: int, fin: bool
    ) -> None:
        """Note a fate; a loss, and the last ACK, need the engine's attention."""
        super().on_data_delivery(delivery, start, stop, fin)
        if self.is_finished or not self.buffer_is_empty:
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
