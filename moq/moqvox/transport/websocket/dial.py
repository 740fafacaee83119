"""Dialling: the first address that answers wins."""

import asyncio
import errno
import functools
import logging
import ssl
from collections.abc import Sequence
from typing import Final, cast

import msgspec
from websockets.client import ClientProtocol
from websockets.exceptions import InvalidStatus, InvalidURI
from websockets.http11 import Request, Response
from websockets.protocol import State
from websockets.typing import Subprotocol
from websockets.uri import WebSocketURI, parse_uri

from moqvox.errors import LocalError
from moqvox.transport.address import show
from moqvox.transport.credentials import Verify
from moqvox.transport.failures import (
    CertificateRefused,
    ConnectFailed,
    NoAnswer,
    NoCommonProtocol,
    PortRefused,
    RequestRefused,
    Unreachable,
)
from moqvox.transport.inbox import printable
from moqvox.transport.interface import Closed
from moqvox.transport.race import race
from moqvox.transport.resolve import Target, resolve
from moqvox.transport.websocket.connection import WebSocketConnection
from moqvox.transport.websocket.limits import MAX_MESSAGE_BYTES, Limits
from moqvox.transport.websocket.pipe import Pipe
from moqvox.transport.websocket.subprotocols import names
from moqvox.transport.websocket.tls import Tls, check_pin, client_context
from moqvox.transport.websocket.wire import LIBRARY_LOG, Wire

__all__ = ["connect_websocket"]

logger = logging.getLogger("moqvox.transport.websocket")

NEXT_ADDRESS_DELAY: Final = 0.25
"""Seconds until the next address is tried besides (RFC 8305, section 5)."""

MAX_ADDRESSES: Final = 8
HTTP_REFUSALS: Final = frozenset((400, 426))
"""What servers answer that know none of the subprotocols, or no WebSockets at all."""


class Order(msgspec.Struct, frozen=True):
    """What `connect_websocket` was asked for, the same for every address."""

    where: str
    uri: WebSocketURI
    path: str
    subprotocols: tuple[str, ...]
    tls: ssl.SSLContext | None
    server_name: str
    pins: frozenset[bytes]
    idle_timeout: float
    limits: Limits


async def connect_websocket(
    host: str,
    port: int,
    *,
    protocols: Sequence[str],
    path: str = "/",
    tls: bool = True,
    server_name: str | None = None,
    verify: Verify | None = None,
    idle_timeout: float = 30.0,
    timeout: float = 10.0,
    limits: Limits | None = None,
) -> WebSocketConnection:
    """Dial a server; when its name has several addresses, the first that answers wins.

    Args:
        host: a name or address.
        port: TCP.
        protocols: names of application protocols, the preferred first.
        path: path and query of the request.
        tls: whether it is `wss://`; else `ws://`, which anyone on the way can read.
        server_name: the name in the certificate, if it is not `host`.
        verify: how the certificate is checked; None: by the system's roots.
        idle_timeout: seconds of silence after which the connection is lost.
        timeout: seconds until it must be established.
        limits: bounds; None: the defaults.

    Raises:
        ConnectFailed: no connection; the subclass and the message say why.
        LocalError: nothing to offer, or a path or roots that can't be used.
    """
    if not protocols:
        raise LocalError("no protocol to offer")
    verify = verify or Verify.system()
    bare = host.removeprefix("[").removesuffix("]")
    where = show((bare, port))
    order = Order(
        where=where,
        uri=_uri(where, path, tls=tls),
        path=path,
        subprotocols=tuple(names(protocols)),
        tls=client_context(verify) if tls else None,
        server_name=server_name or bare,
        pins=verify.fingerprints,
        idle_timeout=idle_timeout,
        limits=limits or Limits(),
    )
    try:
        async with asyncio.timeout(timeout):
            targets = await resolve(bare, port)
            return await race(
                [functools.partial(_dial, order, target) for target in targets[:MAX_ADDRESSES]],
                delay=NEXT_ADDRESS_DELAY,
                discard=WebSocketConnection.close,
            )
    except TimeoutError as exc:
        raise NoAnswer(f"{where} did not answer on TCP within {timeout:g} s") from exc


def _uri(where: str, path: str, *, tls: bool) -> WebSocketURI:
    try:
        return parse_uri(f"{'wss' if tls else 'ws'}://{where}{path}")
    except (InvalidURI, ValueError) as exc:
        raise LocalError(f"{path!r} can't be asked for over WebSocket: {exc}") from exc


async def _dial(order: Order, target: Target) -> WebSocketConnection:
    """Try one address, until it answers or the caller's patience is over."""
    dialling = Dialling(order)
    host, port = target.address[:2]
    try:
        await asyncio.get_running_loop().create_connection(lambda: dialling.pipe, host, port)
    except OSError as exc:
        raise _unreachable(show(target.address), exc) from exc
    try:
        return await dialling.answer
    except BaseException:
        dialling.pipe.abort()
        raise


def _unreachable(where: str, exc: OSError) -> ConnectFailed:
    if exc.errno == errno.ECONNREFUSED:
        return PortRefused(f"nothing listens on TCP {where}")
    return Unreachable(f"cannot reach {where}: {(exc.strerror or str(exc)).lower()}")


class Dialling:
    """One attempt until it has an answer. Observes its wire till then."""

    def __init__(self, order: Order) -> None:
        self._order = order
        subprotocols = cast("Sequence[Subprotocol]", order.subprotocols)  # a str by another name
        self._socket = ClientProtocol(
            order.uri, subprotocols=subprotocols, max_size=MAX_MESSAGE_BYTES, logger=LIBRARY_LOG
        )
        limits = order.limits
        self._wire = Wire(self._socket, self, max_reply_bytes=limits.max_reply_bytes)
        tls = Tls(order.tls, server_name=order.server_name) if order.tls is not None else None
        self.pipe = self._wire.pipe = Pipe(self._wire, burst_bytes=limits.burst_bytes, tls=tls)
        loop = asyncio.get_running_loop()
        self.answer: asyncio.Future[WebSocketConnection] = loop.create_future()

    def _fail(self, failure: ConnectFailed) -> None:
        if not self.answer.done():
            self.answer.set_exception(failure)
            self.answer.exception()  # it is no fault if nobody waits for it any more
        self.pipe.abort()

    # The wire's calls.

    def on_ready(self) -> None:
        """Send the request, which may carry a token, once it is sure who reads it."""
        if self._order.pins:
            try:
                check_pin(self.pipe.peer_certificate, self._order.pins)
            except ValueError as exc:
                self._fail(self._distrust(str(exc)))
                return
        self._socket.send_request(self._socket.connect())
        self._wire.flush()

    def on_head(self, head: Request | Response) -> None:
        """Take the answer; a refusal is in the library's hands."""
        subprotocol = self._socket.subprotocol
        if self._socket.state is not State.OPEN:
            return
        if subprotocol is None:
            self._fail(NoCommonProtocol(f"{self._order.where} chose none of the protocols offered"))
            return
        connection = WebSocketConnection(
            self._wire,
            subprotocol,
            path=self._order.path,
            is_client=True,
            limits=self._order.limits,
            idle_timeout=self._order.idle_timeout,
            sponsor=self,
        )
        connection.begin()

    def on_message(self, data: bytes) -> None:
        """Nothing: messages belong to a connection."""

    def on_text(self) -> None:
        """Nothing, as above."""

    def on_pong(self) -> None:
        """Nothing, as above."""

    def on_goodbye(self, code: int, reason: str) -> None:
        """Nothing, as above."""

    def on_broken(self, reason: str) -> None:
        """Fail: no WebSocket came of it."""
        failure = self._socket.handshake_exc
        where = self._order.where
        if not isinstance(failure, InvalidStatus):
            self._fail(ConnectFailed(f"{where} gave no WebSocket: {printable(reason)}"))
            return
        status = failure.response.status_code
        body = bytes(failure.response.body or b"").decode(errors="replace")
        words = printable(body.strip().partition("\n")[0]) or failure.response.reason_phrase
        if status in HTTP_REFUSALS:
            self._fail(NoCommonProtocol(f"{where} answered {status}: {words}"))
        else:
            self._fail(RequestRefused(status, f"{where} refused with status {status}: {words}"))

    def on_room(self) -> None:
        """Nothing waits yet."""

    def on_lost(self, exc: Exception | None) -> None:
        """Fail: the socket closed before there was an answer."""
        if isinstance(exc, ssl.SSLCertVerificationError):
            self._fail(self._distrust(exc.verify_message.lower()))
        elif isinstance(exc, ssl.SSLError):
            self._fail(ConnectFailed(f"no TLS with {self._order.where}: {exc.reason or exc}"))
        else:
            self._fail(ConnectFailed(f"{self._order.where} closed the connection"))

    def _distrust(self, reason: str) -> CertificateRefused:
        return CertificateRefused(
            f"the certificate of {self._order.where} is not trusted: {reason}"
        )

    # The connection's calls.

    def established(self, connection: WebSocketConnection) -> None:
        """Hand the connection over."""
        if self.answer.done():
            connection.close()
        else:
            self.answer.set_result(connection)

    def gone(self, connection: WebSocketConnection, closed: Closed) -> None:
        """Fail, if it ended before it began."""
        self._fail(ConnectFailed(f"{self._order.where} closed: {closed.reason or closed.code}"))
