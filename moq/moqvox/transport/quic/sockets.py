"""UDP sockets with large buffers."""

import logging
import socket
import sys
from typing import Final

from moqvox.transport.address import Address

__all__ = ["bind", "report_errors"]

logger = logging.getLogger("moqvox.transport.quic")

IP_RECVERR: Final = 11
IPV6_RECVERR: Final = 25
"""Linux: report ICMP errors on sockets that are not connected (ip(7), ipv6(7))."""

_warned: set[str] = set()


def bind(
    family: int, address: Address, buffer_bytes: int, *, shared: bool = False
) -> socket.socket:
    """Bind a UDP socket; an IPv6 one on the wildcard address takes IPv4 too.

    Args:
        family: of the address.
        address: and port; port 0 picks a free one.
        buffer_bytes: asked of the kernel, each direction.
        shared: others of this user may bind the port as well.

    Raises:
        OSError: the address is in use, not ours, or of a family that the machine lacks.
    """
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        if family == socket.AF_INET6:
            dual = address[0] == "::"
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if dual else 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        _enlarge(sock, socket.SO_RCVBUF, "receive", "rmem_max", buffer_bytes)
        _enlarge(sock, socket.SO_SNDBUF, "send", "wmem_max", buffer_bytes)
        sock.bind(address)
    except OSError:
        sock.close()
        raise
    return sock


def _enlarge(sock: socket.socket, option: int, name: str, key: str, wanted: int) -> None:
    sock.setsockopt(socket.SOL_SOCKET, option, wanted)
    granted = sock.getsockopt(socket.SOL_SOCKET, option)
    if sys.platform == "linux":
        granted //= 2  # the kernel doubles what it grants, for its own overhead (socket(7))
    if granted < wanted and key not in _warned:
        _warned.add(key)
        logger.warning(
            "the kernel grants a UDP %s buffer of %d KiB, %d KiB were asked for; bursts may be"
            " lost. Remedy, as root: sysctl -w net.core.%s=%d",
            name,
            granted // 1024,
            wanted // 1024,
            key,
            wanted,
        )


def report_errors(sock: socket.socket, *, enabled: bool) -> None:
    """Let a socket learn that nobody listens at the other end; a no-op where unsupported."""
    if sys.platform != "linux":
        return
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVERR, int(enabled))
    else:
        sock.setsockopt(socket.IPPROTO_IP, IP_RECVERR, int(enabled))
