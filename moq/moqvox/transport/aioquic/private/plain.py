"""Packets of the usual kind, built without detours: 1-RTT, an ACK and bytes of streams.

RFC 9000, sections 17.3.1 (short header), 19.3 (ACK) and 19.8 (STREAM). Upstream builds every
packet as if anything might be due, and then begins another to find that nothing is. Whatever is
not of the usual kind is left to upstream, and so are all the books on what was sent.
"""

from collections.abc import Callable
from operator import attrgetter
from typing import Final

from aioquic.buffer import encode_uint_var, size_uint_var
from aioquic.quic.connection import END_STATES
from aioquic.quic.crypto import CryptoPair
from aioquic.quic.packet import QuicFrameType, QuicPacketType
from aioquic.quic.packet_builder import QuicSentPacket
from aioquic.quic.recovery import QuicPacketPacer, QuicPacketSpace
from aioquic.tls import Epoch

from moqvox.transport.address import Address
from moqvox.transport.aioquic.private.paths import RovingConnection
from moqvox.transport.aioquic.streams import HeldStream, StreamTable

__all__ = ["PlainBuilder", "PlainConnection"]

NUMBER_BYTES: Final = 2
SHORT_HEADER: Final = 0x40 | (NUMBER_BYTES - 1)
SPIN_SHIFT: Final = 5
KEY_PHASE_SHIFT: Final = 2
STREAM_WITH_LENGTH: Final = QuicFrameType.STREAM_BASE | 2
WITH_OFFSET, WITH_FIN = 4, 1
LENGTH_BYTES: Final = 2
TWO_BYTE_VARINT: Final = 0x4000

_unusual: Final = attrgetter(
    *("_close_pending", "_datagrams_pending", "_handshake_done_pending", "_ping_pending"),
    *("_probe_pending", "_quic_logger", "_remote_preferred_address", "_retire_connection_ids"),
    *("_streams_blocked_pending", "_token_pending"),
)
"""What upstream would put into the next packet, or do beside it."""

Fate = tuple[Callable[..., None], tuple[object, ...]]
"""Whom to tell, and with what, when a frame was acknowledged or lost."""

Ack = tuple[bytes, Fate]


class PlainBuilder:
    """Takes the place of upstream's builder: holds packets until they are registered as sent.

    Attributes:
        packet_number: of the next packet.
    """

    def __init__(
        self,
        crypto: CryptoPair,
        peer_cid: bytes,
        packet_number: int,
        *,
        spin_bit: bool,
        max_datagram_bytes: int,
        flight_bytes: int,
    ) -> None:
        self.packet_number = packet_number
        self._crypto = crypto
        self._first_byte = SHORT_HEADER | spin_bit << SPIN_SHIFT
        self._peer_cid = peer_cid
        self._overhead = 1 + len(peer_cid) + NUMBER_BYTES + crypto.aead_tag_size
        self._max_datagram_bytes = max_datagram_bytes
        self._flight_bytes = flight_bytes
        self._datagrams: list[bytes] = []
        self._packets: list[QuicSentPacket] = []

    def flush(self) -> tuple[list[bytes], list[QuicSentPacket]]:
        """Return what was built."""
        return self._datagrams, self._packets

    def write(self, table: StreamTable, ack: Ack | None, credit: int) -> int | None:
        """Build one packet of what is due and fits.

        Args:
            table: the streams, of which the busy ones are served in order.
            ack: goes into the packet whatever the congestion window says.
            credit: stream bytes that the peer's limit for the connection allows.

        Returns:
            How much of the credit was used; None when there was no packet to build.
        """
        frames: list[bytes] = []
        fates: list[Fate] = []
        room = min(self._max_datagram_bytes, self._flight_bytes) - self._overhead
        if ack is not None:
            frames.append(ack[0])
            fates.append(ack[1])
            room -= len(ack[0])
        left = credit
        served: list[HeldStream] = []
        for stream in table.busy.in_order():
            sender = stream.sender
            before = sender.highest_offset
            limit = min(before + left, stream.max_stream_data_remote)
            size = _write_frame(stream, room, limit, frames, fates)
            if size:
                room -= size
                left -= sender.highest_offset - before
                served.append(stream)
        if not frames:
            return None
        if served:
            waiting = [stream for stream in table.busy if stream not in served]
            table.busy.reset(waiting + served)
        self._seal(b"".join(frames), fates, has_data=bool(served))
        return credit - left

    def _seal(self, payload: bytes, fates: list[Fate], *, has_data: bool) -> None:
        number, crypto = self.packet_number, self._crypto
        first_byte = self._first_byte | crypto.key_phase << KEY_PHASE_SHIFT
        truncated = (number & 0xFFFF).to_bytes(NUMBER_BYTES, "big")
        header = b"%c%b%b" % (first_byte, self._peer_cid, truncated)
        data = crypto.encrypt_packet(header, payload, number)
        packet = QuicSentPacket(
            epoch=Epoch.ONE_RTT,
            in_flight=has_data,
            is_ack_eliciting=has_data,
            is_crypto_packet=False,
            packet_number=number,
            packet_type=QuicPacketType.ONE_RTT,
            sent_bytes=len(data),
            delivery_handlers=fates,
        )
        self._datagrams.append(data)
        self._packets.append(packet)
        if has_data:
            self._flight_bytes -= len(data)
        self.packet_number = number + 1


class PlainConnection(RovingConnection):
    """A connection that knows the usual case."""

    table: StreamTable
    _token_pending = b""
    """A token that a client is to get."""

    def datagrams_to_send(self, now: float) -> list[tuple[bytes, Address]]:
        """Build what is due; nothing once the close has left, which takes the keys along."""
        if self._state in END_STATES:
            return []
        if not self._is_plain(now):
            return super().datagrams_to_send(now)
        # As upstream does: only what pacing holds back now may set the time again.
        self._pacing_at = None
        space, recovery, cid = self._spaces[Epoch.ONE_RTT], self._loss, self._peer_cid.cid
        ack = self._take_ack(space, now)
        if ack is None and not self.table.busy:
            return []
        builder = PlainBuilder(
            self._cryptos[Epoch.ONE_RTT],
            cid,
            self._packet_number,
            spin_bit=self._spin_bit,
            max_datagram_bytes=self._max_datagram_size,
            flight_bytes=recovery.congestion_window - recovery.bytes_in_flight,
        )
        pacer = recovery._pacer  # noqa: SLF001  # upstream's connection does so, too
        self._write_plain(builder, ack, pacer, now)
        path = self._network_paths[0]
        return self._flush_builder(builder=builder, network_path=path, peer_cid=cid, now=now)  # type: ignore[arg-type]  # takes its place

    def _write_plain(
        self, builder: PlainBuilder, ack: Ack | None, pacer: QuicPacketPacer, now: float
    ) -> None:
        """Build packets until nothing is due, or pacing, congestion or the peer say stop."""
        while ack is not None or self.table.busy:
            if ack is None:
                self._pacing_at = pacer.next_send_time(now=now)
                if self._pacing_at is not None:
                    return
            credit = self._remote_max_data - self._remote_max_data_used
            used = builder.write(self.table, ack, credit)
            if used is None:
                return
            self._remote_max_data_used += used
            ack = None
            pacer.update_after_send(now=now)

    def _take_ack(self, space: QuicPacketSpace, now: float) -> Ack | None:
        """Encode the ACK that is due, of one unbroken range."""
        if space.ack_at is None or space.ack_at > now:
            return None
        space.ack_at = None
        received, received_at = space.ack_queue[0], space.largest_received_time or now
        delay = int((now - received_at) * 1_000_000) >> self._local_ack_delay_exponent
        last = received.stop - 1
        fields = (QuicFrameType.ACK, last, delay, 0, last - received.start)
        fate = self._on_ack_delivery, (space, space.largest_received_packet)
        return b"".join([encode_uint_var(field) for field in fields]), fate

    def _is_plain(self, now: float) -> bool:
        """Whether nothing can be due but an ACK of one range, and bytes of streams."""
        if not self._handshake_confirmed or any(_unusual(self)) or self.table.due:
            return False
        path, space = self._network_paths[0], self._spaces[Epoch.ONE_RTT]
        data, bidi, uni = (
            self._local_max_data,
            self._local_max_streams_bidi,
            self._local_max_streams_uni,
        )
        return (
            path.is_validated
            and (len(self._network_paths) == 1 or self._has_silent_paths)
            and not path.remote_challenges
            and data.value == data.sent
            # Upstream announces streams once the peer may open fewer than it would be told of.
            and bidi.sent - bidi.used >= bidi.value - bidi.sent
            and uni.sent - uni.used >= uni.value - uni.sent
            and (space.ack_at is None or space.ack_at > now or len(space.ack_queue) == 1)
            and self._crypto_streams[Epoch.ONE_RTT].sender.buffer_is_empty
            and False not in [connection_id.was_sent for connection_id in self._host_cids]
            and True not in [_needs_more_than_sending(stream) for stream in self.table.busy]
        )


def _needs_more_than_sending(stream: HeldStream) -> bool:
    return stream.sender.reset_pending or stream.receiver.stop_pending or stream.is_finished


def _write_frame(
    stream: HeldStream, room: int, limit: int, frames: list[bytes], fates: list[Fate]
) -> int:
    """Append a STREAM frame of at most `room` bytes, and whom its fate concerns.

    Returns:
        Its size; 0 when there is none.
    """
    sender, stream_id = stream.sender, stream.stream_id or 0
    start = sender.next_offset
    head_bytes = 1 + size_uint_var(stream_id) + LENGTH_BYTES
    head_bytes += size_uint_var(start) if start else 0
    frame = sender.get_frame(room - head_bytes, limit)
    if frame is None:
        return 0
    kind = STREAM_WITH_LENGTH | (WITH_OFFSET if start else 0) | (WITH_FIN if frame.fin else 0)
    size = len(frame.data)
    frames.append(b"%c%b" % (kind, encode_uint_var(stream_id)))
    if start:
        frames.append(encode_uint_var(start))
    frames.append((TWO_BYTE_VARINT | size).to_bytes(LENGTH_BYTES, "big"))
    frames.append(frame.data)
    fates.append((sender.on_data_delivery, (start, start + size, frame.fin)))
    return head_bytes + size
