"""Answers from the address that was asked, where one socket listens on all of a machine's.

Such a socket sends from whatever address the system's routes prefer, which a QUIC client that
asked another one takes for a stranger's. Linux tells for each datagram what address it came to
(IP_PKTINFO), and takes the same when one is sent.
"""

import asyncio
import socket
import struct
import sys
from collections.abc import Callable
from typing import Final

import msgspec

from moqvox.transport.address import Address
from moqvox.transport.aioquic.bucket import Bucket

__all__ = ["ANCILLARY_BYTES", "Ancillary", "Answers", "Asked", "Question", "listens_everywhere"]

IP_PKTINFO: Final = 8
IPV6_RECVPKTINFO: Final = 49
IPV6_PKTINFO: Final = 50
"""Linux: ip(7), ipv6(7)."""

IPV4_INFO: Final = struct.Struct("=I4s4s")
"""struct in_pktinfo: interface, our address, the header's."""

IPV6_INFO: Final = struct.Struct("=16sI")
"""struct in6_pktinfo: our address, interface."""

ANCILLARY_BYTES: Final = 128
MAX_SOURCES: Final = 64
"""Addresses of ours that need to be named; the system chooses for what comes to others."""

MAX_LOOKUPS: Final = 1000
"""Questions to the system in a second, what address it would send from."""

Ancillary = list[tuple[int, int, bytes]]


def listens_everywhere(sock: socket.socket) -> bool:
    """Tell whether a socket takes what comes to any address, and can tell to which."""
    host = sock.getsockname()[0]
    return sys.platform == "linux" and host in ("::", "0.0.0.0")  # noqa: S104  # compared only


class Asked:
    """The addresses of ours that datagrams come to by one socket.

    Args:
        sock: listens on all addresses.
        name: makes a way of what is to be sent along; returns its number.
    """

    def __init__(self, sock: socket.socket, name: Callable[[Ancillary], int]) -> None:
        self._sock = sock
        self._name = name
        self._is_ipv6 = sock.family == socket.AF_INET6
        self._ways: dict[bytes, int] = {}
        if self._is_ipv6:
            sock.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVPKTINFO, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)

    def way(self, info: bytes) -> int:
        """Return the way that names the address that was asked; 0: too many were."""
        local = self._local(info)
        number = self._ways.get(local)
        if number is None:
            if len(self._ways) >= MAX_SOURCES:
                return 0
            number = self._ways[local] = self._name([self._answer(local)])
        return number

    def is_natural(self, info: bytes, address: Address) -> bool:
        """See whether the system would send from the address that was asked, unbidden.

        That costs a socket, but naming the source costs a little with every datagram.
        """
        with socket.socket(self._sock.family, socket.SOCK_DGRAM) as probe:
            try:
                if self._is_ipv6:
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
                probe.connect(address)
            except OSError:
                return False
            host = probe.getsockname()[0].partition("%")[0]
        return socket.inet_pton(self._sock.family, host) == self._local(info)

    def _local(self, info: bytes) -> bytes:
        fields = IPV6_INFO.unpack(info) if self._is_ipv6 else IPV4_INFO.unpack(info)
        local = fields[0] if self._is_ipv6 else fields[2]
        assert isinstance(local, bytes)  # noqa: S101  # for the checker: unpack tells no types
        return local

    def _answer(self, local: bytes) -> tuple[int, int, bytes]:
        """Name our address, and leave the interface to the system's routes."""
        if self._is_ipv6:
            return socket.IPPROTO_IPV6, IPV6_PKTINFO, IPV6_INFO.pack(local, 0)
        return socket.IPPROTO_IP, IP_PKTINFO, IPV4_INFO.pack(0, local, bytes(4))


class Question(msgspec.Struct, frozen=True, gc=False):
    """Which address of ours a datagram came to, by a socket that listens on all.

    Attributes:
        number: of the socket.
        info: what the system said of it; empty: nothing.
    """

    number: int
    asked: Asked
    info: bytes

    @property
    def sure_way(self) -> int:
        """The way that names the address."""
        return (self.asked.way(self.info) if self.info else 0) or self.number

    def is_natural(self, address: Address) -> bool:
        """Whether the socket's own way is as good."""
        return not self.info or self.asked.is_natural(self.info, address)


class Answers:
    """Chooses the ways that answers go; the system is asked so often only."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._lookups = Bucket.full(MAX_LOOKUPS, MAX_LOOKUPS, loop.time())

    def way(self, question: Question, address: Address) -> int:
        """Choose the socket's own way, if the system sends as was asked; else the sure one."""
        if self._lookups.take(self._loop.time()) and question.is_natural(address):
            return question.number
        return question.sure_way
