"""TCP sockets that listen."""

import contextlib
import logging
import os
import socket
from typing import Final, cast

from moqvox.errors import LocalError
from moqvox.transport.address import Address
from moqvox.transport.resolve import Target, resolve

__all__ = ["bind_all"]

logger = logging.getLogger("moqvox.transport.websocket")

WILDCARDS: Final = ("", "::", "[::]")


async def bind_all(host: str, port: int) -> list[socket.socket]:
    """Bind every address of a name, to one port.

    Args:
        host: a name or address; "" and "::" are every address, IPv4 and IPv6.
        port: 0 picks a free one.

    Raises:
        LocalError: an address can't be bound.
        HostUnknown: the name has no address.
    """
    if host in WILDCARDS:
        return [_bind_wildcard(port)]
    targets = await resolve(host, port, passive=True)
    bound: list[socket.socket] = []
    with contextlib.ExitStack() as undo:
        for target in targets:
            if bound and port == 0:
                port = bound[0].getsockname()[1]
            address = cast("Address", (target.address[0], port, *target.address[2:]))
            bound.append(undo.enter_context(_bind(Target(target.family, address))))
        undo.pop_all()
    return bound


def _bind_wildcard(port: int) -> socket.socket:
    """Bind every address of the machine; without IPv6, every IPv4 address."""
    try:
        return _listen(socket.AF_INET6, ("::", port, 0, 0))
    except OSError as exc:
        logger.debug("no dual-stack socket: %s", exc)
    return _bind(Target(socket.AF_INET, ("0.0.0.0", port)))  # noqa: S104  # as asked


def _bind(target: Target) -> socket.socket:
    try:
        return _listen(target.family, target.address)
    except OSError as exc:
        host, port = target.address[:2]
        reason = (exc.strerror or str(exc)).lower()
        raise LocalError(f"cannot listen on TCP {host} port {port}: {reason}") from exc


def _listen(family: int, address: Address) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":  # elsewhere it lets two programs share a port
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            dual = address[0] == "::"
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if dual else 1)
        sock.bind(address)
    except OSError:
        sock.close()
        raise
    return sock
