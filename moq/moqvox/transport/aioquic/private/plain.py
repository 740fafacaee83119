"""Packets of the usual kind without detours: 1-RTT, an ACK and bytes of streams, both ways.

Upstream builds every packet as if anything might be due, and reads every packet as if anything
might be in it. Here the usual is done with few steps on the same books, so that either may
take over from the other at any packet; whatever is not usual is left to upstream.

What upstream alone knows to be due is looked for once and then taken as known: see `usual.py`.
"""

from collections.abc import Iterator
from typing import Final

from aioquic.quic.connection import END_STATES
from aioquic.quic.recovery import MAX_ACK_RANGES, QuicPacketSpace
from aioquic.tls import Epoch

from moqvox.transport.address import Address
from moqvox.transport.aioquic.private.packets import (
    OVERHEAD_BYTES,
    Fate,
    PlainPacket,
    ReceivedAck,
    ReceivedFrame,
    SentFrame,
    ack_frame,
    read_close,
    read_frames,
)
from moqvox.transport.aioquic.private.recovery import Recovery
from moqvox.transport.aioquic.private.sender import Sender
from moqvox.transport.aioquic.private.usual import Usual, UsualConnection
from moqvox.transport.aioquic.streams import HeldStream, StreamTable

__all__ = ["PlainConnection"]

SHORT_HEADER, HEADER_FORM = 0x40, 0xC0
SPIN_BIT: Final = 0x20


class PlainConnection(UsualConnection):
    """A connection that does the usual by itself."""

    table: StreamTable
    recovery: Recovery
    _token_pending = b""
    """A token that a client is to get."""

    # Sending.

    def datagrams_to_send(self, now: float) -> list[tuple[bytes, Address]]:
        """Build what is due; nothing once the close has left, which takes the keys along."""
        if self._state in END_STATES:
            return []
        usual = self._usual or self._survey()
        if usual is None or self._is_more_due(usual.space, now):
            self._usual = None
            return super().datagrams_to_send(now)
        # As upstream does: only what pacing holds back now may set the time again.
        self._pacing_at = None
        space, busy = usual.space, self.table.busy
        ack = self._take_ack(space, now) if space.ack_at is not None else None
        datagrams: list[tuple[bytes, Address]] = []
        while ack is not None or busy:
            if ack is None:
                self._pacing_at = self.recovery.paced_until(now)
                if self._pacing_at is not None:
                    break
            data = self._next_packet(usual, ack, now)
            if data is None:
                break
            datagrams.append((data, usual.address))
            ack = None
        return datagrams

    def _next_packet(
        self, usual: Usual, ack: tuple[bytes, Fate] | None, now: float
    ) -> bytes | None:
        """Build one packet of what is due and fits, and note it as sent.

        An ACK goes along whatever the congestion window says.
        """
        recovery, cid = self.recovery, usual.peer_cid
        room = min(self._max_datagram_size, recovery.window_left) - OVERHEAD_BYTES - len(cid)
        parts: list[bytes] = []
        fate: Fate | None = None
        if ack is not None:
            parts.append(ack[0])
            fate = ack[1]
            room -= len(ack[0])
        frames = self._take_frames(room, parts)
        if not parts:
            return None
        number, spin = self._packet_number, SPIN_BIT if self._spin_bit else 0
        data = usual.shield.seal(spin, cid, number, b"".join(parts))
        self._packet_number = number + 1
        recovery.on_plain_sent(PlainPacket(number, len(data), now, frames, fate), usual.space)
        if frames and not self._ack_eliciting_sent_since_receipt:
            self._close_at = now + self._idle_timeout()
            self._ack_eliciting_sent_since_receipt = True
        usual.path.bytes_sent += len(data)
        return data

    def _take_frames(self, room: int, parts: list[bytes]) -> list[SentFrame]:
        """Cut frames that fit off the busy streams, the urgent ones first."""
        busy = self.table.busy
        frames: list[SentFrame] = []
        served: list[HeldStream] = []
        credit = self._remote_max_data - self._remote_max_data_used
        for stream in busy.in_order():
            sender = stream.sender
            before = sender.highest_offset
            limit = before + credit
            if limit > stream.max_stream_data_remote:
                limit = stream.max_stream_data_remote
            cut = sender.cut(room, limit)
            if cut is not None:
                served.append(stream)
            while cut is not None:
                parts.append(cut[0])
                frames.append(cut[1])
                room -= len(cut[0])
                # What goes out again may lie apart from what is new.
                cut = None if sender.buffer_is_empty else sender.cut(room, limit)
            used = sender.highest_offset - before
            credit -= used
            self._remote_max_data_used += used
        if served:
            busy.serve(served)
        return frames

    def _take_ack(self, space: QuicPacketSpace, now: float) -> tuple[bytes, Fate] | None:
        """Encode the ACK that is due, of one unbroken range."""
        if space.ack_at is None or space.ack_at > now:
            return None
        space.ack_at = None
        received, received_at = space.ack_queue[0], space.largest_received_time or now
        delay = int((now - received_at) * 1_000_000) >> self._local_ack_delay_exponent
        frame = ack_frame(received.start, received.stop - 1, delay)
        return frame, (self._on_ack_delivery, (space, space.largest_received_packet))

    def _is_more_due(self, space: QuicPacketSpace, now: float) -> bool:
        """Whether anything is due but an ACK of one range and bytes of streams."""
        data = self._local_max_data
        return bool(
            not self.table.busy.has_only_data
            or self.table.due
            or self._close_pending
            or self._datagrams_pending
            or self._ping_pending
            or self._probe_pending
            or self._retire_connection_ids
            or self._streams_blocked_pending
            or self._token_pending
            or data.value != data.sent
            or (space.ack_at is not None and space.ack_at <= now and len(space.ack_queue) != 1)
        )

    # Receiving.

    def take_plain(self, data: bytes, address: Address, now: float) -> bool:
        """Take a packet of the usual kind that comes in its turn; False: nothing was done.

        It may hold an ACK that leaves no gap, and bytes that a stream waits for, copies included.
        """
        usual = self._usual or self._survey()
        if usual is None or self._close_pending or address != usual.address:
            return False
        cid = usual.host_cid
        start = 1 + len(cid)
        if data[0] & HEADER_FORM != SHORT_HEADER or data[1:start] != cid:
            return False
        space = usual.space
        opened = usual.shield.open(data, start, space.expected_packet_number)
        if opened is None or opened[1] != space.largest_received_packet + 1:
            return False
        first_byte, number, payload = opened
        found = read_frames(payload)
        if found is None:
            return self._take_close(payload, now)
        ack, frame, asks = found
        if ack is not None and not self.recovery.is_plain_ack(ack, space, self._packet_number):
            return False
        stream = None
        if frame is not None:
            stream = self._takes(frame)
            if stream is None:
                return False
        if ack is not None:
            self._take_received_ack(ack, space, now)
        if frame is not None and stream is not None:
            event = stream.receiver.take(*frame)
            self._events.append(event)
            self._local_max_data.used += len(event.data)
        self._note_received(space, number, spin=bool(first_byte & SPIN_BIT), asks=asks, now=now)
        return True

    def _take_close(self, payload: bytes, now: float) -> bool:
        """Take it that the peer has closed; a crowd that leaves at once is read once each."""
        event = read_close(payload)
        if event is None or self._close_event is not None:
            return False
        self._close_event = event
        self._close_begin(is_initiator=False, now=now)
        return True

    def _takes(self, frame: ReceivedFrame) -> HeldStream | None:
        """Find the stream that waits for these bytes, if the limits allow them."""
        stream_id, offset, data, _ = frame
        stream = self.table.get(stream_id)
        if stream is None:
            return None
        limit, size = self._local_max_data, len(data)
        news = stream.receiver.news_in(offset, size)
        if not news or offset + size > stream.max_stream_data_local:
            return None
        if limit.used + news > limit.value:
            return None
        return stream

    def _take_received_ack(self, ack: ReceivedAck, space: QuicPacketSpace, now: float) -> None:
        delay = (ack[2] << self._remote_ack_delay_exponent) / 1_000_000
        if not self.recovery.on_plain_ack(ack[0], ack[1], delay, now, space):
            self._usual = None

    def _note_received(
        self, space: QuicPacketSpace, number: int, *, spin: bool, asks: bool, now: float
    ) -> None:
        """Do the books for a packet that came in its turn."""
        if number > space.expected_packet_number:
            space.expected_packet_number = number + 1
        self._spin_bit = spin is not self._is_client
        self._spin_highest_pn = number
        self._close_at = now + self._idle_timeout()
        self._ack_eliciting_sent_since_receipt = False
        space.largest_received_packet = number
        space.largest_received_time = now
        space.ack_queue.add(number)
        space.received_packets.add(number)
        if len(space.ack_queue) > MAX_ACK_RANGES:
            space.ack_queue.shift()
        if asks and space.ack_at is None:
            space.ack_at = now + self._ack_delay

    def hasten_ack(self, now: float) -> None:
        """Let an ACK that is due soon travel with data that leaves now."""
        usual = self._usual
        space = self._spaces.get(Epoch.ONE_RTT) if usual is None else usual.space
        if space is not None and space.ack_at is not None and space.ack_at > now:
            space.ack_at = now

    @property
    def has_events(self) -> bool:
        """Whether `next_event` has any; to ask it costs more when there is none."""
        return bool(self._events)

    @property
    def is_quiet(self) -> bool:
        """Whether the last packet brought no event, and calls for an ACK at most."""
        return self._usual is not None and not (
            self._events or self.table.busy or self.table.discarded
        )

    @property
    def owes_ack(self) -> bool:
        """Whether an ACK is due, now or soon, in the usual case."""
        return self._usual is not None and self._usual.space.ack_at is not None

    # Timers.

    def get_timer(self) -> float | None:
        """Return when to call `handle_timer`; None: never."""
        usual = self._usual
        if usual is None or self._close_at is None:
            return super().get_timer()
        timer, space = self._close_at, usual.space
        self._loss_at = loss_at = self.recovery.plain_loss_time(space)
        for due in (space.ack_at, loss_at, self._pacing_at):
            if due is not None and due < timer:
                timer = due
        return timer

    def is_plainly_calm_until(self, when: float, now: float) -> bool:
        """Whether nothing is due before that time in the usual case; see the engine."""
        usual = self._usual
        if usual is None or when > now + self.recovery.max_ack_delay:
            return False
        space = usual.space
        return space.ack_at is None and space.loss_time is None and self._pacing_at is None

    def handle_timer(self, now: float) -> None:
        """Do what is due; what only waited for its time leaves with the next packet."""
        if self._usual is not None and self._close_at is not None:
            loss_at = self._loss_at
            is_early = now < self._close_at and (loss_at is None or now < loss_at)
            if is_early and len(self._network_paths) == 1:
                return
        self._usual = None
        super().handle_timer(now)

    def frames_under_way(self, sender: Sender) -> Iterator[tuple[int, int, bool]]:
        """List start, stop and end mark of a stream's frames that nothing was heard of yet."""
        for packet in self._spaces[Epoch.ONE_RTT].sent_packets.values():
            for handler, place in packet.delivery_handlers:
                if handler == sender.on_data_delivery:
                    yield place
