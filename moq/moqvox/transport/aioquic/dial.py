"""Dialling: the first address that answers wins."""

import asyncio
import functools
import ipaddress
import socket
from collections.abc import Sequence
from typing import Final

import msgspec

from moqvox.errors import LocalError
from moqvox.transport.address import Address, host_of, show
from moqvox.transport.aioquic.dialling import Dialling
from moqvox.transport.aioquic.endpoint import Endpoint
from moqvox.transport.aioquic.limits import Limits
from moqvox.transport.aioquic.order import Order
from moqvox.transport.aioquic.raw import RawConnection
from moqvox.transport.aioquic.routes import Route, find_routes, is_ours
from moqvox.transport.aioquic.wallet import Kept, Wallet
from moqvox.transport.credentials import Verify
from moqvox.transport.failures import NoAnswer, Unreachable
from moqvox.transport.foresight import Foresee
from moqvox.transport.quic.sockets import bind, report_errors
from moqvox.transport.race import race
from moqvox.transport.resolve import Target, resolve
from moqvox.transport.urge import Urge

__all__ = ["connect"]

NEXT_ADDRESS_DELAY: Final = 0.25
"""Seconds until the next address is tried besides (RFC 8305, section 5)."""

MAX_ADDRESSES: Final = 8


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
    urge: Urge | None = None,
    foresee: Foresee | None = None,
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
        urge: makes it ask again as long as nobody has answered.
        foresee: prepares for the first address, of raw connections that did not begin early.

    Raises:
        ConnectFailed: no connection; the subclass and the message say why.
        LocalError: nothing to offer, or roots to trust that can't be read.
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
        urge=urge,
        foresee=foresee,
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

    The first has the use of the ticket, which is good for one connection, and of foresight.
    """
    if len(targets) == 1:  # whose first packet leaves in this turn of the loop
        return await _dial(order, targets[0], kept)
    later = msgspec.structs.replace(order, foresee=None)
    attempts = [functools.partial(_dial, order, targets[0], kept)]
    attempts += [functools.partial(_dial, later, target, None) for target in targets[1:]]
    return await race(attempts, delay=NEXT_ADDRESS_DELAY, discard=RawConnection.close)


async def _dial(order: Order, target: Target, kept: Kept | None) -> RawConnection:
    """Try one address, until it answers or the caller's patience is over."""
    address: Address = ("::", 0, 0, 0) if target.family == socket.AF_INET6 else ("0.0.0.0", 0)  # noqa: S104  # any interface
    if order.local is not None:
        if (":" in order.local[0]) != (target.family == socket.AF_INET6):
            raise Unreachable(f"cannot reach {show(target.address)} from {order.local[0]}")
        address = order.local
    route = _route_to(order, target)
    if route is not None:
        address = (route.host, 0)
    dialling = Dialling(order, target, route)
    try:
        sock = bind(target.family, address, order.limits.socket_buffer_bytes)
    except OSError as exc:
        reason = (exc.strerror or str(exc)).lower()
        raise Unreachable(f"cannot send from {show(address)}: {reason}") from exc
    report_errors(sock, enabled=True)
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
