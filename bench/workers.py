"""What a delivery costs a relay of several workers, and how evenly they share the load.

`python -m bench.workers --help`. One publisher to N subscribers, moq-rs clients as in
`bench.fanout`, on a relay of several workers, and beside it on one process: once with the same N,
and once with what each of the workers has, N divided by their number. The CPU time of all of the
relay's processes counts. On a machine with as few cores as this needs, throughput would prove
nothing: the clients use the same cores.

Packets are counted too. A process that can't keep up puts what came meanwhile into fewer of them,
so that its deliveries get cheaper the later they are; where packets for a delivery differ, the
cost of a packet is the fair one.
"""

import argparse
import asyncio
import datetime
import re
import statistics
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Final

import msgspec
from interop.environment import EnvironmentUnavailable
from interop.failure import Failure
from interop.program import number
from interop.stage import Stage, open_stage

from bench.processes import Cores, Running, real, start, start_load, usage
from bench.sweep import Window
from moqvox_certs import generate

BROADCAST: Final = "bench"
SENT: Final = "moqvox_quic_sent_packets"
ANYWHERE: Final = -1
"""No core in particular."""

RUN_LIMIT_S: Final = 60.0


class Sample(msgspec.Struct, frozen=True):
    """One run.

    Attributes:
        cpu_us: of all the relay's processes, for each delivery.
        packets: sent for each delivery, by counters that are up to a second old.
        beside_us: of it, what is none of the workers': the supervisor's.
        shares: of the workers' CPU time, each worker's part.
        sessions: of each worker.
        misdirected: packets that came to the wrong worker.
    """

    workers: int
    repeat: int
    subscribers: int
    deliveries: int
    lost: int
    cpu_us: float
    packets: float
    beside_us: float
    shares: list[float]
    sessions: list[int]
    misdirected: int
    p99_ms: float


class Comparison(msgspec.Struct, frozen=True):
    """Several workers beside one process, round by round.

    Attributes:
        subscribers: of several workers together.
        beside: of the one process.
        deliveries: the cost of a delivery on the workers over that on the one.
        packets: likewise of a packet sent.
    """

    workers: int
    subscribers: int
    beside: int
    deliveries: list[float]
    packets: list[float]

    @property
    def words(self) -> str:
        """What it says, as medians and ranges."""
        return (
            f"{self.workers} workers with {self.subscribers} cost {_spread(self.deliveries)} times"
            f" the CPU of one with {self.beside} for each delivery,"
            f" {_spread(self.packets)} times for each packet"
        )


class Outcome(msgspec.Struct, frozen=True):
    """All of them."""

    frame_ms: int
    window_s: float
    samples: list[Sample]
    comparisons: list[Comparison]


async def run_one(args: argparse.Namespace, workers: int, count: int, repeat: int) -> Sample:
    """Start a relay, load it, and count."""
    with tempfile.TemporaryDirectory(prefix="moqvox-bench-") as folder:
        argv = command(Path(folder), workers)
        path = {"PYTHONPATH": ":".join(one for one in sys.path if one)}
        async with open_stage(Path(folder)) as stage, asyncio.timeout(RUN_LIMIT_S):
            relay = await start(stage, "relay", argv, path, ANYWHERE)
            ready = await relay.program.event("ready")
            pids = ready.fields.get("workers") or [relay.pid]
            assert isinstance(pids, list)
            address = str(ready.fields["address"])
            return await measure(stage, relay, address, pids, args, (workers, count, repeat))


def command(folder: Path, workers: int) -> list[str]:
    """Say how to start the relay, with a certificate in the folder."""
    made = generate(["localhost", "127.0.0.1"], datetime.datetime.now(datetime.UTC))
    cert, key = folder / "cert.pem", folder / "key.pem"
    cert.write_bytes(made.cert_pem)
    key.write_bytes(made.key_pem)
    argv = [sys.executable, "-m", "moqvox_client", "relay", "--bind", "127.0.0.1:0", "--json"]
    argv += ["--tls-cert", str(cert), "--tls-key", str(key), "--public", ""]
    return [*argv, "--workers", str(workers)]


async def measure(
    stage: Stage,
    relay: Running,
    address: str,
    pids: list[int],
    args: argparse.Namespace,
    setting: tuple[int, int, int],
) -> Sample:
    """Bring in the crowd, let the publisher write, and count."""
    anywhere = Cores(ANYWHERE, ANYWHERE)
    workers, count, repeat = setting
    where = [f"moqt://{address}", BROADCAST, "--frame-ms", str(args.frame_ms)]
    crowd = await start_load(stage, "subscribers", [*where, "-n", str(count)], anywhere)
    await crowd.program.event("connected")
    publisher = await start_load(stage, "publisher", where, anywhere)
    await crowd.program.event("subscribed")
    await asyncio.sleep(1.0)
    everyone = sorted({relay.pid, *pids})
    sent = (await asyncio.to_thread(metrics, address))[SENT]
    start_ns, before = time.monotonic_ns(), {pid: usage(pid).cpu_s for pid in everyone}
    await asyncio.sleep(args.seconds)
    end_ns, after = time.monotonic_ns(), {pid: usage(pid).cpu_s for pid in everyone}
    rows = await asyncio.to_thread(metrics, address)
    order = Window(start_ns, end_ns, sum(after.values()), 0.0).order
    await publisher.program.say(order)
    written = await publisher.program.event("report")
    await crowd.program.say(order)
    got = await crowd.program.event("report")
    used = {pid: after[pid] - before[pid] for pid in everyone}
    deliveries = number(got, "deliveries")
    at_work = sum(used[pid] for pid in pids)
    return Sample(
        workers,
        repeat,
        subscribers=count,
        deliveries=deliveries,
        lost=count * number(written, "frames") - deliveries,
        cpu_us=round(1e6 * sum(used.values()) / deliveries, 2),
        packets=round((sum(rows[SENT]) - sum(sent)) / deliveries, 3),
        beside_us=round(1e6 * (sum(used.values()) - at_work) / deliveries, 2),
        shares=[round(used[pid] / at_work, 3) for pid in pids],
        sessions=rows["moqvox_relay_sessions"],
        misdirected=sum(rows["moqvox_quic_misdirected_packets"]),
        p99_ms=real(got, "p99_ms"),
    )


def metrics(address: str) -> dict[str, list[int]]:
    """Read the relay's counters, each worker's in the order of their numbers."""
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    rows: dict[str, list[int]] = {}
    for name, value in re.findall(r"^(\w+)(?:\{[^}]*\})? (\S+)$", text, re.MULTILINE):
        rows.setdefault(name, []).append(round(float(value)))
    return rows


def options(words: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.workers", description=__doc__)
    parser.add_argument("-n", "--count", type=int, default=100, help="subscribers")
    parser.add_argument("--workers", type=int, nargs="+", default=[2], help="beside one")
    parser.add_argument("--frame-ms", type=int, default=20, choices=(20, 60))
    parser.add_argument("--seconds", type=float, default=6.0, help="of one run's window")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write everything there as well")
    return parser.parse_args(words)


def settings(workers: list[int], count: int) -> list[tuple[int, int]]:
    """List a round's runs, workers and subscribers: each of several, then one to stand beside."""
    runs: dict[tuple[int, int], None] = {}
    for several in workers:
        for run in ((several, count), (1, count), (1, max(1, count // several))):
            runs[run] = None
    return list(runs)


def compare(samples: list[Sample]) -> list[Comparison]:
    """Hold each run of several workers against those of one process in the same round."""
    found: dict[tuple[int, int, int], Comparison] = {}
    for one in samples:
        for alone in samples:
            if one.workers == 1 or (alone.workers, alone.repeat) != (1, one.repeat):
                continue
            if alone.subscribers not in (one.subscribers, one.subscribers // one.workers):
                continue
            key = one.workers, one.subscribers, alone.subscribers
            row = found.setdefault(key, Comparison(*key, [], []))
            row.deliveries.append(round(one.cpu_us / alone.cpu_us, 3))
            row.packets.append(round(one.cpu_us * alone.packets / one.packets / alone.cpu_us, 3))
    return list(found.values())


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} [{min(values):.2f} to {max(values):.2f}]"


async def run_all(args: argparse.Namespace) -> list[Sample]:
    """Run every setting in each round, in turns; who is first changes."""
    samples = []
    runs = settings(args.workers, args.count)
    for repeat in range(args.repeats):
        turn = repeat % len(runs)
        for workers, count in runs[turn:] + runs[:turn]:
            samples.append(await run_one(args, workers, count, repeat))
            print(msgspec.json.encode(samples[-1]).decode(), flush=True)
    return samples


def main() -> int:
    """Measure, print, write the JSON."""
    args = options()
    try:
        samples = asyncio.run(run_all(args))
    except (Failure, EnvironmentUnavailable) as exc:
        print(f"bench.workers: {exc}", file=sys.stderr)
        return 1
    outcome = Outcome(args.frame_ms, args.seconds, samples, compare(samples))
    for comparison in outcome.comparisons:
        print(comparison.words)
    if args.json:
        args.json.write_bytes(msgspec.json.format(msgspec.json.encode(outcome), indent=1) + b"\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
