"""A server's connection until its handshake is complete and it is known what it is."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Final, Protocol

from aioquic.quic.events import (
    DatagramFrameReceived,
    HandshakeCompleted,
    ProtocolNegotiated,
    QuicEvent,
    StreamDataReceived,
    StreamReset,
)
from aioquic.quic.packet import QuicErrorCode

from moqvox.transport.address import Address, show
from moqvox.transport.aioquic.ending import Ending
from moqvox.transport.aioquic.link import Link
from moqvox.transport.aioquic.prefixes import prefix_of
from moqvox.transport.aioquic.raw import RawConnection
from moqvox.transport.aioquic.tokens import Tokens
from moqvox.transport.aioquic.webtransport import WebTransportConnection
from moqvox.transport.failures import ConnectFailed
from moqvox.transport.interface import Closed

__all__ = ["H3", "Greeting"]

logger = logging.getLogger("moqvox.transport.aioquic")

H3: Final = "h3"
"""ALPN of HTTP/3, which carries WebTransport."""


NEWS: Final = (HandshakeCompleted, StreamDataReceived, StreamReset, DatagramFrameReceived)
"""Events with which a connection begins that has not begun to speak by itself."""


class Door(Protocol):
    """What a greeting needs of the admission that it belongs to."""

    tokens: Tokens
    protocols: Sequence[str]
    webtransport: bool

    @property
    def is_crowded(self) -> bool:
        """Whether so many handshakes are open that only who is through gets a session."""

    def admit(self, connection: RawConnection) -> None:
        """Queue a connection for `accept`, or refuse it."""

    def wake(self, greeting: "Greeting") -> None:
        """Count a handshake among those of which all is kept, as the latest."""

    def dismiss(self, greeting: "Greeting", now: float, *, is_complete: bool) -> None:
        """Count a handshake no longer as half open."""


class Greeting:
    """Observes a link until its connection can do so by itself.

    A raw connection is handed over before the handshake is complete, as soon as there are keys
    for what a server may say first: with its first flight, half a round trip after the client's
    packet left. Till then it counts as half open all the same. In a crowd there is nothing for
    it to be handed over to before the client has answered: a session costs more than all the
    rest, and most of a flood never come so far.
    """

    def __init__(self, door: Door, link: Link, address: Address, *, is_proven: bool) -> None:
        self.prefix = prefix_of(address)
        self.is_proven = is_proven
        self._door = door
        self._link = link
        self._address = address
        self._loop = asyncio.get_running_loop()
        self._session: WebTransportConnection | None = None
        self._raw: RawConnection | None = None
        self._protocol: str | None = None
        self._deadline = self._loop.call_later(link.limits.handshake_timeout, self._expire)
        link.on_taken_up = self._wake

    def _expire(self) -> None:
        logger.debug("dropping %s: no handshake in time", show(self._address))
        if self._link.is_aside:
            self._link.abort(Closed(0, "no handshake in time", lost=True))
        else:
            self._break_off()

    def close(self, code: int = 0, reason: str = "") -> None:
        """Close what there is."""
        if self._raw is not None:
            self._raw.close(code, reason)
        else:
            self._break_off()

    def _break_off(self) -> None:
        """Break off the handshake; there is no session yet that a code could belong to."""
        ending = Ending(QuicErrorCode.CONNECTION_REFUSED, is_transport=True, reason="")
        self._link.close(ending, linger=0.0)
        self._settle(is_complete=False)

    def _settle(self, *, is_complete: bool) -> None:
        self._deadline.cancel()
        self._link.on_taken_up = None
        self._door.dismiss(self, self._loop.time(), is_complete=is_complete)

    @property
    def is_aside(self) -> bool:
        """Whether no more than a record of the connection is left."""
        return self._link.is_aside

    @property
    def makes_way(self) -> bool:
        """Whether little will be kept of the connection, but all of it is there still."""
        return self._link.makes_way

    def make_way(self) -> bool:
        """Keep little of the connection soon; false if it has something to say before."""
        return self._link.make_way()

    def step_aside(self) -> None:
        """Keep little of the connection now, if it still makes way."""
        self._link.step_aside()

    def _wake(self) -> None:
        self._door.wake(self)

    # The observer of the link.

    def on_engine_event(self, event: QuicEvent) -> None:
        """Hand over to what the negotiated protocol calls for."""
        if isinstance(event, ProtocolNegotiated) and self._link.engine.has_begun:
            self._protocol = event.alpn_protocol or ""
            if not self._door.is_crowded:
                self._begin()
            return
        if self._protocol is not None and isinstance(event, NEWS):
            self._begin()
        if self._session is not None:
            self._session.on_engine_event(event)
        elif self._raw is not None:
            self._raw.on_engine_event(event)
        if isinstance(event, HandshakeCompleted):
            self._complete()

    def _begin(self) -> None:
        protocol, self._protocol = self._protocol or "", None
        if self._door.webtransport and protocol == H3:
            # Now rather than when the handshake is complete: SETTINGS travel with the
            # server's first flight, and the client may ask for its session at once.
            self._session = WebTransportConnection(
                self._link,
                is_client=False,
                protocols=self._door.protocols,
                sponsor=self,
            )
            self._session.start()
            return
        self._raw = RawConnection(self._link, protocol=protocol, is_client=False)
        self._door.admit(self._raw)

    def _complete(self) -> None:
        """Give the client a token for the next time, and a raw connection its link."""
        self._link.is_newcomer = False
        self._link.hear(patient=self._raw is not None)
        self._link.engine.offer_token(self._door.tokens.for_later(self._address))
        if self._raw is not None:
            self._settle(is_complete=True)
            self._link.observer = self._raw

    def established(self, connection: WebTransportConnection) -> None:
        """End the greeting with a session."""
        self._settle(is_complete=True)
        self._session = None
        self._link.observer = connection
        self._door.admit(connection)

    def rejected(self, failure: ConnectFailed) -> None:
        """Nothing; only servers reject."""

    def on_writable(self, streams: list[int]) -> None:
        """Pass on what concerns a raw connection; of a session nothing waits in great numbers."""
        if self._raw is not None:
            self._raw.on_writable(streams)

    def on_discarded(self, streams: list[int]) -> None:
        """Pass on what concerns a connection in the making."""
        connection = self._session or self._raw
        if connection is not None:
            connection.on_discarded(streams)

    def on_path(self, address: Address, cause: str) -> None:
        """Note the address for the log, and for the token."""
        self._address = address
        if self._raw is not None:
            self._raw.on_path(address, cause)

    def on_over(self, closed: Closed) -> None:
        """Forget a handshake that failed; its late packets are answered no more."""
        self._settle(is_complete=False)
        self._link.vanish()
        self._session = None
        logger.debug("handshake of %s failed: %s", show(self._address), closed.reason)
        if self._raw is not None:
            self._raw.on_over(closed)
