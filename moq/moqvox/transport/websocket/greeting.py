"""A client at a listener's door, until it is known what it wants."""

import asyncio
import ipaddress
import logging
import ssl
from collections.abc import Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, cast

import msgspec
from websockets.http11 import Request, Response
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from moqvox.transport.interface import Closed
from moqvox.transport.websocket.connection import WebSocketConnection
from moqvox.transport.websocket.http import Http, answer, is_upgrade, refusal
from moqvox.transport.websocket.limits import MAX_MESSAGE_BYTES, Limits
from moqvox.transport.websocket.pipe import Pipe
from moqvox.transport.websocket.wire import LIBRARY_LOG, Wire

if TYPE_CHECKING:
    from moqvox.transport.websocket.serve import Listener

__all__ = ["Greeting", "Terms"]

logger = logging.getLogger("moqvox.transport.websocket")

SWITCHING_PROTOCOLS: Final = 101


class Terms(msgspec.Struct, frozen=True):
    """What a listener offers, the same for every client.

    Attributes:
        subprotocols: the preferred first.
        tls: None: plain TCP only.
        http: who answers what is no WebSocket.
    """

    subprotocols: tuple[str, ...]
    tls: ssl.SSLContext | None
    http: Http | None
    idle_timeout: float
    limits: Limits


class Greeting:
    """One TCP connection from accept to a WebSocket in use. Observes its wire till then."""

    def __init__(self, listener: "Listener", terms: Terms) -> None:
        self._listener = listener
        self._terms = terms
        names = cast("Sequence[Subprotocol]", terms.subprotocols)  # a str by another name
        self._socket = ServerProtocol(
            subprotocols=names, max_size=MAX_MESSAGE_BYTES, logger=LIBRARY_LOG
        )
        limits = terms.limits
        self._wire = Wire(self._socket, self, max_reply_bytes=limits.max_reply_bytes)
        self.pipe = Pipe(self._wire, burst_bytes=limits.burst_bytes, sniff=terms.tls)
        self._wire.pipe = self.pipe
        self._loop = asyncio.get_running_loop()
        self._deadline = self._loop.call_later(limits.handshake_timeout, self._expire)

    def _expire(self) -> None:
        logger.debug("dropping %s: too slow", self.pipe.remote_address)
        self.pipe.abort()

    # The wire's calls.

    def on_ready(self) -> None:
        """Wait for the request."""

    def on_head(self, head: Request | Response) -> None:
        """Answer a request, or open a WebSocket."""
        if not isinstance(head, Request):
            return
        if is_upgrade(head):
            self._upgrade(head)
            return
        self._respond(
            answer(
                self._terms.http,
                head,
                is_secure=self.pipe.is_secure,
                remote_address=self.pipe.remote_address,
            )
        )

    def _upgrade(self, request: Request) -> None:
        if not self._terms.subprotocols:
            self._respond(refusal(HTTPStatus.NOT_FOUND, "no WebSockets here"))
            return
        if self._listener.is_refusing:
            self._respond(refusal(HTTPStatus.SERVICE_UNAVAILABLE, "going away"))
            return
        if self._terms.tls is not None and not self.pipe.is_secure and not self._is_neighbour():
            self._respond(refusal(HTTPStatus.FORBIDDEN, "WebSockets need TLS here: use wss://"))
            return
        response = self._socket.accept(request)
        if response.status_code != SWITCHING_PROTOCOLS or self._socket.subprotocol is None:
            logger.debug("refusing %s: %s", self.pipe.remote_address, response.status_code)
            self._respond(response)
            return
        self._socket.send_response(response)
        self._wire.flush()
        connection = WebSocketConnection(
            self._wire,
            self._socket.subprotocol,
            path=request.path,
            is_client=False,
            limits=self._terms.limits,
            idle_timeout=self._terms.idle_timeout,
            sponsor=self,
        )
        connection.begin()

    def _is_neighbour(self) -> bool:
        """Whether the client is on this machine, so that nobody is on the way to listen in.

        A proxy that ends TLS here is one too, and so is a page on localhost.
        """
        try:
            address = ipaddress.ip_address(self.pipe.remote_host.partition("%")[0])
        except ValueError:
            return False
        mapped = getattr(address, "ipv4_mapped", None)
        return (mapped or address).is_loopback

    def _respond(self, response: Response) -> None:
        """Answer, and close when that is read."""
        self._deadline.cancel()
        timeout = self._terms.limits.answer_timeout
        self._deadline = self._loop.call_later(timeout, self._expire)
        self._socket.send_response(response)
        self._wire.flush()

    def on_message(self, data: bytes) -> None:
        """Nothing: messages belong to a connection."""

    def on_text(self) -> None:
        """Nothing, as above."""

    def on_pong(self) -> None:
        """Nothing, as above."""

    def on_goodbye(self, code: int, reason: str) -> None:
        """Nothing, as above."""

    def on_broken(self, reason: str) -> None:
        """Close: that was no HTTP."""
        logger.debug("no HTTP from %s: %s", self.pipe.remote_address, reason)
        self.pipe.close()

    def on_room(self) -> None:
        """Nothing: answers are in the buffer already."""

    def on_lost(self, exc: Exception | None) -> None:
        """Forget a client that got its answer, or none."""
        self._deadline.cancel()
        self._listener.forget(self)
        if exc is not None:
            logger.debug("handshake of %s failed: %s", self.pipe.remote_address, exc)

    # The connection's calls.

    def established(self, connection: WebSocketConnection) -> None:
        """Hand a connection over to whoever accepts."""
        self._deadline.cancel()
        self._listener.admit(self, connection)

    def gone(self, connection: WebSocketConnection, closed: Closed) -> None:
        """Forget a connection that is over in every respect."""
        self._deadline.cancel()
        self._listener.forget(self, connection)
