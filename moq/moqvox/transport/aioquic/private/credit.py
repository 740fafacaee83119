"""Flow control by what the application has read, and what the peer's lets us send.

Upstream raises its limits by what has arrived, read or not, and doubles them at that.
"""

from collections.abc import Iterable

from aioquic._buffer import Buffer
from aioquic.quic.connection import QuicReceiveContext
from aioquic.quic.packet_builder import QuicDeliveryState, QuicPacketBuilder
from aioquic.quic.recovery import QuicPacketSpace
from aioquic.quic.stream import QuicStream

from moqvox.transport.aioquic.limits import BURST_BYTES, SLACK_BYTES
from moqvox.transport.aioquic.private.handshake import HandshakeConnection
from moqvox.transport.aioquic.streams import CREDIT_STEPS, StreamTable
from moqvox.transport.send_queue import QUANTUM_BYTES

__all__ = ["CreditedConnection"]


class CreditedConnection(HandshakeConnection):
    """A connection whose peer gets credit for what was read.

    Attributes:
        unblocked: our streams whose limits the peer raised since `take_unblocked`.
    """

    table: StreamTable
    unblocked: set[int] | frozenset[int] = frozenset()

    @property
    def unsent_bytes(self) -> int:
        """Stream bytes in the engine that never left."""
        return self.table.fed_bytes - self._remote_max_data_used

    @property
    def blocked_streams(self) -> int:
        """Our own streams that wait for the peer's permission."""
        return len(self._streams_blocked_bidi) + len(self._streams_blocked_uni)

    def room(self) -> int:
        """Stream bytes that are worth giving to the engine now."""
        used = self._remote_max_data_used
        window, credit = self.recovery.window_left, self._remote_max_data - used
        unsent = self.table.fed_bytes - used
        return min(max(0, window) + SLACK_BYTES, BURST_BYTES, credit) - unsent

    def takes(self, stream_id: int, size: int) -> bool:
        """Whether so few bytes of a stream may leave with the next packet."""
        # `room`, without what only many bytes need: this is asked for each frame to each peer.
        used = self._remote_max_data_used
        wanted = self.table.fed_bytes - used + size
        if size > QUANTUM_BYTES or wanted > BURST_BYTES or wanted > self._remote_max_data - used:
            return False
        if wanted > SLACK_BYTES and wanted > self.recovery.window_left + SLACK_BYTES:
            return False
        return size <= self.table.allowance(stream_id)

    def unblock(self, streams: Iterable[int]) -> None:
        """Note streams that may go on."""
        if isinstance(self.unblocked, set):
            self.unblocked.update(streams)
        else:
            self.unblocked = set(streams)

    def take_unblocked(self) -> Iterable[int]:
        """Take our streams whose limits the peer raised since the last call."""
        self.unblocked, unblocked = frozenset(), self.unblocked
        return unblocked

    def _raise_max_data(self, limit: int) -> bool:
        """Allow the peer this many bytes in all; False while the step is too small."""
        limits = self._local_max_data
        if (limit - limits.value) * CREDIT_STEPS < self._configuration.max_data:
            return False
        limits.value = limit
        return True

    def _write_connection_limits(self, builder: QuicPacketBuilder, space: QuicPacketSpace) -> None:
        """Write limits, hiding what makes upstream double MAX_DATA by itself."""
        self._challenge_active_path(builder)
        self._write_token(builder)
        bidi, uni = self._local_max_streams_bidi, self._local_max_streams_uni
        data = self._local_max_data
        if data.value == data.sent and bidi.value == bidi.sent and uni.value == uni.sent:
            return
        used, data.used = data.used, 0
        try:
            super()._write_connection_limits(builder, space)
        finally:
            data.used = used

    def _write_stream_limits(
        self, builder: QuicPacketBuilder, space: QuicPacketSpace, stream: QuicStream
    ) -> None:
        """Write a limit, hiding what makes upstream double MAX_STREAM_DATA by itself."""
        received, stream.receiver.highest_offset = stream.receiver.highest_offset, 0
        try:
            super()._write_stream_limits(builder, space, stream)
        finally:
            stream.receiver.highest_offset = received
        self.table.settle(stream)

    def _write_stream_frame(
        self,
        builder: QuicPacketBuilder,
        space: QuicPacketSpace,
        stream: QuicStream,
        max_offset: int,
    ) -> int:
        """Write what fits; upstream gives each part that lies apart a packet of its own."""
        used, room = 0, -1
        while not stream.sender.buffer_is_empty and builder.remaining_flight_space != room:
            room = builder.remaining_flight_space
            used += super()._write_stream_frame(builder, space, stream, max_offset)
        return used

    def _on_max_stream_data_delivery(self, delivery: QuicDeliveryState, stream: QuicStream) -> None:
        super()._on_max_stream_data_delivery(delivery, stream)
        if delivery != QuicDeliveryState.ACKED:
            self.table.owe(stream)

    def _handle_max_stream_data_frame(
        self, context: QuicReceiveContext, frame_type: int, buf: Buffer
    ) -> None:
        start = buf.tell()
        stream_id = buf.pull_uint_var()
        buf.seek(start)
        super()._handle_max_stream_data_frame(context, frame_type, buf)
        self.unblock((stream_id,))

    def _unblock_streams(self, is_unidirectional: bool) -> None:
        blocked = self._streams_blocked_uni if is_unidirectional else self._streams_blocked_bidi
        before = [stream.stream_id for stream in blocked if stream.stream_id is not None]
        super()._unblock_streams(is_unidirectional)
        released = before[: len(before) - len(blocked)]
        if released:
            self.unblock(released)
        for stream_id in released:
            self.table.wake(stream_id)
