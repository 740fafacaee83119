"""What connections cost before and beside their use: `python -m bench.handshakes`.

As `bench.engine`, without sockets: server connections in memory, clients of bare aioquic. Timed
is the server's part of a full handshake (certificate, no ticket) until it is confirmed. Memory
is what one server connection adds: `half-open` after the client's first flight and nothing
else, `aside` the same once nothing has come for a second, `idle` after the handshake; timed is
also what it takes to put one aside, and to take it up again; `link, put aside` has the rate if
that happens to each between its first flight and its client's answer. `heap` is Python's own and
leaves out what the crypto library holds; `resident` is the process' growth, which needs many
connections to be exact. `flood` is the heap that each of so many openings leaves which nobody
goes on with, through the server's own door (`bench.flood`): ours asks for proof of the address
beyond a few. JSON goes to stdout, a table to stderr.
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

import msgspec
from aioquic.quic.configuration import QuicConfiguration

from bench.arithmetic import spread
from bench.engine import (
    Bare,
    Carried,
    Clock,
    Crowded,
    Pair,
    Side,
    first_flight,
    server_configuration,
)
from bench.flood import flooded_bytes

KIND = type[Bare] | type[Carried]
KINDS: Final[dict[str, KIND]] = {"bare": Bare, "link": Carried}
CROWDED: Final = "link, put aside"
PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


class Timed:
    """A server's connection whose time is taken."""

    def __init__(self, side: Side) -> None:
        self.spent_ns = 0
        self._side = side

    def receive(self, data: bytes) -> list[bytes]:
        start = time.process_time_ns()
        datagrams = self._side.receive(data)
        self.spent_ns += time.process_time_ns() - start
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
            start = time.process_time_ns()
            side = Timed(kind(configuration, first, clock))
            side.spent_ns = time.process_time_ns() - start
            sides.append(side)
            return side

        Pair(timed, server, clock)
        spent_ns += sides[0].spent_ns
    return count * 1e9 / spent_ns


class Aside(msgspec.Struct):
    """What connections cost that are put aside.

    Attributes:
        put_us: CPU microseconds to put one aside.
        taken_us: to take it up again.
    """

    bytes: float
    put_us: float
    taken_us: float


def aside(server: QuicConfiguration, count: int) -> Aside:
    """Measure our half-open connections after a second of silence."""
    clock = Clock()
    flights = [first_flight(clock) for _ in range(count)]
    held: list[Carried] = []

    def fill() -> None:
        for first, datagrams in flights:
            side = Carried(server, first, clock)
            for data in datagrams:
                side.receive(data)
            held.append(side)
            side.fall_silent()

    grown, _ = _grown(fill, count)
    taken_us = _each_us(Carried.take_up, held)
    return Aside(grown, _each_us(Carried.fall_silent, held), taken_us)


def _each_us(work: Callable[[Carried], None], held: list[Carried]) -> float:
    gc.collect()
    start = time.process_time_ns()
    for side in held:
        work(side)
    return (time.process_time_ns() - start) / len(held) / 1000


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


class Figures(msgspec.Struct):
    """What was found of one kind of connection.

    Attributes:
        rates: handshakes for each CPU second, turn by turn.
        flood_bytes: heap for each opening, by how many openings there are.
    """

    rates: list[float] = []
    half_open_bytes: float = 0.0
    half_open_resident_bytes: float = 0.0
    aside: Aside | None = None
    idle_bytes: float = 0.0
    flood_bytes: dict[int, float] = {}


def measure(server: QuicConfiguration, given: argparse.Namespace) -> dict[str, Figures]:
    """Measure both kinds, the rates in turns."""
    found = {name: Figures() for name in (*KINDS, CROWDED)}
    for _ in range(given.turns):
        for name, kind in {**KINDS, CROWDED: Crowded}.items():
            rate = handshakes_per_s(kind, server, max(1, given.connections // 4))
            found[name].rates.append(round(rate, 1))
    for name, kind in KINDS.items():
        own = found[name]
        heap, resident = half_open_bytes(kind, server, given.connections)
        own.half_open_bytes, own.half_open_resident_bytes = round(heap), round(resident)
        own.aside = aside(server, given.connections) if kind is Carried else None
        own.idle_bytes = round(idle_bytes(kind, server, max(1, given.connections // 4)))
        own.flood_bytes = {
            count: round(flooded_bytes(name, server, count)) for count in given.flood
        }
    return found


def show(found: dict[str, Figures]) -> str:
    """Make a Markdown table."""
    floods = sorted({count for one in found.values() for count in one.flood_bytes})
    heads = ["", "handshakes for a CPU second", "half-open KiB", "(resident)"]
    heads += ["aside KiB", "put aside us", "taken up us", "idle KiB"]
    heads += [f"KiB each in a flood of {count}" for count in floods]
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)]]
    for name, one in found.items():
        rate = spread(one.rates)
        if name == CROWDED:
            lines.append([name, rate.show(0) if rate else "", *[""] * (len(heads) - 2)])
            continue
        cells = _kib(one.half_open_bytes, one.half_open_resident_bytes)
        if one.aside is not None:
            cells += _kib(one.aside.bytes)
            cells += [f"{one.aside.put_us:.0f}", f"{one.aside.taken_us:.0f}"]
        else:
            cells += [""] * 3
        cells += _kib(one.idle_bytes, *(one.flood_bytes[count] for count in floods))
        lines.append([name, rate.show(0) if rate else "", *cells])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _kib(*sizes: float) -> list[str]:
    return [f"{size / 1024:.1f}" for size in sizes]


def main(words: list[str] | None = None) -> int:
    """Measure, print the JSON, and the table to stderr."""
    parser = argparse.ArgumentParser(prog="python -m bench.handshakes", description=__doc__)
    parser.add_argument("--connections", type=int, default=200)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--flood", type=int, nargs="*", default=[1000, 5000])
    given = parser.parse_args(words)
    with tempfile.TemporaryDirectory(prefix="moqvox-bench-") as folder:
        found = measure(server_configuration(Path(folder)), given)
    print(msgspec.json.format(msgspec.json.encode(found), indent=1).decode())
    print(show(found), file=sys.stderr)
    return 0


async def _inside() -> int:
    # The link's queue of events makes futures, so a loop has to run.
    return main()


if __name__ == "__main__":
    sys.exit(asyncio.run(_inside()))
