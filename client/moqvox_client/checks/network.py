"""Checks of what this machine's network can do: loopback, buffers, dual stack, ports."""

import contextlib
import socket
import sys
from collections.abc import Iterator
from typing import Final

from moqvox_client.checks import Finding, fail, ok, warn
from moqvox_client.kinds import HostPort

__all__ = ["buffers", "dual_stack", "loopback", "port_free"]

WANTED_BYTES: Final = 4 << 20
"""What the endpoint asks of the kernel for each UDP socket and direction."""

TIMEOUT: Final = 2.0

PROBE: Final = b"moqvox doctor"


def loopback() -> Finding:
    """Check that a UDP datagram finds its way from this machine to itself."""
    remedy = "let UDP through on the loopback interface: see the firewall's rules"
    try:
        with _udp(socket.AF_INET, "127.0.0.1") as there, _udp(socket.AF_INET, "127.0.0.1") as here:
            here.sendto(PROBE, there.getsockname())
            seen = there.recv(64)
    except OSError as exc:
        return fail("udp loopback", f"127.0.0.1: {exc.strerror or 'nothing arrived'}", remedy)
    if seen != PROBE:
        return fail("udp loopback", "another datagram arrived than was sent", remedy)
    return ok("udp loopback", "a datagram to 127.0.0.1 arrives")


def buffers(wanted: int = WANTED_BYTES) -> Finding:
    """Check how much socket buffer the kernel really gives."""
    try:
        with _udp(socket.AF_INET, "127.0.0.1") as probe:
            receive = granted(probe, socket.SO_RCVBUF, wanted)
            send = granted(probe, socket.SO_SNDBUF, wanted)
    except OSError as exc:
        return warn("udp buffers", f"cannot ask: {exc.strerror}", "see the system's documentation")
    text = f"receive {receive // 1024} KiB, send {send // 1024} KiB of {wanted // 1024} KiB asked"
    if min(receive, send) < wanted:
        return warn("udp buffers", f"{text}; bursts may be dropped", _buffer_remedy(wanted))
    return ok("udp buffers", text)


def granted(probe: socket.socket, option: int, wanted: int) -> int:
    """Ask for a buffer and return what is usable of what was given."""
    with contextlib.suppress(OSError):  # macOS refuses where Linux gives less
        probe.setsockopt(socket.SOL_SOCKET, option, wanted)
    given = probe.getsockopt(socket.SOL_SOCKET, option)
    # Linux counts its own bookkeeping and reports twice what was asked (socket(7)).
    return given // 2 if sys.platform == "linux" else given


def _buffer_remedy(wanted: int) -> str:
    if sys.platform == "darwin":
        return f"sudo sysctl -w kern.ipc.maxsockbuf={2 * wanted}"
    return (
        f"sudo sysctl -w net.core.rmem_max={wanted} net.core.wmem_max={wanted}"
        " (and in /etc/sysctl.d/ to keep it)"
    )


def dual_stack() -> Finding:
    """Check that one IPv6 socket serves IPv4 callers as well, which `[::]:4443` counts on."""
    remedy = "listen on one address family: --bind 0.0.0.0:4443"
    if not socket.has_ipv6:
        return warn("dual stack", "this Python has no IPv6", remedy)
    try:
        with _udp(socket.AF_INET6, "::") as server:
            port = server.getsockname()[1]
            for family, host in ((socket.AF_INET6, "::1"), (socket.AF_INET, "127.0.0.1")):
                with _udp(family, host) as caller:
                    caller.sendto(PROBE, (host, port))
                    if server.recv(64) != PROBE:
                        return warn("dual stack", f"a stray datagram came to [::]:{port}", remedy)
    except OSError as exc:
        return warn("dual stack", f"IPv6: {exc.strerror or 'nothing arrived'}", remedy)
    return ok("dual stack", "[::] serves IPv6 and IPv4")


def port_free(bind: HostPort) -> Finding:
    """Check that the address can be bound, UDP for QUIC and TCP for the fingerprint."""
    name = "port free"
    remedy = f"stop what listens there, or choose another: --bind [::]:{(bind.port + 1) % 65536}"
    try:
        found = socket.getaddrinfo(bind.host, bind.port, type=socket.SOCK_DGRAM)
    except OSError as exc:
        return fail(name, f"{bind}: {exc.strerror}", "give an address of this machine to --bind")
    family, _, _, _, address = found[0]
    for kind, label in ((socket.SOCK_DGRAM, "UDP"), (socket.SOCK_STREAM, "TCP")):
        try:
            with socket.socket(family, kind) as probe:
                if kind == socket.SOCK_STREAM and sys.platform != "win32":
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
        except PermissionError as exc:
            return warn(name, f"{label} {bind}: {exc.strerror}", "use a port above 1023")
        except OSError as exc:
            return warn(name, f"{label} {bind}: {exc.strerror}", remedy)
    return ok(name, f"{bind} can be bound for UDP and TCP")


@contextlib.contextmanager
def _udp(family: socket.AddressFamily, host: str) -> Iterator[socket.socket]:
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        if family == socket.AF_INET6:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        probe.settimeout(TIMEOUT)
        probe.bind((host, 0))
        yield probe
