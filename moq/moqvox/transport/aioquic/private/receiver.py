"""The receiving half of a stream, with a bound on its gaps."""

from aioquic.quic.connection import QuicConnectionError
from aioquic.quic.events import StreamDataReceived
from aioquic.quic.packet import QuicErrorCode, QuicFrameType, QuicStreamFrame
from aioquic.quic.stream import QuicStreamReceiver

from moqvox.transport.aioquic.limits import MAX_GAPS

__all__ = ["Receiver"]


class Receiver(QuicStreamReceiver):
    """A receiving half with a bound on gaps, and thereby on the ranges that it keeps."""

    def handle_frame(self, frame: QuicStreamFrame) -> StreamDataReceived | None:
        """Take a frame; too many gaps are the peer's attack, not the network's loss."""
        if len(self._ranges) > MAX_GAPS:
            raise QuicConnectionError(
                QuicErrorCode.INTERNAL_ERROR, QuicFrameType.STREAM_BASE, "too many gaps in a stream"
            )
        return super().handle_frame(frame)
