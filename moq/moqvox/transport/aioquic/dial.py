"""Dialling: the first address that answers wins."""

import asyncio
import contextlib
import errno
import hashlib
import ipaddress
import logging
import socket
from collections.abc import Sequence
from typing import Final

import msgspec
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import HandshakeCompleted, QuicEvent
from aioquic.quic.packet import QuicErrorCode
from aioquic.tls import SessionTicket

from moqvox.errors import LocalError
from moqvox.transport.address import Address, host_of, show
from moqvox.transport.aioquic.alerts import explain_alert
from moqvox.transport.aioquic.ending import Ending
from moqvox.transport.aioquic.endpoint import CONNECTION_ID_BYTES, Endpoint
from moqvox.transport.aioquic.exchange import Request
from moqvox.transport.aioquic.greeting import H3
from moqvox.transport.aioquic.identity import trust
from moqvox.transport.aioquic.limits import Limits
from moqvox.transport.aioquic.link import Link
from moqvox.transport.aioquic.private import Engine
from moqvox.transport.aioquic.raw import RawConnection
from moqvox.transport.aioquic.roaming import Roaming
from moqvox.transport.aioquic.routes import Route, find_routes, is_ours
from moqvox.transport.aioquic.wallet import Kept, Wallet
from moqvox.transport.aioquic.warmup import warm_up
from moqvox.transport.aioquic.webtransport import WebTransportConnection
from moqvox.transport.credentials import Verify
from moqvox.transport.failures import (
    ConnectFailed,
    NoAnswer,
    NoCommonProtocol,
    PortRefused,
)
from moqvox.transport.inbox import printable
from moqvox.transport.interface import Closed
from moqvox.transport.quic.sockets import bind, report_errors
from moqvox.transport.resolve import Target, resolve

__all__ = ["connect"]

logger = logging.getLogger("moqvox.transport.aioquic")

NEXT_ADDRESS_DELAY: Final = 0.25
"""Seconds until the next address is tried besides (RFC 8305, section 5)."""

IDLE_AFTER: Final = 0.005
"""Seconds after which the server is far enough for what takes longer the first time."""

MAX_ADDRESSES: Final = 8
UNREACHABLE: Final = frozenset((errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EACCES, errno.EPERM))
MAX_DATAGRAM_FRAME_BYTES: Final = 65536


class Order(msgspec.Struct, frozen=True):
    """What `connect` was asked for, the same for every address."""

    host: str
    port: int
    protocols: tuple[str, ...]
    webtransport: bool
    path: str
    server_name: str
    verify: Verify
    idle_timeout: float
    local: tuple[str, int] | None
    roams: bool
    limits: Limits
    timeout: float
    wallet: Wallet | None
    early: bool

    @property
    def offers(self) -> Sequence[str]:
        """ALPNs."""
        return (H3,) if self.webtransport else self.protocols

    @property
    def server(self) -> str:
        """Name the server, and how it is made sure of, for the wallet."""
        trust = hashlib.sha256(msgspec.msgpack.encode(self.verify, order="sorted")).hexdigest()
        kind = H3 if self.webtransport else "quic"
        return f"{self.server_name} {self.host} {self.port} {kind} {trust[:16]}"

    @property
    def where(self) -> str:
        """Name the server in messages."""
        return show((self.host, self.port))

    def configuration(self, kept: Kept | None, token: bytes) -> QuicConfiguration:
        """Build the engine's configuration."""
        configuration = QuicConfiguration(
            is_client=True,
            alpn_protocols=list(self.offers),
            connection_id_length=CONNECTION_ID_BYTES,
            idle_timeout=self.idle_timeout,
            max_data=self.limits.connection_window_bytes,
            max_stream_data=self.limits.stream_window_bytes,
            max_datagram_frame_size=MAX_DATAGRAM_FRAME_BYTES,
            server_name=self.server_name,
            session_ticket=kept.session() if kept is not None else None,
            token=token,
        )
        trust(configuration, self.verify)
        return configuration


async def connect(
    host: str,
    port: int,
    *,
    protocols: Sequence[str],
    webtransport: bool,
    path: str = "/",
    server_name: str | None = None,
    verify: Verify | None = None,
    idle_timeout: float = 30.0,
    timeout: float = 10.0,
    local: tuple[str, int] | None = None,
    roams: bool = True,
    limits: Limits | None = None,
    wallet: Wallet | None = None,
    early: bool = True,
) -> RawConnection:
    """Dial a server; when its name has several addresses, the first that answers wins.

    With a ticket that lets it be early, a raw connection is returned at once, and what is
    written goes along with the first packet. Then nobody has answered yet: failure is told as
    the connection's end, `timeout` at the latest. An attacker who sees early data may keep it
    and send it on, later; servers of ours take it once.

    Args:
        host: a name or address.
        port: UDP.
        protocols: names of application protocols, the preferred first.
        webtransport: dial WebTransport at `path`; else raw QUIC by ALPN.
        path: path and query of the WebTransport request.
        server_name: the name in the certificate, if it is not `host`.
        verify: how the certificate is checked; None: by the system's roots.
        idle_timeout: seconds of silence after which the connection is lost.
        timeout: seconds until it must be established.
        local: address and port to send from; the system's routes are not followed then.
        roams: follow the system's routes from one network to another, and use another uplink
            when this one is dead.
        limits: bounds; None: the defaults.
        wallet: what is left of earlier connections, and takes what is left of this one.
        early: speak ahead of the server's answer, if a ticket lets us; False: the connection is
            returned once the server has answered.

    Raises:
        ConnectFailed: no connection; the subclass and the message say why.
        LocalError: nothing to offer, or `local` can't be bound.
    """
    if not protocols:
        raise LocalError("no protocol to offer")
    bare = host.removeprefix("[").removesuffix("]")
    order = Order(
        host=bare,
        port=port,
        protocols=tuple(protocols),
        webtransport=webtransport,
        path=path,
        server_name=server_name or bare,
        verify=verify or Verify.system(),
        idle_timeout=idle_timeout,
        local=local,
        roams=roams,
        limits=limits or Limits(),
        timeout=timeout,
        wallet=wallet,
        early=early,
    )
    try:
        async with asyncio.timeout(timeout):
            targets = (await resolve(bare, port))[:MAX_ADDRESSES]
            kept = wallet.take(order.server, order.offers) if wallet is not None else None
            if kept is not None:
                # The address that answered the last time goes first.
                targets = sorted(targets, key=lambda target: target.address[0] != kept.host)
            return await _race(order, targets, kept)
    except TimeoutError as exc:
        raise NoAnswer(
            f"{order.where} did not answer on UDP within {timeout:g} s;"
            " is it running, and does a firewall let UDP through?"
        ) from exc


async def _race(order: Order, targets: Sequence[Target], kept: Kept | None) -> RawConnection:
    """Try addresses, each a moment after the one before it, or when that has failed.

    The first has the use of the ticket, which is good for one connection.
    """
    winners: list[RawConnection] = []
    failures: list[ConnectFailed] = []
    failed = [asyncio.Event() for _ in targets]
    tasks: list[asyncio.Task[None]] = []

    async def attempt(index: int) -> None:
        if index:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(NEXT_ADDRESS_DELAY * index):
                    await failed[index - 1].wait()
        try:
            connection = await _dial(order, targets[index], None if index else kept)
        except ConnectFailed as exc:
            failures.append(exc)
            failed[index].set()
            return
        if winners:
            connection.close()
            return
        winners.append(connection)
        for number, task in enumerate(tasks):
            if number != index:
                task.cancel()

    async with asyncio.TaskGroup() as group:
        tasks.extend(group.create_task(attempt(index)) for index in range(len(targets)))
    if winners:
        return winners[0]
    raise min(failures, key=_vagueness)


def _vagueness(failure: ConnectFailed) -> bool:
    """Rank what a server said above what the network said about another of its addresses."""
    return isinstance(failure, PortRefused) or type(failure) is ConnectFailed


async def _dial(order: Order, target: Target, kept: Kept | None) -> RawConnection:
    """Try one address, until it answers or the caller's patience is over."""
    address: Address = ("::", 0, 0, 0) if target.family == socket.AF_INET6 else ("0.0.0.0", 0)  # noqa: S104  # any interface
    if order.local is not None:
        if (":" in order.local[0]) != (target.family == socket.AF_INET6):
            raise ConnectFailed(f"cannot reach {show(target.address)} from {order.local[0]}")
        address = order.local
    route = _route_to(order, target)
    if route is not None:
        address = (route.host, 0)
    try:
        sock = bind(target.family, address, order.limits.socket_buffer_bytes)
    except OSError as exc:
        reason = (exc.strerror or str(exc)).lower()
        raise ConnectFailed(f"cannot send from {show(address)}: {reason}") from exc
    report_errors(sock, enabled=True)
    dialling = Dialling(order, target, route)
    endpoint = Endpoint(sock, dialling, closes_with_link=True)
    try:
        dialling.start(endpoint, kept)
        connection = await dialling.answer
    except BaseException:
        endpoint.close()
        raise
    report_errors(sock, enabled=dialling.is_waiting)
    return connection


def _route_to(order: Order, target: Target) -> Route | None:
    """Find the way that the first socket is tied to, so that it is known when to leave it."""
    host = ipaddress.ip_address(host_of(target.address).partition("%")[0])
    if order.local is not None or not order.roams or host.is_loopback or host.is_link_local:
        return None
    if is_ours(target.address[0], target.family):
        return (
            None  # such packets take the loopback device, and a socket tied to another misses them
        )
    routes = find_routes(target.address, target.family)
    return routes[0] if routes else None


class Dialling:
    """One attempt until its handshake is complete. Observes its link, and the endpoint's errors.

    With a ticket for early data, the connection is the answer before anybody has answered.
    """

    def __init__(self, order: Order, target: Target, route: Route | None) -> None:
        self._order = order
        self._route = route
        self._target = target
        self._link: Link | None = None
        self._session: WebTransportConnection | None = None
        self._early: RawConnection | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self.answer: asyncio.Future[RawConnection] = asyncio.get_running_loop().create_future()

    def start(self, endpoint: Endpoint, kept: Kept | None) -> None:
        """Send the first packet."""
        order, wallet = self._order, self._order.wallet
        token = wallet.take_token(order.server) if wallet is not None else b""
        engine = Engine(
            order.configuration(kept, token),
            order.limits,
            pins=order.verify.fingerprints,
            on_ticket=self._keep if wallet is not None else None,
            on_token=self._keep_token if wallet is not None else None,
        )
        link = self._link = Link(engine, order.limits, endpoint)
        link.observer = self
        link.roaming = Roaming(
            link,
            self._target.address,
            self._target.family,
            endpoint.ways,
            route=self._route,
        )
        endpoint.add(link, engine.host_cid)
        engine.connect(self._target.address, endpoint.now())
        if kept is not None and engine.is_early and order.early and not order.webtransport:
            self._early = RawConnection(link, protocol=kept.protocol, is_client=True)
            self._deadline = asyncio.get_running_loop().call_later(order.timeout, self._give_up)
            self.answer.set_result(self._early)
        endpoint.touch(link)
        asyncio.get_running_loop().call_later(IDLE_AFTER, self._use_the_wait)

    def _use_the_wait(self) -> None:
        """Prepare for the answer, if it is not here by now."""
        if self._link is not None and not self._link.engine.protocol:
            warm_up()

    def _keep(self, session: SessionTicket) -> None:
        link, wallet = self._link, self._order.wallet
        protocol = link.engine.protocol if link is not None else ""
        if wallet is not None and protocol:
            wallet.keep(self._order.server, session, protocol, self._target.address[0])

    def _keep_token(self, token: bytes) -> None:
        if self._order.wallet is not None:
            self._order.wallet.keep_token(self._order.server, token)

    def _give_up(self) -> None:
        self._break_off(f"{self._order.where} did not answer on UDP")

    def _break_off(self, reason: str) -> None:
        """End a connection that was handed over early, and that nobody answers."""
        link = self._link
        if link is not None and self._early is not None and link.observer is self:
            link.abort(Closed(0, reason, lost=True))

    @property
    def is_waiting(self) -> bool:
        """Whether the answer was given before the server's."""
        return self._early is not None and self._link is not None and self._link.observer is self

    def _fail(self, failure: ConnectFailed) -> None:
        if not self.answer.done():
            self.answer.set_exception(failure)

    # The endpoint's questions.

    def on_stranger(self, data: bytes, address: Address, endpoint: Endpoint) -> Link | None:
        """Drop what belongs to no connection, but see whether it says so of ours."""
        link = self._link
        if link is not None and link.engine.is_reset(data, address):
            link.on_reset(endpoint.now())
        return None

    def on_refused(self, error: OSError) -> None:
        """Give up at once when the network says no; later it is one lost packet of many."""
        where = show(self._target.address)
        if self.answer.done() and self._link is not None and self._link.roaming is not None:
            self._link.roaming.on_refused(error)
        elif error.errno == errno.ECONNREFUSED:
            self._fail(PortRefused(f"nothing listens on UDP {where}"))
            self._break_off(f"nothing listens on UDP {where}")
        elif error.errno in UNREACHABLE:
            reason = (error.strerror or "unreachable").lower()
            self._fail(ConnectFailed(f"cannot reach {where}: {reason}"))

    # The observer of the link.

    def on_engine_event(self, event: QuicEvent) -> None:
        """Go on once the handshake is complete: raw QUIC is there, WebTransport asks."""
        link = self._link
        if link is None:
            return
        if self._session is not None:
            self._session.on_engine_event(event)
        elif self._early is not None:
            self._early.on_engine_event(event)
            if isinstance(event, HandshakeCompleted):
                self._confirm(link, self._early, event.alpn_protocol)
        elif isinstance(event, HandshakeCompleted):
            self._on_handshake(link, event.alpn_protocol)

    def _confirm(self, link: Link, early: RawConnection, protocol: str | None) -> None:
        """Let an early connection observe its link itself, if it is what it was taken for."""
        if self._deadline is not None:
            self._deadline.cancel()
        link.observer = early
        if protocol != early.protocol:
            early.close(0, f"the server speaks {printable(protocol or '')} now")

    def _on_handshake(self, link: Link, protocol: str | None) -> None:
        order = self._order
        if protocol is None:
            self._fail(NoCommonProtocol(f"{order.where} negotiates no protocol"))
        elif order.webtransport:
            self._session = WebTransportConnection(
                link,
                is_client=True,
                protocols=order.protocols,
                sponsor=self,
                request=Request(order.where, order.path, order.protocols),
            )
            self._session.start()
        else:
            self._done(RawConnection(link, protocol=protocol, is_client=True))

    def established(self, connection: WebTransportConnection) -> None:
        """Answer with the session."""
        self._done(connection)

    def rejected(self, failure: ConnectFailed) -> None:
        """Answer with the server's refusal."""
        self._fail(failure)
        self.close()

    def _done(self, connection: RawConnection) -> None:
        if self._link is not None:
            self._link.observer = connection
        if self.answer.done():
            connection.close()
        else:
            self.answer.set_result(connection)

    def on_writable(self, streams: list[int]) -> None:
        """Pass on what concerns an early connection; nothing else is written yet."""
        if self._early is not None:
            self._early.on_writable(streams)

    def on_discarded(self, streams: list[int]) -> None:
        """Pass on what concerns a connection in the making."""
        connection = self._session or self._early
        if connection is not None:
            connection.on_discarded(streams)

    def on_path(self, address: Address, cause: str) -> None:
        """Nothing to report to."""

    def on_over(self, closed: Closed) -> None:
        """Explain a handshake that failed."""
        if self._early is not None:
            if self._deadline is not None:
                self._deadline.cancel()
            self._early.on_over(closed)
            return
        ending = self._link.engine.ending() if self._link is not None else None
        if ending is None or ending.lost or not ending.is_transport:
            reason = closed.reason or "no answer"
            self._fail(ConnectFailed(f"no connection to {self._order.where}: {reason}"))
        else:
            self._fail(explain_alert(self._order.where, ending.code, printable(ending.reason)))

    def close(self, code: int = 0, reason: str = "") -> None:
        """Give up."""
        if self._early is not None:
            self._early.close(code, reason)
        elif self._link is not None:
            ending = Ending(QuicErrorCode.NO_ERROR, is_transport=True, reason="")
            self._link.close(ending, linger=0.0)
