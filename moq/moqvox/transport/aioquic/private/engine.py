"""The connection itself; the folder says what differs from upstream."""

from collections.abc import Callable, Iterable
from typing import Final, cast

from aioquic import tls
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import (
    END_STATES,
    QuicConnectionState,
)
from aioquic.quic.stream import QuicStream

from moqvox.transport.address import Address
from moqvox.transport.aioquic.ending import Ending
from moqvox.transport.aioquic.limits import (
    PACKET_OVERHEAD_BYTES,
    Limits,
)
from moqvox.transport.aioquic.private.compact import slim, thin
from moqvox.transport.aioquic.private.credit import CreditedConnection
from moqvox.transport.aioquic.private.identified import IdentifiedConnection
from moqvox.transport.aioquic.private.receiver import Receiver
from moqvox.transport.aioquic.private.recovery import Recovery
from moqvox.transport.aioquic.private.sender import Sender
from moqvox.transport.aioquic.quiet import QuietLog
from moqvox.transport.aioquic.redundancy import Redundancy
from moqvox.transport.aioquic.reordering import Gaps, Verdict
from moqvox.transport.aioquic.roots import Roots
from moqvox.transport.aioquic.streams import BusyStreams, HeldStream, StreamTable
from moqvox.transport.aioquic.tickets import Tickets
from moqvox.transport.quic.connection_ids import Issuer

__all__ = ["Engine"]

INSISTENCE: Final = 2
"""Copies of a client's last handshake message."""

APART: Final = 0.01
"""Seconds between them at least, lest one burst of losses takes all."""

KEPT: Final = frozenset(
    (
        "_close_event",
        "_is_initiator",
        "_is_client",
        "_max_datagram_size",
        "_network_paths",
        "_peer_cid",
        "_remote_max_datagram_frame_size",
        "_state",
        "was_reset",
    )
)
"""What is asked of a connection that is over: its end, its address, how large datagrams were."""


class Engine(CreditedConnection, IdentifiedConnection):
    """One QUIC connection without I/O; the folder says what differs from upstream.

    Attributes:
        repeats: first packets for which it was taken up again; see `aside`.
        hears_late: whether something of the peer's has arrived that was not read yet, so that
            the want of an ACK says nothing.
    """

    repeats = 0
    hears_late = False

    def __init__(
        self,
        configuration: QuicConfiguration,
        limits: Limits,
        *,
        original_destination_connection_id: bytes | None = None,
        retry_source_connection_id: bytes | None = None,
        pins: frozenset[bytes] = frozenset(),
        roots: Roots | None = None,
        issuer: Issuer | None = None,
        tickets: Tickets | None = None,
        is_proven: bool = False,
        on_ticket: tls.SessionTicketHandler | None = None,
        on_token: Callable[[bytes], None] | None = None,
    ) -> None:
        """Make a connection.

        Args:
            configuration: upstream's.
            limits: bounds.
            original_destination_connection_id: a server's: of the client's very first packet.
            retry_source_connection_id: a server's: of the Retry that it sent, if it did.
            pins: a client's: fingerprints of which the certificate must have one.
            roots: a client's: check the certificate where there are no pins, in place of the
                configuration's.
            issuer: makes its connection IDs and their reset tokens.
            tickets: a server's: issues and takes them.
            is_proven: a server's: the client has shown that it is where it says.
            on_ticket: a client's: takes tickets for later.
            on_token: a client's: takes an address token for later.
        """
        self.table = StreamTable(self._adopt, self._raise_max_data, limits)
        super().__init__(
            limits,
            configuration=configuration,
            original_destination_connection_id=original_destination_connection_id,
            retry_source_connection_id=retry_source_connection_id,
            tickets=tickets,
            is_proven=is_proven,
            pins=pins,
            roots=roots,
            on_ticket=on_ticket,
            on_token=on_token,
        )
        slim(self)
        if issuer is not None:
            self._take_issuer(issuer)
        self._gaps = Gaps()
        self._tells_gap = False
        self._insistence = INSISTENCE
        self._known_losses = 0
        self.redundancy = Redundancy(limits, self.table)
        self._is_initiator: bool | None = None
        self._streams = self.table  # type: ignore[assignment]  # holds subclasses only
        self._logger = QuietLog(self._logger.logger, self._logger.extra)
        bidi, uni = self._local_max_streams_bidi, self._local_max_streams_uni
        bidi.value = bidi.sent = limits.max_bidi_streams
        uni.value = uni.sent = limits.max_uni_streams
        self.recovery = self._loss = Recovery(
            congestion_control_algorithm=configuration.congestion_control_algorithm,
            initial_rtt=configuration.initial_rtt,
            max_datagram_size=self._max_datagram_size,
            peer_completed_address_validation=not self._is_client,
            quic_logger=self._quic_logger,
            send_probe=self._send_probe,
            logger=self._logger,
        )
        self.recovery.engine = self
        self.table.under_way_of = self.frames_under_way
        thin(self)

    @property
    def next_packet_number(self) -> int:
        """One more than the highest packet number sent."""
        return self._packet_number

    @property
    def is_client(self) -> bool:
        """Whether this side dialled."""
        return self._is_client

    @property
    def idle_timeout(self) -> float:
        """Negotiated idle time-out in seconds."""
        return self._idle_timeout()

    @property
    def queued_datagrams(self) -> int:
        """DATAGRAM frames that wait."""
        return len(self._datagrams_pending)

    @property
    def max_datagram_payload(self) -> int:
        """Largest DATAGRAM payload that fits a packet and the peer's limit; 0: unsupported."""
        if not self._remote_max_datagram_frame_size:
            return 0
        packet = self._max_datagram_size - PACKET_OVERHEAD_BYTES - len(self._peer_cid.cid)
        return max(0, min(packet, self._remote_max_datagram_frame_size - 3))

    @property
    def is_settled(self) -> bool:
        """Whether everything given to the engine has arrived."""
        return not (self.recovery.bytes_in_flight or self.unsent_bytes or self._streams_queue)

    def ending(self) -> Ending | None:
        """Say how the connection ends, as soon as that is certain."""
        event = self._close_event
        if event is None:
            return None
        return Ending(
            event.error_code,
            is_transport=event.frame_type is not None,
            reason=event.reason_phrase,
            remote=self._is_initiator is False and not self.was_reset,
            lost=self.was_reset or (self.is_terminated and self._is_initiator is None),
        )

    @property
    def is_closing(self) -> bool:
        """Whether nothing but a repeated close may be sent any more."""
        return self._state in END_STATES

    @property
    def drains_until(self) -> float | None:
        """Until when late packets of a connection that the peer has closed are known as such."""
        return self._close_at if self._state is QuicConnectionState.DRAINING else None

    @property
    def is_stillborn(self) -> bool:
        """Whether a server has heard nothing yet that a client's keys protect."""
        return not self._is_client and self._state is QuicConnectionState.FIRSTFLIGHT

    @property
    def is_terminated(self) -> bool:
        """Whether the connection may be forgotten."""
        return self._state is QuicConnectionState.TERMINATED

    @property
    def has_cause_to_send(self) -> bool:
        """Whether what arrived calls for a packet now.

        Mostly it does not: ACKs do not, and what must be acknowledged sets the engine's
        timer, which fires a millisecond later and then takes every answer along. A gap is
        told at once (RFC 9000, section 13.2.1).
        """
        return bool(
            self.table.busy
            or self.table.due
            or not self.recovery.handshake_confirmed
            or not self.peer[1]
            or self.recovery.lost_packets != self._known_losses
            or self._tells_gap
            or self.ending() is not None
        )

    def open_stream(self, *, bidirectional: bool, priority: int, early: bool = False) -> int:
        """Make a stream of ours known to the engine, in the order of its ID.

        Until a client's handshake is complete, one that is not `early` may send nothing.
        """
        stream_id = self.get_next_available_stream_id(is_unidirectional=not bidirectional)
        self._get_or_create_stream_for_send(stream_id)
        self.table[stream_id].priority = priority
        if self.is_early and not early:
            self.table.held[stream_id] = None
        return stream_id

    def _settle_early(self, now: float) -> None:
        super()._settle_early(now)
        if self.table.held:
            self.unblock(self.table.held)
            self.table.held.clear()

    def on_run(self, length: int) -> None:
        """Take how many packets, one after another, were lost or did not come."""
        self.redundancy.losses.on_run(length)

    def on_fates(self, now: float, arrived: int, lost: int) -> None:
        """Take what became of packets; with nothing under way there is nothing to watch."""
        if self.redundancy.is_active:
            self.redundancy.on_fates(now, arrived, lost)
            if not self.recovery.bytes_in_flight:
                self.redundancy.forget_arrived()

    @property
    def is_awaited(self) -> bool:
        """Whether somebody waits: for live bytes that are under way, or a client to begin."""
        if not self.recovery.handshake_confirmed:
            return self._is_client
        return self.redundancy.is_active and self.table.has_live_under_way()

    def on_probe(self, now: float) -> None:
        """Let a probe carry what else is under way."""
        self.redundancy.on_probe(now)

    def on_loss(self, now: float, *, is_guess: bool = False) -> None:
        """Take a sign that packets are lost."""
        self._usual = None
        if is_guess:
            self.redundancy.on_guess(now)
        else:
            self.redundancy.on_loss(now)

    def on_false_alarm(self, now: float) -> None:
        """Take it that what was guessed to be lost has arrived; a gap may say otherwise."""
        if not self._gaps.is_open(now):
            self.redundancy.on_false_alarm(now)

    def receive_datagram(self, data: bytes, addr: Address, now: float) -> None:
        """Take a datagram; others missing before it may be a sign of loss."""
        if self.take_plain(data, addr, now):
            return
        space = self._spaces.get(tls.Epoch.ONE_RTT)
        before = space.largest_received_packet if space is not None else -1
        super().receive_datagram(data, addr, now)
        if space is None:
            return
        if self._gaps.is_filled(space.ack_queue, now) and not self.recovery.is_suspecting:
            self.redundancy.on_false_alarm(now)
        if 0 <= before < space.largest_received_packet - 1:
            self._on_gap(range(before + 1, space.largest_received_packet), now)
            self._tells_gap = space.ack_at is not None
            self.hasten_ack(now)

    def _on_gap(self, gap: range, now: float) -> None:
        self.on_run(len(gap))
        verdict = self._gaps.judge(gap, now, by_server=self._is_client)
        if verdict is not Verdict.NOTHING:
            self.on_loss(now, is_guess=verdict is Verdict.GUESS)

    def datagrams_to_send(self, now: float) -> list[tuple[bytes, Address]]:
        """Take what leaves now, and with it copies of what may be lost."""
        recovery = self.recovery
        self._known_losses = recovery.lost_packets
        self._tells_gap = False
        if not (self.redundancy.is_active or self.hears_late) and recovery.is_silent(now):
            recovery.suspect(recovery.spaces[-1])
            self.redundancy.on_silence(now)
        if self.redundancy.is_active:
            window = recovery.congestion_window
            self.redundancy.on_habit(recovery.ack_lateness, recovery.passed_at, recovery.variance)
            self.redundancy.advance(now, recovery.rtt, window - recovery.bytes_in_flight, window)
            if self.redundancy.take_probe(now):
                self._send_probe()
            if not recovery.handshake_confirmed:
                self._insist(now)
        recovery.is_asking = bool(self._ping_pending)
        datagrams = super().datagrams_to_send(now)
        recovery.is_asking = False
        return datagrams

    def _insist(self, now: float) -> None:
        """Let a client's last handshake message go along with its first bytes again.

        Without it the server can read nothing, and its loss would cost a probe time-out.
        """
        if self._is_client and self._handshake_complete and self.table.busy and self._insistence:
            space = self._spaces[tls.Epoch.HANDSHAKE]
            self._insistence -= self.recovery.repeat_crypto(space, now, now - APART)

    def repeat_hello(self, now: float) -> None:
        """Let a client's first packet leave again, if nothing came and it is not on its way."""
        self.recovery.begin_again(self._spaces[tls.Epoch.INITIAL], now, now - APART)

    def get_timer(self) -> float | None:
        """Return when to call `handle_timer`; None: never."""
        if not self.redundancy.is_active:
            return super().get_timer()
        timer, due_at = super().get_timer(), self.redundancy.due_at
        if due_at is None or self.is_closing:
            return timer
        return due_at if timer is None else min(timer, due_at)

    def is_calm_until(self, when: float, now: float) -> bool:
        """Whether surely nothing is due before that time; False may be wrong.

        What was sent is looked after a probe time-out later, and that is never less than what
        the peer may take for its ACK.
        """
        return self.redundancy.due_at is None and self.is_plainly_calm_until(when, now)

    def dismantle(self) -> None:
        """Keep what is still asked of a connection that is over, and nothing that refers to it.

        Upstream's objects refer to each other all around, so that only the collector could
        free them, and a crowd that leaves at once would stop the loop for it.
        """
        self.table.dismantle()
        for space in self._spaces.values():  # its packets refer to it, each by the fate of an ACK
            space.sent_packets.clear()
        for name in self.__dict__.keys() - KEPT:
            del self.__dict__[name]

    def _adopt(self, stream: QuicStream) -> HeldStream:
        """Exchange the parts of a stream that upstream just made and goes on using."""
        readable, writable = not stream.receiver.is_finished, not stream.sender.is_finished
        stream_id = stream.stream_id
        stream.receiver = receiver = Receiver(stream_id=stream_id, readable=readable)
        stream.sender = sender = Sender(stream_id=stream_id, writable=writable)
        sender.table = receiver.table = self.table
        stream.__class__ = HeldStream  # upstream holds this object
        held = cast("HeldStream", stream)  # the line above made it one
        held.priority = held.handed_bytes = 0
        held.is_released = not readable
        return held

    def _close_begin(self, is_initiator: bool, now: float) -> None:
        self._is_initiator = is_initiator
        super()._close_begin(is_initiator, now)

    @property  # type: ignore[override]  # narrower than upstream's, which uses it as a list
    def _streams_queue(self) -> BusyStreams:
        busy = self.table.busy
        return busy if busy.is_sorted else busy.in_order()

    @_streams_queue.setter  # type: ignore[override]  # as above
    def _streams_queue(self, streams: Iterable[HeldStream]) -> None:
        self.table.busy.reset(streams)
