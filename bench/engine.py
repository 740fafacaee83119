"""What one connection costs without sockets: `python -m bench.engine`.

Server connections in memory, a client of bare aioquic at the end of each. Timed is the server's
part only: writing a frame until its datagram is made, and taking a packet with an ACK. `bare` is
what a program on aioquic's connection does at the least (as `aioquic.asyncio` does); `link` is
moqvox' own link and engine. The 10th percentile of many rounds hardly sees what else the
machine does, so that small differences show. The clock is made up; nothing here waits.
"""

import argparse
import asyncio
import datetime
import gc
import ssl
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection

from bench.arithmetic import percentile
from moqvox.transport.address import Address
from moqvox.transport.aioquic.limits import Limits
from moqvox.transport.aioquic.link import Link
from moqvox.transport.aioquic.private import Engine
from moqvox.transport.aioquic.private.aside import take_up
from moqvox.transport.aioquic.raw import RawConnection
from moqvox_certs import generate

ALPN: Final = "bench"
CLIENT: Final = ("192.0.2.1", 1)
SERVER: Final = ("192.0.2.2", 2)
FRAME: Final = bytes(60)
PERIOD: Final = 0.02
FLIGHT: Final = 0.0005
HANDSHAKE_TURNS: Final = 12


class Clock:
    """The time that all connections live in."""

    def __init__(self) -> None:
        self.now = 1000.0


class Side(Protocol):
    """A server's connection."""

    def receive(self, data: bytes) -> list[bytes]:
        """Take a datagram; return those it calls for."""

    def open(self) -> int:
        """Open a unidirectional stream."""

    def send(self, stream: int, data: bytes) -> list[bytes]:
        """Write to a stream; return the datagrams."""


class Bare:
    """aioquic's connection, driven as `QuicConnectionProtocol` drives it."""

    def __init__(self, configuration: QuicConfiguration, first: bytes, clock: Clock) -> None:
        self._clock = clock
        self._quic = QuicConnection(
            configuration=configuration, original_destination_connection_id=first
        )

    def receive(self, data: bytes) -> list[bytes]:
        self._quic.receive_datagram(data, CLIENT, self._clock.now)
        while self._quic.next_event() is not None:
            pass
        return self._transmit()

    def open(self) -> int:
        return self._quic.get_next_available_stream_id(is_unidirectional=True)

    def send(self, stream: int, data: bytes) -> list[bytes]:
        self._quic.send_stream_data(stream, data)
        return self._transmit()

    def _transmit(self) -> list[bytes]:
        datagrams = [data for data, _ in self._quic.datagrams_to_send(self._clock.now)]
        self._quic.get_timer()
        return datagrams


class Desk:
    """Carries one link: what an endpoint does otherwise, without a socket."""

    def __init__(self, clock: Clock) -> None:
        self.sent: list[bytes] = []
        self.is_touched = False
        self._clock = clock

    def now(self) -> float:
        return self._clock.now

    def touch(self, link: Link) -> None:
        self.is_touched = True

    def rest(self, link: Link) -> None:
        self.is_touched = True

    def schedule(self, link: Link, when: float) -> None:
        if link.scheduled_at is None or when < link.scheduled_at:
            link.scheduled_at = when

    def defer(self, link: Link) -> bool:
        return False

    def has_unheard(self, link: Link) -> bool:
        return False

    def send(self, link: Link, data: bytes, address: Address) -> None:
        self.sent.append(data)

    def enrol(self, connection_id: bytes, link: Link) -> None:
        """Nothing: there is one link."""

    def strike(self, connection_id: bytes) -> None:
        """Nothing: there is one link."""

    def ended(self, link: Link) -> None:
        """Nothing: there is one link."""

    def part(self, link: Link) -> None:
        """Nothing: there is one link."""

    def forget(self, link: Link) -> None:
        """Nothing: there is one link."""

    def local_address(self, link: Link) -> Address:
        return SERVER


class Carried:
    """moqvox' link, and the connection that a driver sees."""

    def __init__(self, configuration: QuicConfiguration, first: bytes, clock: Clock) -> None:
        limits = Limits()
        engine = Engine(configuration, limits, original_destination_connection_id=first)
        self._clock = clock
        self._desk = Desk(clock)
        self._link = Link(engine, limits, self._desk)
        self._connection = RawConnection(self._link, protocol=ALPN, is_client=False)
        self._link.observer = self._connection

    def receive(self, data: bytes) -> list[bytes]:
        self._link.receive(data, CLIENT, self._clock.now)
        return self._turn()

    def open(self) -> int:
        return self._connection.open_stream(bidirectional=False, priority=1)

    def send(self, stream: int, data: bytes) -> list[bytes]:
        self._connection.write(stream, data)
        return self._turn()

    def fall_silent(self) -> None:
        """Let the time pass after which a half-open connection is put aside."""
        link = self._link
        link.is_newcomer = True
        link.on_timer(self._clock.now + link.limits.aside_after)
        if not link.is_aside:
            raise RuntimeError("a half-open connection is not put aside")

    def take_up(self) -> None:
        """Go on with one that is put aside."""
        take_up(self._link.engine)

    def _turn(self) -> list[bytes]:
        desk, now = self._desk, self._clock.now
        if self._link.scheduled_at is not None and self._link.scheduled_at <= now:
            self._link.scheduled_at = None
            self._link.on_timer(now)
        if desk.is_touched:
            desk.is_touched = False
            self._link.flush(now)
        sent, desk.sent = desk.sent, []
        return sent


class Crowded(Carried):
    """Ours in a crowd: put aside as soon as its answer has left, and taken up by the next word."""

    def __init__(self, configuration: QuicConfiguration, first: bytes, clock: Clock) -> None:
        super().__init__(configuration, first, clock)
        self._is_answered = False
        self._link.is_newcomer = True

    def receive(self, data: bytes) -> list[bytes]:
        sent = super().receive(data)
        if not self._is_answered:
            self._is_answered = True
            self._link.make_way()
            if not self._link.is_aside:
                raise RuntimeError("a half-open connection is not put aside")
        return sent


def server_configuration(folder: Path) -> QuicConfiguration:
    """Make a server's configuration, with a certificate of its own."""
    made = generate(["localhost"], datetime.datetime.now(datetime.UTC))
    (folder / "cert.pem").write_bytes(made.cert_pem)
    (folder / "key.pem").write_bytes(made.key_pem)
    configuration = QuicConfiguration(
        is_client=False, alpn_protocols=[ALPN], connection_id_length=8
    )
    configuration.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return configuration


def client_of(clock: Clock) -> QuicConnection:
    """Make a client that has begun to connect."""
    configuration = QuicConfiguration(is_client=True, alpn_protocols=[ALPN])
    configuration.verify_mode = ssl.CERT_NONE
    client = QuicConnection(configuration=configuration)
    client.connect(SERVER, now=clock.now)
    return client


def first_flight(clock: Clock) -> tuple[bytes, list[bytes]]:
    """Make what a client says first, and the connection ID that it sends it to."""
    client = client_of(clock)
    datagrams = [data for data, _ in client.datagrams_to_send(clock.now)]
    return client.original_destination_connection_id, datagrams


class Pair:
    """A server's connection and its client, after the handshake."""

    def __init__(
        self,
        kind: Callable[[QuicConfiguration, bytes, Clock], Side],
        server: QuicConfiguration,
        clock: Clock,
    ) -> None:
        self._clock = clock
        self._client = client_of(clock)
        self.server: Side = kind(server, self._client.original_destination_connection_id, clock)
        for _ in range(HANDSHAKE_TURNS):
            for data in self.answers():
                self.deliver(self.server.receive(data))
            clock.now += PERIOD
        self.stream = self.server.open()

    def deliver(self, datagrams: list[bytes]) -> None:
        """Let the client take datagrams."""
        for data in datagrams:
            self._client.receive_datagram(data, SERVER, self._clock.now)
        while self._client.next_event() is not None:
            pass

    def answers(self) -> list[bytes]:
        """Let the client send what is due, ACKs above all."""
        due = self._client.get_timer()
        if due is not None and due <= self._clock.now:
            self._client.handle_timer(self._clock.now)
        return [data for data, _ in self._client.datagrams_to_send(self._clock.now)]


class Rounds:
    """Microseconds of each round, for one write and for one ACK."""

    def __init__(self) -> None:
        self.writes: list[float] = []
        self.acks: list[float] = []


def measure(
    kind: type[Bare] | type[Carried], server: QuicConfiguration, connections: int, rounds: int
) -> Rounds:
    """Write a frame to every connection, round after round, each of which is acknowledged."""
    clock = Clock()
    pairs = [Pair(kind, server, clock) for _ in range(connections)]
    found = Rounds()
    gc.collect()
    gc.disable()
    try:
        for _ in range(rounds):
            _round(pairs, clock, found)
    finally:
        gc.enable()
    return found


def _round(pairs: list[Pair], clock: Clock, found: Rounds) -> None:
    start = time.perf_counter_ns()
    sent = [pair.server.send(pair.stream, FRAME) for pair in pairs]
    found.writes.append((time.perf_counter_ns() - start) / 1000 / len(pairs))
    clock.now += FLIGHT
    for pair, datagrams in zip(pairs, sent, strict=True):
        pair.deliver(datagrams)
    clock.now += PERIOD / 2
    acks = [(pair, data) for pair in pairs for data in pair.answers()]
    start = time.perf_counter_ns()
    for pair, data in acks:
        pair.server.receive(data)
    found.acks.append((time.perf_counter_ns() - start) / 1000 / max(1, len(acks)))
    clock.now += PERIOD / 2


def main() -> int:
    """Measure both in turns, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--connections", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--turns", type=int, default=3)
    given = parser.parse_args()
    sides: dict[str, type[Bare] | type[Carried]] = {"bare": Bare, "link": Carried}
    found: dict[str, list[Rounds]] = {name: [] for name in sides}
    with tempfile.TemporaryDirectory(prefix="moqvox-bench-") as folder:
        server = server_configuration(Path(folder))
        for _ in range(given.turns):
            for name, kind in sides.items():
                found[name].append(measure(kind, server, given.connections, given.rounds))
    print("microseconds, 10th percentile (median)       write              ACK")
    for name, turns in found.items():
        writes = [us for turn in turns for us in turn.writes]
        acks = [us for turn in turns for us in turn.acks]
        cells = [f"{percentile(v, 0.1):.1f} ({statistics.median(v):.1f})" for v in (writes, acks)]
        print(f"{name:38} {cells[0]:>16} {cells[1]:>16}")
    return 0


async def _inside() -> int:
    # The link's queue of events makes futures, so a loop has to run.
    return main()


if __name__ == "__main__":
    sys.exit(asyncio.run(_inside()))
