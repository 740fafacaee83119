"""What a flood of first packets leaves in a server's memory, if nobody goes on.

In memory, without sockets' sending: our admission as it listens, and `aioquic.asyncio`'s server as
`serve` makes it. Each opening comes from a network of its own, so that no cap for one counts.
"""

import asyncio
import gc
import socket
import tracemalloc
from typing import Final

from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.asyncio.server import QuicServer
from aioquic.quic.configuration import QuicConfiguration

from bench.engine import ALPN, Clock, first_flight
from moqvox.transport.address import Address
from moqvox.transport.aioquic.admission import Admission
from moqvox.transport.aioquic.endpoint import Endpoint
from moqvox.transport.aioquic.limits import Limits
from moqvox.transport.aioquic.link import Link
from moqvox.transport.quic.connection_ids import Issuer, RandomIds
from moqvox.transport.quic.keys import Keys

__all__ = ["flooded_bytes"]

PORT: Final = 1000


class Mute(Endpoint):
    """An endpoint whose packets go nowhere."""

    def send(self, link: Link | None, data: bytes, address: Address) -> None:
        """Lose it."""


class Nowhere(asyncio.DatagramTransport):
    """A transport whose packets go nowhere."""

    def sendto(self, data: bytes, addr: object = None) -> None:
        """Lose it."""

    def close(self) -> None:
        """Nothing is open."""


def flooded_bytes(kind: str, server: QuicConfiguration, count: int) -> float:
    """Measure the heap that each of so many openings leaves, answered or not."""
    clock = Clock()
    openings = [first_flight(clock)[1] for _ in range(count)]
    gc.collect()
    if kind == "bare":
        return _into_upstream(server, openings)
    return _into_ours(server, openings, clock)


def _into_ours(server: QuicConfiguration, openings: list[list[bytes]], clock: Clock) -> float:
    issuer = Issuer(RandomIds(), Keys.generate(), None)
    admission = Admission(
        server, [ALPN], Limits(), webtransport=False, issuer=issuer, wall_clock=lambda: clock.now
    )
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    endpoint = Mute(sock, admission)
    links: dict[Address, Link] = {}
    before = _traced()
    for number, datagrams in enumerate(openings):
        for data in datagrams:
            address, now = _address(number), endpoint.now()
            link = links.get(address) or admission.on_stranger(data, address, endpoint)
            if link is not None:
                link.receive(data, address, now)
                link.flush(now)
    links.clear()
    grown = _grown_since(before)
    endpoint.close()
    return grown / len(openings)


def _into_upstream(server: QuicConfiguration, openings: list[list[bytes]]) -> float:
    upstream = QuicServer(configuration=server, create_protocol=QuicConnectionProtocol)
    upstream.connection_made(Nowhere())
    before = _traced()
    for number, datagrams in enumerate(openings):
        for data in datagrams:
            upstream.datagram_received(data, _address(number))
    grown = _grown_since(before)
    upstream.close()
    return grown / len(openings)


def _address(number: int) -> tuple[str, int]:
    return f"10.{number // 256 % 256}.{number % 256}.1", PORT


def _traced() -> int:
    gc.collect()
    tracemalloc.start()
    return tracemalloc.get_traced_memory()[0]


def _grown_since(before: int) -> int:
    gc.collect()
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    return grown
