"""What connections cost before and beside their use: `python -m bench.handshakes`.

As `bench.engine`, without sockets: server connections in memory, clients of bare aioquic. Timed
is the server's part of a full handshake (certificate, no ticket) until it is confirmed. Memory
is what one server connection adds: `half-open` after the client's first flight and nothing
else, `idle` after the handshake. `heap` is Python's own count and leaves out what the crypto
library holds; `resident` is the process' growth, which needs many connections to be exact.
"""

import argparse
import asyncio
import gc
import os
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Final

from aioquic.quic.configuration import QuicConfiguration

from bench.arithmetic import spread
from bench.engine import Bare, Carried, Clock, Pair, Side, first_flight, server_configuration

KIND = type[Bare] | type[Carried]
KINDS: Final[dict[str, KIND]] = {"bare": Bare, "link": Carried}
PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


class Timed:
    """A server's connection whose time is taken."""

    def __init__(self, side: Side) -> None:
        self.spent_ns = 0
        self._side = side

    def receive(self, data: bytes) -> list[bytes]:
        start = time.perf_counter_ns()
        datagrams = self._side.receive(data)
        self.spent_ns += time.perf_counter_ns() - start
        return datagrams

    def open(self) -> int:
        return self._side.open()

    def send(self, stream: int, data: bytes) -> list[bytes]:
        return self._side.send(stream, data)


def handshakes_per_s(kind: KIND, server: QuicConfiguration, count: int) -> float:
    """Count the handshakes that one CPU second of a server is enough for."""
    clock, spent_ns = Clock(), 0
    for _ in range(count):
        sides: list[Timed] = []

        def timed(
            configuration: QuicConfiguration, first: bytes, clock: Clock, sides: list[Timed] = sides
        ) -> Side:
            start = time.perf_counter_ns()
            side = Timed(kind(configuration, first, clock))
            side.spent_ns = time.perf_counter_ns() - start
            sides.append(side)
            return side

        Pair(timed, server, clock)
        spent_ns += sides[0].spent_ns
    return count * 1e9 / spent_ns


def half_open_bytes(kind: KIND, server: QuicConfiguration, count: int) -> tuple[float, float]:
    """Measure heap and resident bytes of a connection that got a first flight only."""
    clock = Clock()
    flights = [first_flight(clock) for _ in range(count)]
    held: list[Side] = []

    def fill() -> None:
        for first, datagrams in flights:
            side = kind(server, first, clock)
            for data in datagrams:
                side.receive(data)
            held.append(side)

    return _grown(fill, count)


def idle_bytes(kind: KIND, server: QuicConfiguration, count: int) -> float:
    """Measure heap bytes of a connection after its handshake."""
    clock = Clock()
    held: list[Side] = []

    def fill() -> None:
        held.extend(Pair(kind, server, clock).server for _ in range(count))

    return _grown(fill, count)[0]


def _grown(fill: Callable[[], None], count: int) -> tuple[float, float]:
    gc.collect()
    tracemalloc.start()
    before, resident = tracemalloc.get_traced_memory()[0], _resident()
    fill()
    gc.collect()
    grown = tracemalloc.get_traced_memory()[0] - before
    # What traces cost is resident as well.
    resident = _resident() - resident - tracemalloc.get_tracemalloc_memory()
    tracemalloc.stop()
    return grown / count, resident / count


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES


def main() -> int:
    """Measure both, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--connections", type=int, default=200)
    parser.add_argument("--turns", type=int, default=3)
    given = parser.parse_args()
    rates: dict[str, list[float]] = {name: [] for name in KINDS}
    with tempfile.TemporaryDirectory(prefix="moqvox-bench-") as folder:
        server = server_configuration(Path(folder))
        for _ in range(given.turns):
            for name, kind in KINDS.items():
                rates[name].append(handshakes_per_s(kind, server, given.connections // 4))
        print("          handshakes/CPU s   half-open KiB heap (resident)   idle KiB heap")
        for name, kind in KINDS.items():
            heap, resident = half_open_bytes(kind, server, given.connections)
            idle = idle_bytes(kind, server, given.connections // 4)
            rate = spread(rates[name])
            cells = f"{heap / 1024:.1f} ({resident / 1024:.1f})"
            print(f"{name:8} {rate.show(0) if rate else '':>18} {cells:>31} {idle / 1024:15.1f}")
    return 0


async def _inside() -> int:
    # The link's queue of events makes futures, so a loop has to run.
    return main()


if __name__ == "__main__":
    sys.exit(asyncio.run(_inside()))
