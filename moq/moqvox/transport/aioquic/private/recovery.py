"""Loss recovery and congestion control."""

import math
from collections.abc import Iterable
from typing import Final

from aioquic.quic.connection import QuicConnectionError
from aioquic.quic.packet import QuicErrorCode, QuicFrameType, QuicPacketType
from aioquic.quic.packet_builder import QuicDeliveryState, QuicSentPacket
from aioquic.quic.rangeset import RangeSet
from aioquic.quic.recovery import QuicPacketRecovery, QuicPacketSpace

from moqvox.transport.aioquic.hurry import most_doublings
from moqvox.transport.aioquic.private.flight import found, has_gap, runs
from moqvox.transport.aioquic.private.numbering import Numbering
from moqvox.transport.aioquic.private.packets import PlainPacket, ReceivedAck
from moqvox.transport.aioquic.private.window import congestion_control

__all__ = ["Recovery"]

MIN_RTT: Final = 0.001
"""Seconds, below which upstream takes no measurement seriously."""

GRANULARITY: Final = 0.001
"""Seconds; RFC 9002, section 6.1.2."""

QUESTION_BYTES: Final = 64
"""So much a packet that asks for a sign of life may go beyond the congestion window."""

SILENT_AFTER: Final = 0.03
"""Seconds, or four RTT variances, that an ACK is late before that is a sign of trouble."""

HABIT: Final = 1 / 8
"""Weight of one ACK in what is known of how late the peer's ACKs are."""


class Recovery(QuicPacketRecovery):
    """Loss recovery with the RTT variance of RFC 9002, and a count of losses.

    Attributes:
        ack_lateness: seconds, beyond a round trip, that ACKs are behind the first packet in
            them, on average: a peer may answer every second packet only, or after a while.
        passed_at: when the newest packet acknowledged had left.
    """

    engine: Numbering
    lost_packets = 0
    ack_lateness = 0.0
    passed_at = -math.inf
    is_asking = False
    """Whether the packet built now asks the peer for a sign of life."""

    _suspects: range | None = None
    """Packets under way when the want of an ACK was last taken for a loss."""

    _is_guessing = False

    _silent_since: float | None = None
    """When the first probe left that nothing has answered yet."""

    def __init__(
        self, *, congestion_control_algorithm: str, max_datagram_size: int, **rest: object
    ) -> None:
        super().__init__(
            congestion_control_algorithm=congestion_control_algorithm,
            max_datagram_size=max_datagram_size,
            **rest,  # type: ignore[arg-type]  # as upstream's
        )
        self._cc = congestion_control(congestion_control_algorithm, max_datagram_size)

    def on_ack_received(
        self, *, ack_rangeset: RangeSet, ack_delay: float, now: float, space: QuicPacketSpace
    ) -> None:
        """Take an ACK; upstream measures the variance against the minimum, not the mean."""
        engine = self.engine
        if ack_rangeset.bounds().stop > engine.next_packet_number or any(
            number in ack_rangeset for number in engine.skipped_numbers
        ):
            raise QuicConnectionError(
                QuicErrorCode.PROTOCOL_VIOLATION, QuicFrameType.ACK, "ACK of a packet never sent"
            )
        had_rtt = self._rtt_initialized
        lost, flying = self.lost_packets, len(space.sent_packets)
        before = self._rtt_smoothed, self._rtt_variance
        newest = ack_rangeset[len(ack_rangeset) - 1]
        oldest, passed = found(space, newest.start, newest.stop - 1)
        if oldest is not None:
            self._learn_lateness(now - (oldest.sent_time or 0.0))
        if passed is not None:
            self._note_passed(passed.sent_time)
        super().on_ack_received(
            ack_rangeset=ack_rangeset, ack_delay=ack_delay, now=now, space=space
        )
        lost = self.lost_packets - lost
        self.engine.on_fates(now, flying - len(space.sent_packets) - lost, lost)
        if has_gap(space):
            self.engine.on_loss(now)
        if self._suspects is not None:
            self._judge(newest.start, newest.stop - 1, now)
        if had_rtt and before != (self._rtt_smoothed, self._rtt_variance):
            smoothed, variance = before
            self._rtt_variance = 0.75 * variance + 0.25 * abs(smoothed - self._rtt_latest)

    # What packets of the usual kind come to; upstream's steps, with those left out that find
    # nothing to do.

    @property
    def congestion_window(self) -> int:
        """Bytes that may be under way; more by a little while we ask whether the peer is there.

        Who has been silent for long has a window full of what may never be acknowledged, and a
        question that waits for that is never put. Pacing holds for questions too.
        """
        window = int(self._cc.congestion_window)
        if not self.is_asking:
            return window
        return max(window, self._cc.bytes_in_flight + QUESTION_BYTES)

    @property
    def window_left(self) -> int:
        """Bytes that congestion control lets leave now."""
        control = self._cc
        return control.congestion_window - control.bytes_in_flight

    def paced_until(self, now: float) -> float | None:
        """Return when the next packet may leave; None: now."""
        pacer = self._pacer
        return None if pacer.packet_time is None else pacer.next_send_time(now)

    def on_plain_sent(self, packet: PlainPacket, space: QuicPacketSpace) -> None:
        """Note a packet."""
        space.sent_packets[packet.packet_number] = packet  # type: ignore[assignment]  # its place
        if packet.in_flight:
            space.ack_eliciting_in_flight += 1
            self._time_of_last_sent_ack_eliciting_packet = packet.sent_time
            self._cc.on_packet_sent(packet=packet)  # type: ignore[arg-type]  # its place
        pacer = self._pacer
        if pacer.packet_time is not None:
            pacer.update_after_send(packet.sent_time)

    def is_plain_ack(self, ack: ReceivedAck, space: QuicPacketSpace, next_number: int) -> bool:
        """Whether an ACK is of packets that were sent, and passes none over."""
        first, last, _ = ack
        if last >= next_number or any(first <= n <= last for n in self.engine.skipped_numbers):
            return False
        for oldest in space.sent_packets:
            return first <= oldest
        return True

    def on_plain_ack(
        self, first: int, last: int, delay: float, now: float, space: QuicPacketSpace
    ) -> bool:
        """Take a plain ACK; nothing is found lost by it, as none is left that was sent before.

        Returns:
            Whether all packets in it were of the usual kind.
        """
        if last > space.largest_acked_packet:
            space.largest_acked_packet = last
        sent, control = space.sent_packets, self._cc
        flying, asks, is_usual, newest = len(sent), False, True, None
        for number in list(sent):
            if number > last:
                break
            newest = sent.pop(number)
            if newest.is_ack_eliciting:
                if not asks:
                    self._learn_lateness(now - (newest.sent_time or 0.0))
                asks = True
                space.ack_eliciting_in_flight -= 1
            if newest.in_flight:
                control.on_packet_acked(packet=newest, now=now)
            is_usual &= _tell_acked(newest)
        if newest is None:
            return True
        self._note_passed(newest.sent_time)
        if asks and newest.packet_number == last:
            self._sample(now - (newest.sent_time or 0.0), delay, now)
        space.loss_time = None
        self._pto_count = 0
        self.engine.on_fates(now, flying - len(sent), 0)
        if self._suspects is not None:
            self._judge(first, last, now)
        return is_usual

    def _note_passed(self, sent_time: float | None) -> None:
        self._silent_since = None
        if sent_time is not None and sent_time > self.passed_at:
            self.passed_at = sent_time

    def _learn_lateness(self, age: float) -> None:
        """Take how old a packet was when it was acknowledged, the first of those in an ACK."""
        if self._rtt_initialized:
            late = min(max(0.0, age - self._rtt_smoothed), self.max_ack_delay)
            self.ack_lateness += HABIT * (late - self.ack_lateness)

    def suspect(self, space: QuicPacketSpace) -> None:
        """Take what is under way for lost, until an ACK says otherwise."""
        numbers = list(space.sent_packets)
        if numbers:
            first = numbers[0] if self._suspects is None else self._suspects.start
            self._suspects = range(first, numbers[-1] + 1)

    @property
    def is_suspecting(self) -> bool:
        """Whether it is open if what was under way when an ACK was overdue is lost."""
        return self._suspects is not None

    def _judge(self, first: int, last: int, now: float) -> None:
        """See by the newest range of an ACK whether a guess was wrong."""
        suspects = self._suspects
        if suspects is not None and last >= suspects.stop - 1:
            self._suspects = None
            if first <= suspects.start:
                self.engine.on_false_alarm(now)

    def _sample(self, rtt: float, delay: float, now: float) -> None:
        """Measure the path by one round trip, of which the peer took `delay` to answer."""
        latest = max(rtt, MIN_RTT)
        if latest < self._rtt_min:
            self._rtt_min = latest
        delay = min(delay, self.max_ack_delay)
        if latest > self._rtt_min + delay:
            latest -= delay
        self._rtt_latest = latest
        if self._rtt_initialized:
            smoothed = self._rtt_smoothed
            self._rtt_variance = 0.75 * self._rtt_variance + 0.25 * abs(smoothed - latest)
            self._rtt_smoothed = 7 / 8 * smoothed + 1 / 8 * latest
        else:
            self._rtt_first_sample_time = now
            self._rtt_initialized = True
            self._rtt_variance = rtt / 2
            self._rtt_smoothed = rtt
        self._cc.on_rtt_measurement(now=now, rtt=rtt)
        self._pacer.update_rate(self._cc.congestion_window, self._rtt_smoothed)

    def plain_loss_time(self, space: QuicPacketSpace) -> float | None:
        """Return when to look for losses, on a confirmed connection and a validated path."""
        if space.loss_time is not None:
            return space.loss_time
        if not space.ack_eliciting_in_flight:
            return None
        if self._rtt_initialized:
            period = self._rtt_smoothed + max(4 * self._rtt_variance, GRANULARITY)
            period += self.max_ack_delay
        else:
            period = 2 * self._rtt_initial
        return float(self._time_of_last_sent_ack_eliciting_packet + period * 2**self._pto_count)

    def restart(self, algorithm: str | None, max_datagram_size: int, now: float) -> None:
        """Forget a path that is no longer used (RFC 9000, section 9.4).

        What is under way on it is due again at once: waiting for its ACKs costs a round trip
        of a path that may be gone. That says nothing about congestion, and its late ACKs say
        nothing about the new path's round trip.

        Without `algorithm` the window stays, as is allowed when only the port changed.
        """
        for space in self.spaces:
            if space.is_application_data and space.sent_packets:
                super()._on_packets_lost(
                    congestion_event=False,
                    now=now,
                    packets=list(space.sent_packets.values()),
                    space=space,
                )
                space.loss_time = None
        self._pacer.packet_time = None
        self._rtt_initialized = False
        self._rtt_min = math.inf
        self._pto_count = 0
        self._silent_since = None
        if algorithm is not None:
            fresh = congestion_control(algorithm, max_datagram_size)
            fresh.bytes_in_flight = self._cc.bytes_in_flight
            self._cc = fresh

    def is_silent(self, now: float) -> bool:
        """Whether an ACK is long overdue; upstream's probes wait while new packets leave."""
        if not self.handshake_confirmed:
            return False
        late = max(4 * self._rtt_variance, SILENT_AFTER) + self.ack_lateness
        before = now - self._rtt_smoothed - late
        for packet in self.spaces[-1].sent_packets.values():
            if packet.is_ack_eliciting:
                return packet.sent_time is not None and packet.sent_time < before
        return False

    def repeat_crypto(self, space: QuicPacketSpace, now: float, before: float) -> bool:
        """Send handshake messages again that left before some time; whether there are any.

        That says nothing about losses or congestion.
        """
        packets = [
            packet
            for packet in space.sent_packets.values()
            if packet.is_crypto_packet and (packet.sent_time or 0.0) <= before
        ]
        if packets:
            super()._on_packets_lost(congestion_event=False, now=now, packets=packets, space=space)
        return bool(packets)

    def begin_again(self, space: QuicPacketSpace, now: float, before: float) -> None:
        """Repeat a first packet that left before some time; wait for its answer as at first."""
        if self.repeat_crypto(space, now, before):
            self._pto_count = 0

    def suppose(self, rtt: float) -> None:
        """Begin with a round trip that was measured by probes of the path."""
        self._rtt_initialized = True
        self._rtt_min = self._rtt_latest = self._rtt_smoothed = max(rtt, 0.001)
        self._rtt_variance = self._rtt_smoothed / 2

    def disregard(self, space: QuicPacketSpace, first: int) -> None:
        """Take packets from a number on off the books: they went by a path that is not used."""
        for number in [number for number in space.sent_packets if number >= first]:
            packet = space.sent_packets.pop(number)
            if packet.is_ack_eliciting:
                space.ack_eliciting_in_flight -= 1
            if packet.in_flight:
                self._cc.on_packets_expired(packets=[packet])

    def on_loss_detection_timeout(self, *, now: float) -> None:
        """Probe, and wait for longer until the next time, unless somebody waits."""
        super().on_loss_detection_timeout(now=now)
        if self._silent_since is None:
            self._silent_since = now
        if self._pto_count and self.engine.is_awaited:
            period, silence = self.get_probe_timeout(), now - self._silent_since
            most = most_doublings(period, silence, is_confirmed=self.handshake_confirmed)
            self._pto_count = int(min(self._pto_count, most))

    def reschedule_data(self, *, now: float, speed_up_handshake: bool = False) -> None:
        """Prepare a probe (RFC 9002, section 6.2.4); live bytes fill it up."""
        if self.handshake_confirmed:
            self.suspect(self.spaces[-1])
        self._is_guessing = True
        try:
            super().reschedule_data(now=now, speed_up_handshake=speed_up_handshake)
        finally:
            self._is_guessing = False
        if self.handshake_confirmed:
            self.engine.on_probe(now)

    def requeue_early(self, now: float) -> None:
        """Queue again what was sent ahead of the handshake: nobody has read it."""
        for space in self.spaces:
            if space.is_application_data:
                early = [
                    packet
                    for packet in space.sent_packets.values()
                    if packet.packet_type is QuicPacketType.ZERO_RTT
                ]
                super()._on_packets_lost(
                    congestion_event=False, now=now, packets=early, space=space
                )

    def forget_flight(self) -> None:
        """Forget packets whose numbers start over: a Retry, or another version."""
        self._cc.bytes_in_flight = 0

    @property
    def rtt(self) -> float:
        """Smoothed round trip; 0.0 while unknown."""
        return self._rtt_smoothed if self._rtt_initialized else 0.0

    @property
    def variance(self) -> float:
        """By how much the round trip varies, seconds."""
        return self._rtt_variance

    def _on_packets_lost(
        self, *, packets: Iterable[QuicSentPacket], now: float, **rest: object
    ) -> None:
        packets = list(packets)
        self.lost_packets += len(packets)
        if packets:
            self.engine.on_loss(now, is_guess=self._is_guessing)
            for length in runs([packet.packet_number for packet in packets]):
                self.engine.on_run(length)
        super()._on_packets_lost(packets=packets, now=now, **rest)  # type: ignore[arg-type]  # as above


def _tell_acked(packet: QuicSentPacket | PlainPacket) -> bool:
    """Tell whom a packet's arrival concerns; whether it was of the usual kind."""
    if isinstance(packet, PlainPacket):
        packet.on_acked()
        return True
    for handler, place in packet.delivery_handlers:
        handler(QuicDeliveryState.ACKED, *place)
    return False
