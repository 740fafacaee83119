"""Listening: WebSockets and plain HTTP, with TLS and without, on one TCP port."""

import asyncio
import logging
import socket
from collections.abc import Mapping, Sequence
from typing import Final, cast

from moqvox.errors import LocalError, SessionCode
from moqvox.transport.arrivals import Arrivals
from moqvox.transport.credentials import ServerCertificate
from moqvox.transport.websocket.connection import WebSocketConnection
from moqvox.transport.websocket.greeting import Greeting, Terms
from moqvox.transport.websocket.http import Http
from moqvox.transport.websocket.limits import Limits
from moqvox.transport.websocket.sockets import bind_all
from moqvox.transport.websocket.subprotocols import names
from moqvox.transport.websocket.tls import server_context

__all__ = ["Listener", "listen_websocket"]

logger = logging.getLogger("moqvox.transport.websocket")

BACKLOG: Final = 512


class _Turned(asyncio.Protocol):
    """A TCP connection too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Close it."""
        cast("asyncio.Transport", transport).abort()


class Listener:
    """A `transport.interface.Listener` on TCP. Owns its sockets."""

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self._servers: list[asyncio.Server] = []
        self._addresses: list[tuple[str, int]] = []
        self._half_open: set[Greeting] = set()
        self._connections: set[WebSocketConnection] = set()
        self._arrivals: Arrivals[WebSocketConnection] = Arrivals()
        self.is_refusing = False

    async def bind(self, host: str, port: int, sockets: Sequence[socket.socket] = ()) -> None:
        """Bind and begin to listen; on these sockets, if there are any, and nowhere else.

        Raises:
            LocalError: an address can't be bound.
            HostUnknown: the name has no address.
        """
        loop = asyncio.get_running_loop()
        for sock in sockets or await bind_all(host, port):
            self._addresses.append(sock.getsockname()[:2])
            self._servers.append(
                await loop.create_server(self._welcome, sock=sock, backlog=BACKLOG)
            )

    @property
    def addresses(self) -> Sequence[tuple[str, int]]:
        """Bound host and port pairs."""
        return self._addresses

    async def accept(self) -> WebSocketConnection:
        """Wait for the next connection, its protocol negotiated.

        Raises:
            SessionClosed: the listener is closed.
        """
        return await self._arrivals.next()

    def counters(self) -> Mapping[str, int]:
        """Nothing is counted here."""
        return {}

    def refuse(self) -> None:
        """Answer new WebSockets with 503; plain requests are answered as before."""
        self.is_refusing = True

    async def close(self, code: int = 0, reason: str = "") -> None:
        """Refuse new connections, close the open ones, free the port."""
        self._arrivals.close(code, reason)
        for server in self._servers:
            server.close()
        for greeting in list(self._half_open):
            greeting.pipe.abort()
        connections = list(self._connections)
        for connection in connections:
            connection.close(code, reason)
        for connection in connections:
            await connection.wait_closed()
        for server in self._servers:
            await server.wait_closed()

    def _welcome(self) -> asyncio.Protocol:
        """Take a TCP connection, if there is room for it."""
        limits = self._terms.limits
        half_open = len(self._half_open)
        if (
            self._arrivals.is_closed
            or half_open >= limits.max_half_open
            or half_open + len(self._connections) >= limits.max_connections
        ):
            return _Turned()
        greeting = Greeting(self, self._terms)
        self._half_open.add(greeting)
        return greeting.pipe

    # The greetings' answers.

    def admit(self, greeting: Greeting, connection: WebSocketConnection) -> None:
        """Queue a connection for `accept`; refuse it when nobody has accepted for long."""
        self._half_open.discard(greeting)
        self._connections.add(connection)
        where = connection.remote_address
        if len(self._arrivals) >= self._terms.limits.max_unaccepted:
            logger.warning("refusing %s: too many wait for accept", where)
            connection.close(SessionCode.EXCESSIVE_LOAD, "busy")
            return
        logger.info("accepted %s: %s over %s", where, connection.protocol, connection.kind.value)
        self._arrivals.add(connection)

    def forget(self, greeting: Greeting, connection: WebSocketConnection | None = None) -> None:
        """Let go of a client whose socket is closed."""
        self._half_open.discard(greeting)
        if connection is not None:
            self._connections.discard(connection)


async def listen_websocket(
    host: str,
    port: int,
    *,
    protocols: Sequence[str],
    tls: ServerCertificate | None,
    http: Http | None = None,
    idle_timeout: float = 30.0,
    limits: Limits | None = None,
    sockets: Sequence[socket.socket] = (),
) -> Listener:
    """Listen on a TCP port for QMux over WebSocket.

    A client's first byte tells whether it wants TLS. Without TLS, a listener that has a
    certificate takes WebSockets from this machine only.

    Args:
        host: a name or address; "" and "::" are every address, IPv4 and IPv6.
        port: 0 picks a free one.
        protocols: names of application protocols, the preferred first; none: no WebSockets,
            only plain requests.
        tls: the server's identity; None: no TLS, for instance because a proxy has it.
        http: who answers plain requests; None: they get 404.
        idle_timeout: seconds of silence after which a connection is lost.
        limits: bounds; None: the defaults.
        sockets: TCP sockets to use instead of binding `host` and `port`; taken over. Several
            processes may share one: each takes connections when it has time.

    Raises:
        LocalError: neither protocol nor `http`, a certificate that can't be used, or an
            address that can't be bound.
        HostUnknown: the name has no address.
    """
    if not protocols and http is None:
        raise LocalError("no protocol to offer")
    terms = Terms(
        subprotocols=tuple(names(protocols)),
        tls=server_context(tls) if tls is not None else None,
        http=http,
        idle_timeout=idle_timeout,
        limits=limits or Limits(),
    )
    listener = Listener(terms)
    await listener.bind(host, port, sockets)
    return listener
