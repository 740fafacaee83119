"""Which new connections a server lets in, and what becomes of them."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import HandshakeCompleted, ProtocolNegotiated, QuicEvent
from aioquic.quic.packet import (
    QuicErrorCode,
    encode_quic_retry,
    encode_quic_version_negotiation,
)
from aioquic.quic.retry import QuicRetryTokenHandler

from moqvox.errors import SessionClosed
from moqvox.transport.address import Address, show
from moqvox.transport.aioquic.connection_ids import Issuer
from moqvox.transport.aioquic.ending import Ending
from moqvox.transport.aioquic.endpoint import LONG_HEADER, Endpoint
from moqvox.transport.aioquic.headers import MIN_INITIAL_BYTES, LongHeader, parse_long_header
from moqvox.transport.aioquic.limits import Limits
from moqvox.transport.aioquic.link import Link
from moqvox.transport.aioquic.private import Engine
from moqvox.transport.aioquic.raw import RawConnection
from moqvox.transport.aioquic.resets import Resets
from moqvox.transport.aioquic.webtransport import WebTransportConnection
from moqvox.transport.failures import ConnectFailed
from moqvox.transport.interface import Closed

__all__ = ["H3", "Admission"]

logger = logging.getLogger("moqvox.transport.aioquic")

H3: Final = "h3"
"""ALPN of HTTP/3, which carries WebTransport."""


class Admission:
    """The door of one listener: caps, Retry, version negotiation, the queue of arrivals."""

    def __init__(
        self,
        configuration: QuicConfiguration,
        protocols: Sequence[str],
        limits: Limits,
        *,
        webtransport: bool,
        issuer: Issuer,
    ) -> None:
        self.keys = issuer.keys
        self.resets = Resets(issuer, per_second=limits.max_resets)
        self._issuer = issuer
        self.protocols = tuple(protocols)
        self.webtransport = webtransport
        self._limits = limits
        self._configuration = configuration
        self._tokens = QuicRetryTokenHandler()
        self._arrived: asyncio.Queue[RawConnection | None] = asyncio.Queue()
        self._half_open: set[Greeting] = set()
        self._closed: SessionClosed | None = None

    # The endpoint's questions.

    def on_refused(self, error: OSError) -> None:
        """Nothing: a peer that went away is found out by its connection."""

    def on_stranger(self, data: bytes, address: Address, endpoint: Endpoint) -> Link | None:
        """Open a connection for a client's first packet, or answer it, or drop it."""
        if not data[0] & LONG_HEADER:
            self._reset(data, address, endpoint)
            return None
        if len(data) < MIN_INITIAL_BYTES or self._closed is not None:
            return None
        header = parse_long_header(data)
        if header is None:
            return None
        if header.version not in self._configuration.supported_versions:
            self._negotiate_version(header, address, endpoint)
            return None
        if not header.is_initial or not self._has_room(endpoint):
            return None
        now = endpoint.now()
        if header.token:
            original = self._original(header, address, now)
            if original is not None:
                return self._open(endpoint, address, original, header.destination)
        if len(self._half_open) >= self._limits.retry_above_half_open:
            self._ask_to_retry(header, address, endpoint, now)
            return None
        return self._open(endpoint, address, header.destination, None)

    def _reset(self, data: bytes, address: Address, endpoint: Endpoint) -> None:
        """Tell whoever goes on with a connection that is gone."""
        answer = self.resets.answer(data, endpoint.now())
        if answer is not None:
            endpoint.send(None, answer, address)

    def _has_room(self, endpoint: Endpoint) -> bool:
        limits = self._limits
        return (
            len(endpoint) < limits.max_connections and len(self._half_open) < limits.max_half_open
        )

    def _negotiate_version(self, header: LongHeader, address: Address, endpoint: Endpoint) -> None:
        if header.version == 0:  # an answer to that would be answered in turn
            return
        answer = encode_quic_version_negotiation(
            source_cid=header.destination,
            destination_cid=header.source,
            supported_versions=self._configuration.supported_versions,
        )
        endpoint.send(None, answer, address)

    def _ask_to_retry(
        self, header: LongHeader, address: Address, endpoint: Endpoint, now: float
    ) -> None:
        """Make the client prove its address before it costs us anything."""
        connection_id = self._issuer.make()
        token = self._tokens.create_token(
            address=address,
            original_destination_connection_id=header.destination,
            retry_source_connection_id=connection_id,
            now=now,
        )
        answer = encode_quic_retry(
            version=header.version,
            source_cid=connection_id,
            destination_cid=header.source,
            original_destination_cid=header.destination,
            retry_token=token,
        )
        endpoint.send(None, answer, address)

    def _original(self, header: LongHeader, address: Address, now: float) -> bytes | None:
        """Check a token; the connection ID of the client's very first packet, or None."""
        try:
            return self._tokens.validate_token(
                address=address, destination_cid=header.destination, token=header.token, now=now
            )
        except ValueError:
            return None

    def _open(
        self, endpoint: Endpoint, address: Address, original: bytes, retry_id: bytes | None
    ) -> Link:
        engine = Engine(
            self._configuration,
            self._limits,
            original_destination_connection_id=original,
            retry_source_connection_id=retry_id,
            issuer=self._issuer,
        )
        link = Link(engine, self._limits, endpoint)
        endpoint.add(link, retry_id or original, engine.host_cid)
        greeting = Greeting(self, link, show(address), self._limits.handshake_timeout)
        link.observer = greeting
        self._half_open.add(greeting)
        return link

    # The greetings' answers.

    def admit(self, greeting: "Greeting", connection: RawConnection) -> None:
        """Queue a connection for `accept`; refuse it when nobody has accepted for long."""
        self.dismiss(greeting)
        if self._arrived.qsize() >= self._limits.max_unaccepted:
            logger.warning("refusing %s: too many wait for accept", connection.remote_address)
            connection.refuse()
            return
        logger.info(
            "accepted %s: %s over %s",
            connection.remote_address,
            connection.protocol,
            connection.kind.value,
        )
        self._arrived.put_nowait(connection)

    def dismiss(self, greeting: "Greeting") -> None:
        """Count a handshake no longer as half open."""
        self._half_open.discard(greeting)

    # The listener.

    async def accept(self) -> RawConnection:
        """Wait for the next connection.

        Raises:
            SessionClosed: the listener is closed.
        """
        while True:
            connection = await self._arrived.get()
            if connection is not None:
                return connection
            self._arrived.put_nowait(None)  # for whoever waits besides
            if self._closed is not None:
                raise self._closed

    def close(self, code: int, reason: str) -> None:
        """Let nobody in any more, and wake those who wait in `accept`."""
        if self._closed is None:
            self._closed = SessionClosed(code, reason)
            self._arrived.put_nowait(None)


class Greeting:
    """A connection until it is known what it is; observes its link till then."""

    def __init__(self, admission: Admission, link: Link, remote: str, timeout: float) -> None:
        self._admission = admission
        self._link = link
        self._remote = remote
        self._session: WebTransportConnection | None = None
        self._deadline = asyncio.get_running_loop().call_later(timeout, self._expire)

    def _expire(self) -> None:
        logger.debug("dropping %s: no handshake in time", self._remote)
        self.close()

    def close(self, code: int = 0, reason: str = "") -> None:
        """Break off the handshake; there is no session yet that a code could belong to."""
        ending = Ending(QuicErrorCode.CONNECTION_REFUSED, is_transport=True, reason=reason)
        self._link.close(ending, linger=0.0)
        self._admission.dismiss(self)

    def on_engine_event(self, event: QuicEvent) -> None:
        """Hand over to what the negotiated protocol calls for."""
        if self._asks_for_http3(event):
            # Now rather than when the handshake is complete: SETTINGS travel with the
            # server's first flight, and the client may ask for its session at once.
            self._session = WebTransportConnection(
                self._link,
                is_client=False,
                protocols=self._admission.protocols,
                sponsor=self,
            )
            self._session.start()
        elif self._session is not None:
            self._session.on_engine_event(event)
        elif isinstance(event, HandshakeCompleted):
            protocol = event.alpn_protocol or ""
            self._done(RawConnection(self._link, protocol=protocol, is_client=False))

    def _asks_for_http3(self, event: QuicEvent) -> bool:
        return (
            self._admission.webtransport
            and isinstance(event, ProtocolNegotiated)
            and event.alpn_protocol == H3
        )

    def established(self, connection: WebTransportConnection) -> None:
        """End the greeting with a session."""
        self._done(connection)

    def rejected(self, failure: ConnectFailed) -> None:
        """Nothing; only servers reject."""

    def _done(self, connection: RawConnection) -> None:
        self._deadline.cancel()
        self._link.observer = connection
        self._admission.admit(self, connection)

    def on_writable(self, streams: list[int]) -> None:
        """Nothing waits in great numbers yet."""

    def on_discarded(self, streams: list[int]) -> None:
        """Pass on what concerns a session in the making."""
        if self._session is not None:
            self._session.on_discarded(streams)

    def on_path(self, address: Address) -> None:
        """Note the address for the log."""
        self._remote = show(address)

    def on_over(self, closed: Closed) -> None:
        """Forget a handshake that failed."""
        self._deadline.cancel()
        self._admission.dismiss(self)
        logger.debug("handshake of %s failed: %s", self._remote, closed.reason)
