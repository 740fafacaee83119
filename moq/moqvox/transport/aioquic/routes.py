"""Which of our addresses lead to a server, as the system's routes say now; and sockets there."""

import contextlib
import socket
import sys
from pathlib import Path
from typing import Final

import msgspec

from moqvox.errors import LocalError
from moqvox.transport.address import Address, show
from moqvox.transport.quic.sockets import bind

__all__ = ["Route", "bind_to_device", "find_routes", "is_ours", "open_way"]

IPV4_ROUTES: Final = Path("/proc/net/route")
IPV6_ROUTES: Final = Path("/proc/net/ipv6_route")
RTF_UP: Final = 1
RTF_REJECT: Final = 0x200
MAX_ROUTES: Final = 4


class Route(msgspec.Struct, frozen=True):
    """An address of ours that leads to a server.

    Attributes:
        host: the address.
        device: the network interface that has it; "" where the system does not say.
    """

    host: str
    device: str = ""


def find_routes(server: Address, family: int) -> list[Route]:
    """List the ways to a server: first the one that the system takes by itself.

    Others follow only if that one leads over a default route, and they over another: a machine
    with two uplinks. If it leads anywhere else, as into a tunnel, nothing may go round it.

    Returns:
        An empty list when the system knows no way.
    """
    host = _source(server, family)
    if host is None:
        return []
    devices = _default_devices(family)
    by_device = {device: _source(server, family, device) for device in devices}
    taken = [device for device, source in by_device.items() if source == host]
    if not taken:
        return [Route(host)]
    others = [Route(source, device) for device, source in by_device.items() if source]
    return [Route(host, taken[0]), *(route for route in others if route.device != taken[0])]


def bind_to_device(sock: socket.socket, device: str) -> None:
    """Let a socket send by one interface only, where the system can do that and lets us."""
    if device and sys.platform == "linux":
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())


def is_ours(host: str, family: int) -> bool:
    """Whether an address is this machine's, now."""
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.bind((host, 0))
    except OSError:
        return False
    return True


def open_way(
    family: int, local: tuple[str, int] | None, device: str, buffer_bytes: int
) -> socket.socket:
    """Open a socket for a path of its own.

    Args:
        family: of the server's address.
        local: address and port to send from; None: any.
        device: the interface to send by; "": any.
        buffer_bytes: asked of the kernel, each direction.

    Raises:
        LocalError: `local` can't be bound.
    """
    address: Address
    if local is not None:
        if (":" in local[0]) != (family == socket.AF_INET6):
            raise LocalError(f"cannot reach the server from {local[0]}: the other family")
        address = (*local, 0, 0) if family == socket.AF_INET6 else local
    else:
        address = ("::", 0, 0, 0) if family == socket.AF_INET6 else ("0.0.0.0", 0)  # noqa: S104  # any interface
    try:
        sock = bind(family, address, buffer_bytes)
    except OSError as exc:
        reason = (exc.strerror or str(exc)).lower()
        raise LocalError(f"cannot send from {show(address)}: {reason}") from exc
    bind_to_device(sock, device)
    return sock


def _source(server: Address, family: int, device: str = "") -> str | None:
    """Ask which address of ours packets to a server would have; nothing is sent."""
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            bind_to_device(sock, device)
            sock.connect(server)
            return str(sock.getsockname()[0])
    except OSError:
        return None


def _default_devices(family: int) -> list[str]:
    """Name the interfaces with a default route; none where the system has no such list."""
    read = _default_ipv6 if family == socket.AF_INET6 else _default_ipv4
    try:
        return list(dict.fromkeys(read()))[:MAX_ROUTES]
    except (OSError, ValueError, IndexError):
        return []


def _default_ipv4() -> list[str]:
    """Read the table of proc(5), without its head."""
    rows = [line.split() for line in IPV4_ROUTES.read_text().splitlines()[1:]]
    return [
        row[0]
        for row in sorted(rows, key=lambda row: int(row[6]))
        if int(row[1], 16) == int(row[7], 16) == 0 and _is_usable(int(row[3], 16))
    ]


def _default_ipv6() -> list[str]:
    """Read the table: destination, its length, four more columns, use counts, flags, device."""
    rows = [line.split() for line in IPV6_ROUTES.read_text().splitlines()]
    return [
        row[9]
        for row in sorted(rows, key=lambda row: int(row[5], 16))
        if int(row[0], 16) == int(row[1], 16) == 0 and _is_usable(int(row[8], 16))
    ]


def _is_usable(flags: int) -> bool:
    return bool(flags & RTF_UP) and not flags & RTF_REJECT
