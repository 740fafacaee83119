"""Beginning sooner: tickets that keep no state, tokens, and early data that is not lost.

RFC 9001, sections 4.6 and 4.1.4; RFC 9000, section 8.1.3; RFC 8446, section 4.6.1.
"""

import math
import os
import ssl
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from aioquic import tls
from aioquic._buffer import Buffer
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import (
    CRYPTO_BUFFER_SIZE,
    MAX_EARLY_DATA,
    QuicConnectionState,
    QuicNetworkPath,
    QuicReceiveContext,
)
from aioquic.quic.packet import QuicFrameType
from aioquic.quic.packet_builder import QuicDeliveryState, QuicPacketBuilder

from moqvox.transport.address import Address
from moqvox.transport.aioquic.identity import check_pin
from moqvox.transport.aioquic.limits import Limits
from moqvox.transport.aioquic.private.compact import InitialKeys, LeanContext, slim_path
from moqvox.transport.aioquic.private.guard import GuardedConnection
from moqvox.transport.aioquic.private.recovery import Recovery
from moqvox.transport.aioquic.roots import Roots
from moqvox.transport.aioquic.tickets import TICKET_SECONDS, Resumed, Tickets, session_of

__all__ = ["HandshakeConnection"]

TOKEN_OVERHEAD_BYTES: Final = 1 + 2
AGE_ADD: Final = struct.Struct("I")
GROUPS: Final = (tls.Group.X25519, tls.Group.SECP256R1)
"""The fastest, and the one that nobody may lack (RFC 8446, section 9.1)."""

FLIGHT_APART: Final = 0.1
"""Seconds between two repetitions of a server's flight for first packets that come again."""

DESKS: Final = (tls.Epoch.INITIAL, tls.Epoch.HANDSHAKE, tls.Epoch.ONE_RTT)


class HandshakeConnection(GuardedConnection):
    """A connection whose beginning may be shortened, and loses nothing by it."""

    recovery: Recovery

    def __init__(
        self,
        limits: Limits,
        *,
        configuration: QuicConfiguration,
        original_destination_connection_id: bytes | None = None,
        retry_source_connection_id: bytes | None = None,
        tickets: Tickets | None = None,
        is_proven: bool = False,
        pins: frozenset[bytes] = frozenset(),
        roots: Roots | None = None,
        on_ticket: tls.SessionTicketHandler | None = None,
        on_token: Callable[[bytes], None] | None = None,
    ) -> None:
        super().__init__(
            limits,
            configuration=configuration,
            original_destination_connection_id=original_destination_connection_id,
            retry_source_connection_id=retry_source_connection_id,
            session_ticket_fetcher=self._redeem if tickets is not None else None,
            session_ticket_handler=on_ticket,
            token_handler=on_token,
        )
        self._tickets = tickets
        self._is_proven = is_proven
        self._pins = pins
        self._roots = roots
        self._is_vouched_for = False
        self._redeemed: tuple[bytes, Resumed] | None = None
        self._sends_early = False
        self._owes_ticket = False
        self._repeats_from = 0.0

    @property
    def protocol(self) -> str:
        """The negotiated ALPN; empty before that."""
        return self.tls.alpn_negotiated or ""

    @property
    def is_early(self) -> bool:
        """Whether a client sends ahead of the handshake now."""
        return self._sends_early and not self._handshake_complete

    @property
    def has_begun(self) -> bool:
        """Whether there are keys for the application's bytes."""
        return self.is_early or self._cryptos[tls.Epoch.ONE_RTT].send.is_valid()

    def offer_token(self, token: bytes) -> None:
        """Send a client NEW_TOKEN; until it has arrived."""
        self._token_pending = token

    def _find_network_path(self, addr: Address) -> QuicNetworkPath:
        """Find a path; upstream forgets that a token has validated the first one."""
        path = super()._find_network_path(addr)
        if self._state is QuicConnectionState.FIRSTFLIGHT:
            slim_path(path)
        if self._is_proven and self._state is QuicConnectionState.FIRSTFLIGHT:
            path.is_validated = True
        return path

    def _handle_crypto_frame(
        self, context: QuicReceiveContext, frame_type: int, buf: Buffer
    ) -> None:
        was_complete = self._handshake_complete
        if context.epoch is tls.Epoch.INITIAL and not self._is_client:
            self._allow_repetition(context.time)
        with self._desk():
            super()._handle_crypto_frame(context, frame_type, buf)
        if self._handshake_complete and not was_complete:
            if self._is_client:
                self._settle_early(context.time)
            else:
                self._owes_ticket = True

    def _allow_repetition(self, now: float) -> None:
        """Let a first packet that comes again be answered by the whole flight, each time.

        Upstream does so once, and then only acknowledges it; the flight itself leaves after
        pauses that double each time. A client that asks again has not got it. What may be sent
        to an address that is not proven stays bounded by what came from there.
        """
        if self._crypto_retransmitted and now >= self._repeats_from:
            self._crypto_retransmitted = False
        if not self._crypto_retransmitted:
            self._repeats_from = now + FLIGHT_APART

    @contextmanager
    def _desk(self) -> Iterator[None]:
        """Have room to write handshake messages in, for as long as one is dealt with.

        Upstream keeps three buffers of 16 KiB with each connection for its whole life; what is
        written there goes to the streams of the handshake within the same call.
        """
        self._crypto_buffers = {epoch: Buffer(capacity=CRYPTO_BUFFER_SIZE) for epoch in DESKS}
        try:
            yield
        finally:
            self._crypto_buffers = {}

    def _initialize(self, peer_cid: bytes) -> None:
        """Begin. A client makes keys for the two groups that every server has one of.

        Upstream makes four, which costs more than all the rest of its first packet, and lets
        the server take the first.
        """
        super()._initialize(peer_cid)
        if self._is_client:  # it writes its first message next, and needs the buffers for that
            known = self.tls._supported_groups  # noqa: SLF001  # no public way
            known[:] = [group for group in GROUPS if group in known]
            if self._roots is not None and self.tls._verify_mode is ssl.CERT_REQUIRED:  # noqa: SLF001
                self.tls._verify_mode = ssl.CERT_NONE  # noqa: SLF001  # for the roots to check
        else:
            self._crypto_buffers = {}
            LeanContext.adopt(self.tls)
            if self._version is not None:
                pair = self._cryptos[tls.Epoch.INITIAL]
                self._cryptos_initial = InitialKeys(peer_cid, self._version, pair)

    # The server's tickets.

    def _redeem(self, ticket: bytes) -> tls.SessionTicket | None:
        state = self._tickets.redeem(ticket) if self._tickets is not None else None
        if state is None:
            return None
        self._redeemed = ticket, state
        return session_of(ticket, state, self._configuration.server_name)

    def _write_application(
        self, builder: QuicPacketBuilder, network_path: QuicNetworkPath, now: float
    ) -> None:
        """Write; a ticket is made now, and not while a client's first words wait to be read."""
        if self._owes_ticket:
            self._owes_ticket = False
            self._issue_ticket()
        space = self._spaces[tls.Epoch.ONE_RTT]
        if space.ack_at == now:
            # Upstream lets pacing hold it back, and its timer goes off for it until time passes.
            space.ack_at = math.nextafter(now, -math.inf)
        super()._write_application(builder, network_path, now)

    def _issue_ticket(self) -> None:
        """Send a ticket. Upstream makes up its name before anyone may say what is in it."""
        context, tickets = self.tls, self._tickets
        if tickets is None or context._psk_key_exchange_mode is None:  # noqa: SLF001  # no public way
            return
        protocol = context.alpn_negotiated or ""
        message = tls.NewSessionTicket(
            ticket_lifetime=int(TICKET_SECONDS),
            ticket_age_add=AGE_ADD.unpack(os.urandom(AGE_ADD.size))[0],
            ticket_nonce=b"",
            ticket=b"",
            max_early_data_size=MAX_EARLY_DATA if tickets.takes_early(protocol) else None,
        )
        session = context._build_session_ticket(message, [])  # noqa: SLF001  # no public way
        message.ticket = tickets.issue(session, protocol)
        with self._desk():
            tls.push_new_session_ticket(self._crypto_buffers[tls.Epoch.ONE_RTT], message)
            self._push_crypto_data()

    def _update_traffic_key(
        self,
        direction: tls.Direction,
        epoch: tls.Epoch,
        cipher_suite: tls.CipherSuite,
        secret: bytes,
    ) -> None:
        """Install a key; not that of early data which may be a replay.

        Nor the application's while the certificate is not one that is pinned, or that the
        roots vouch for. A resumed session has none; its ticket came from one that was checked.
        """
        if epoch is tls.Epoch.ZERO_RTT:
            if self._is_client:
                self._sends_early = True
            elif not self._takes_early():
                self.tls.early_data_accepted = False
                return
        elif self._is_client and epoch is tls.Epoch.ONE_RTT and not self.tls.session_resumed:
            self._check_certificate()
        super()._update_traffic_key(direction, epoch, cipher_suite, secret)

    def _check_certificate(self) -> None:
        """Check a server's certificate, whose key has signed the handshake.

        There are two keys to install, one for each way, and one certificate.

        Raises:
            Alert: it is not one that is trusted.
        """
        if self._is_vouched_for:
            return
        leaf = self.tls._peer_certificate  # noqa: SLF001  # no public way
        if self._pins:
            check_pin(leaf, self._pins)
        elif self._roots is not None:
            chain = self.tls._peer_certificate_chain  # noqa: SLF001  # no public way
            self._roots.check(leaf, chain, self._configuration.server_name or "")
        self._is_vouched_for = True

    def _takes_early(self) -> bool:
        if self._tickets is None or self._redeemed is None:
            return False
        ticket, state = self._redeemed
        return self._tickets.may_be_early(ticket, state, self.tls.alpn_negotiated)

    # The client's early data.

    def _connect(self, now: float) -> None:
        """Start the handshake, again after a Retry.

        Upstream throws away what was sent early, and goes on counting it as under way.
        """
        self.recovery.requeue_early(now)
        self.recovery.forget_flight()
        super()._connect(now)
        self._crypto_buffers = {}

    def _settle_early(self, now: float) -> None:
        """Send again at once what the server refused to read, under the limits it has now."""
        if not self._sends_early or self.tls.early_data_accepted:
            return
        for stream_id, stream in self._streams.items():
            if stream_id & 2:
                stream.max_stream_data_remote = self._remote_max_stream_data_uni
            else:
                stream.max_stream_data_remote = self._remote_max_stream_data_bidi_remote
        self.recovery.requeue_early(now)

    # NEW_TOKEN.

    def _write_token(self, builder: QuicPacketBuilder) -> None:
        """Write NEW_TOKEN, if there is a token to give."""
        if self._token_pending:
            token = self._token_pending
            buf = builder.start_frame(
                QuicFrameType.NEW_TOKEN,
                capacity=TOKEN_OVERHEAD_BYTES + len(token),
                handler=self._on_token_delivery,
                handler_args=(token,),
            )
            buf.push_uint_var(len(token))
            buf.push_bytes(token)
            self._token_pending = b""

    def _on_token_delivery(self, delivery: QuicDeliveryState, token: bytes) -> None:
        if delivery != QuicDeliveryState.ACKED:
            self._token_pending = token
