"""What a peer may not do to a connection, beyond what upstream forbids."""

import secrets
from collections.abc import Callable, Sequence
from typing import Final

from aioquic._buffer import Buffer
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnectionError, QuicReceiveContext
from aioquic.quic.packet import QuicErrorCode
from aioquic.tls import SessionTicketFetcher, SessionTicketHandler

from moqvox.transport.address import Address
from moqvox.transport.aioquic.bucket import Bucket
from moqvox.transport.aioquic.limits import (
    MAX_CRYPTO_FROM_CLIENT,
    MAX_CRYPTO_FROM_SERVER,
    Limits,
)
from moqvox.transport.aioquic.private.plain import PlainConnection
from moqvox.transport.aioquic.private.receiver import Receiver

__all__ = ["GuardedConnection"]

BULK_BYTES: Final = 128 * 1024
"""So much within `BULK_SECONDS` is no voice, and a number is left out after it."""

BULK_SECONDS: Final = 1.0
SKIP_WITHIN: Final = 64
MAX_SKIPPED: Final = 64
"""Numbers remembered that were left out; ACKs reach no further back than they do."""


class GuardedConnection(PlainConnection):
    """A connection with bounds on handshake bytes and churn, and numbers that nobody can guess.

    Attributes:
        skipped_numbers: packet numbers that were never used; who acknowledges one lies
            (RFC 9000, section 21.4). They are left out in bulk only, where a forged ACK would
            make us send faster: to a voice receiver each looks like a lost packet.
    """

    def __init__(
        self,
        limits: Limits,
        *,
        configuration: QuicConfiguration,
        original_destination_connection_id: bytes | None,
        retry_source_connection_id: bytes | None,
        session_ticket_fetcher: SessionTicketFetcher | None,
        session_ticket_handler: SessionTicketHandler | None,
        token_handler: Callable[[bytes], None] | None,
    ) -> None:
        super().__init__(
            configuration=configuration,
            original_destination_connection_id=original_destination_connection_id,
            retry_source_connection_id=retry_source_connection_id,
            session_ticket_fetcher=session_ticket_fetcher,
            session_ticket_handler=session_ticket_handler,
            token_handler=token_handler,
        )
        self._limits = limits
        self._churn = Bucket.full(limits.stream_resets_per_second, limits.stream_reset_burst, 0.0)
        self.skipped_numbers: Sequence[int] = ()
        self._skip_at: int | None = None
        self._bulk_bytes = 0
        self._bulk_since = 0.0

    def datagrams_to_send(self, now: float) -> list[tuple[bytes, Address]]:
        """Build what is due; after much in a short time, leave a number out."""
        if self._skip_at is not None and self._packet_number >= self._skip_at:
            self.skipped_numbers = (*self.skipped_numbers, self._packet_number)[-MAX_SKIPPED:]
            self._packet_number += 1
            self._skip_at = None
        datagrams = super().datagrams_to_send(now)
        if len(datagrams) > 1:
            self._watch_bulk(datagrams, now)
        return datagrams

    def _watch_bulk(self, datagrams: list[tuple[bytes, Address]], now: float) -> None:
        if now - self._bulk_since > BULK_SECONDS:
            self._bulk_since, self._bulk_bytes = now, 0
        self._bulk_bytes += sum(len(data) for data, _ in datagrams)
        if self._bulk_bytes >= BULK_BYTES and self._skip_at is None and not self._is_client:
            self._skip_at = self._packet_number + secrets.randbelow(SKIP_WITHIN)
            self._bulk_bytes = 0

    def _initialize(self, peer_cid: bytes) -> None:
        """Begin; handshake bytes may have no more gaps than a stream's."""
        super()._initialize(peer_cid)
        for stream in self._crypto_streams.values():
            stream.receiver = Receiver(stream_id=None, readable=True)

    def _handle_crypto_frame(
        self, context: QuicReceiveContext, frame_type: int, buf: Buffer
    ) -> None:
        """Take handshake bytes; upstream keeps half a megabyte ahead of the first missing one."""
        start = buf.tell()
        stop = buf.pull_uint_var() + buf.pull_uint_var()
        buf.seek(start)
        most = MAX_CRYPTO_FROM_SERVER if self._is_client else MAX_CRYPTO_FROM_CLIENT
        if stop - self._crypto_streams[context.epoch].receiver.starting_offset() > most:
            raise QuicConnectionError(
                QuicErrorCode.CRYPTO_BUFFER_EXCEEDED, frame_type, "handshake bytes too far ahead"
            )
        super()._handle_crypto_frame(context, frame_type, buf)

    def _handle_reset_stream_frame(
        self, context: QuicReceiveContext, frame_type: int, buf: Buffer
    ) -> None:
        self._count_churn(context, frame_type)
        super()._handle_reset_stream_frame(context, frame_type, buf)

    def _handle_stop_sending_frame(
        self, context: QuicReceiveContext, frame_type: int, buf: Buffer
    ) -> None:
        self._count_churn(context, frame_type)
        super()._handle_stop_sending_frame(context, frame_type, buf)

    def _count_churn(self, context: QuicReceiveContext, frame_type: int) -> None:
        """Count a stream that was abandoned; each costs us as much as a useful one."""
        if not self._churn.take(context.time):
            raise QuicConnectionError(
                QuicErrorCode.INTERNAL_ERROR, frame_type, "streams are abandoned too fast"
            )
