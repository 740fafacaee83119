"""From what an operator writes, a host and a port, to bound UDP sockets."""

import contextlib
import functools
import logging
import socket
from collections.abc import Callable, Sequence
from typing import Final

from moqvox.errors import LocalError
from moqvox.transport.address import Address
from moqvox.transport.quic.connection_ids import ConnectionIds, Preferred
from moqvox.transport.quic.sockets import bind
from moqvox.transport.quic.steering import bind_group
from moqvox.transport.resolve import Target, resolve

__all__ = ["bind_all", "bind_workers", "uncovered"]

logger = logging.getLogger("moqvox.transport.quic")

BUFFER_BYTES: Final = 4 * 1024 * 1024

WILDCARDS: Final = ("", "::", "[::]")

Binder = Callable[[Target], list[socket.socket]]


async def bind_all(host: str, port: int, *, buffer_bytes: int) -> list[socket.socket]:
    """Bind every address of a name, to one port.

    Args:
        host: a name or address; "" and "::" are every address, IPv4 and IPv6.
        port: 0 picks a free one.
        buffer_bytes: asked of the kernel for each socket, each direction.

    Raises:
        LocalError: an address can't be bound.
        HostUnknown: the name has no address.
    """

    def bind_one(target: Target) -> list[socket.socket]:
        return [bind(target.family, target.address, buffer_bytes)]

    return [sock for group in await _bind(host, port, bind_one) for sock in group]


async def bind_workers(
    host: str, port: int, workers: int, *, ids: ConnectionIds, buffer_bytes: int = BUFFER_BYTES
) -> list[list[socket.socket]]:
    """Bind a port for several workers; each of them calls `listen` with its row of sockets.

    Keep all of them open while any worker runs: see `steering`.

    Args:
        host: as for `bind_all`.
        port: as for `bind_all`.
        workers: how many; each makes IDs with its own `Steering`.
        ids: IDs of that kind, whichever worker's.
        buffer_bytes: as for `bind_all`.

    Raises:
        LocalError: this system can't steer, or an address can't be bound.
        HostUnknown: the name has no address.
    """
    bind_one = functools.partial(
        bind_group,
        workers=workers,
        offset=ids.steering_offset,
        buffer_bytes=buffer_bytes,
    )
    return [list(row) for row in zip(*await _bind(host, port, bind_one), strict=True)]


def uncovered(
    sockets: Sequence[socket.socket], preferred: Preferred | None
) -> list[tuple[str, int]]:
    """List the preferred addresses that none of the sockets listens on."""
    bound = {sock.getsockname()[:2]: sock for sock in sockets}
    missing = []
    for host, port in preferred.addresses if preferred is not None else ():
        everywhere = ("::", "0.0.0.0") if ":" not in host else ("::",)  # noqa: S104  # compared only
        if not any((name, port) in bound for name in (host, *everywhere)):
            missing.append((host, port))
    return missing


async def _bind(host: str, port: int, bind_one: Binder) -> list[list[socket.socket]]:
    if host in WILDCARDS:
        return [_bind_wildcard(port, bind_one)]
    targets = await resolve(host, port, passive=True)
    groups: list[list[socket.socket]] = []
    with contextlib.ExitStack() as undo:
        for target in targets:
            if groups and port == 0:
                port = groups[0][0].getsockname()[1]
            group = _explained(Target(target.family, _with_port(target.address, port)), bind_one)
            for sock in group:
                undo.enter_context(sock)
            groups.append(group)
        undo.pop_all()
    return groups


def _bind_wildcard(port: int, bind_one: Binder) -> list[socket.socket]:
    """Bind every address of the machine; without IPv6, every IPv4 address."""
    try:
        return bind_one(Target(socket.AF_INET6, ("::", port, 0, 0)))
    except OSError as exc:
        logger.debug("no dual-stack socket: %s", exc)
    return _explained(Target(socket.AF_INET, ("0.0.0.0", port)), bind_one)  # noqa: S104  # as asked


def _with_port(address: Address, port: int) -> Address:
    if len(address) == 4:
        return address[0], port, address[2], address[3]
    return address[0], port


def _explained(target: Target, bind_one: Binder) -> list[socket.socket]:
    try:
        return bind_one(target)
    except OSError as exc:
        host, port = target.address[:2]
        reason = (exc.strerror or str(exc)).lower()
        raise LocalError(f"cannot listen on UDP {host} port {port}: {reason}") from exc
