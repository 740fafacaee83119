"""What a thousand sessions that say nothing cost a relay: `python -m bench.idle --help`.

The same clients for every server: moq-rs (bench/moqrs), each on a connection of its own, set up
and waiting for a broadcast that nobody publishes. Resident memory is read before the first and
`--settle` seconds after the last, when nothing of the handshakes is kept any more; CPU time is
what keeping the sessions alive takes after that.

With `--stall`, the servers in Python are watched from within (bench/turns.py): the longest turn of
the loop while the crowd comes in, while it says nothing, and while its connections are lost, as
its process is killed. It takes the servers half a minute of silence to notice that.
"""

import argparse
import asyncio
import datetime
import os
import signal
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Final

import msgspec
from interop.environment import EnvironmentUnavailable
from interop.failure import Failure
from interop.program import number
from interop.stage import open_stage

from bench.processes import Cores, Running, real, start_load, start_server, usage
from bench.systems import SYSTEMS, Command, Files, System, Work
from moqvox_certs import generate

BROADCAST: Final = "nobody"
RUN_LIMIT_S: Final = 120.0

LOST_AFTER_S: Final = 36.0
"""When every server has noticed that the crowd is gone: none waits for longer than 30 s."""


class Turn(msgspec.Struct, frozen=True):
    """The longest turn of a server's loop in one phase, and what the collector did in it.

    Attributes:
        longest_ms: of the server's own CPU time, between two looks at its sockets.
        collection_ms: the longest collection.
        full_collections: how many of them there were.
    """

    longest_ms: float
    collection_ms: float
    full_collections: int


class Sample(msgspec.Struct, frozen=True):
    """One server's run.

    Attributes:
        rss_bytes: resident memory with all sessions.
        session_bytes: its growth, for each session.
        cpu_share: of a core, while nothing is said.
        turns: by phase (`arrival`, `idle`, `loss`), with `--stall`.
    """

    system: str
    sessions: int
    repeat: int
    rss_bytes: int
    session_bytes: int
    cpu_share: float
    turns: dict[str, Turn] = {}


class Outcome(msgspec.Struct, frozen=True):
    """All of them, and who did not take part and why."""

    samples: list[Sample]
    unavailable: dict[str, str]


async def run_one(system: System, files: Files, args: argparse.Namespace, repeat: int) -> Sample:
    """Start a server, let the crowd in, and wait.

    Raises:
        EnvironmentUnavailable: the server, or the crowd, is not there.
    """
    cores = Cores.available()
    command = system.command(Work.RELAY, files)
    if args.stall:
        command = _watched(command)
    turns: dict[str, Turn] = {}
    async with open_stage(files.cert.parent) as stage, asyncio.timeout(RUN_LIMIT_S):
        server = await start_server(stage, system.name, command, cores.server)
        empty = usage(server.pid)
        if args.stall:
            await _longest(server)  # that of loading
        where = [f"moqt://{server.address}", BROADCAST, "-n", str(args.count)]
        crowd = await start_load(stage, "subscribers", where, cores)
        await crowd.program.event("connected")
        await asyncio.sleep(args.settle)
        if args.stall:
            turns["arrival"] = await _longest(server)
        before = usage(server.pid)
        await asyncio.sleep(args.seconds)
        after = usage(server.pid)
        if args.stall:
            turns["idle"] = await _longest(server)
            os.kill(crowd.pid, signal.SIGKILL)
            await asyncio.sleep(LOST_AFTER_S)
            turns["loss"] = await _longest(server)
    return Sample(
        system.name,
        args.count,
        repeat,
        rss_bytes=after.rss_bytes,
        session_bytes=(after.rss_bytes - empty.rss_bytes) // args.count,
        cpu_share=round((after.cpu_s - before.cpu_s) / args.seconds, 4),
        turns=turns,
    )


def _watched(command: Command) -> Command:
    """Start a server of `python -m MODULE` so that its turns are noted.

    Raises:
        EnvironmentUnavailable: it has no loop of Python's.
    """
    python, flag, *rest = command.argv
    if flag != "-m" or "moqrs" in rest[0]:
        raise EnvironmentUnavailable("its loop is not asyncio's")
    return msgspec.structs.replace(command, argv=(python, "-m", "bench.turns", *rest))


async def _longest(server: Running) -> Turn:
    """Ask for the longest turn since it was asked last."""
    seen = server.program.all("turns")
    os.kill(server.pid, signal.SIGUSR1)
    told = await server.program.event("turns", after=seen[-1].at if seen else -1)
    return Turn(
        real(told, "longest_ms"), real(told, "collection_ms"), number(told, "full_collections")
    )


def run_all(args: argparse.Namespace) -> Outcome:
    """Run every server in each round, in turns."""
    samples: list[Sample] = []
    unavailable: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="moqvox-bench-") as folder:
        made = generate(["localhost", "127.0.0.1"], datetime.datetime.now(datetime.UTC))
        files = Files(Path(folder) / "cert.pem", Path(folder) / "key.pem")
        files.cert.write_bytes(made.cert_pem)
        files.key.write_bytes(made.key_pem)
        for repeat in range(args.repeats):
            for name in args.system:
                if name in unavailable:
                    continue
                try:
                    samples.append(asyncio.run(run_one(SYSTEMS[name], files, args, repeat)))
                except* (Failure, EnvironmentUnavailable, TimeoutError) as group:
                    unavailable[name] = _first(group) or f"not within {RUN_LIMIT_S:.0f} s"
    return Outcome(samples, unavailable)


def _first(failure: BaseException) -> str:
    while isinstance(failure, BaseExceptionGroup):
        failure = failure.exceptions[0]
    return str(failure)


def show(outcome: Outcome) -> str:
    """Make a Markdown table of medians."""
    lines = ["| server | sessions | KiB for each (resident) | idle, % of a core |"]
    lines.append("|---|---:|---:|---:|")
    for name in dict.fromkeys(sample.system for sample in outcome.samples):
        own = [sample for sample in outcome.samples if sample.system == name]
        size = statistics.median(sample.session_bytes for sample in own) / 1024
        share = statistics.median(sample.cpu_share for sample in own)
        lines.append(f"| {name} | {own[0].sessions} | {size:.0f} | {share:.1%} |")
    for sample in outcome.samples:
        for phase, turn in sample.turns.items():
            lines.append(
                f"\n{sample.system}, {phase}: longest turn {turn.longest_ms:.1f} ms, longest "
                f"collection {turn.collection_ms:.1f} ms, {turn.full_collections} full ones"
            )
    lines += [f"\n{name}: {why}" for name, why in outcome.unavailable.items()]
    return "\n".join(lines)


def main(words: list[str] | None = None) -> int:
    """Measure, print the JSON, and the table to stderr."""
    parser = argparse.ArgumentParser(prog="python -m bench.idle", description=__doc__)
    parser.add_argument("-n", "--count", type=int, default=1000, help="sessions")
    parser.add_argument("--system", action="append", choices=list(SYSTEMS))
    parser.add_argument("--settle", type=float, default=5.0, help="seconds before the last look")
    parser.add_argument("--seconds", type=float, default=5.0, help="of which CPU time is taken")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--stall", action="store_true", help="note the loop's longest turns")
    args = parser.parse_args(words)
    args.system = args.system or list(SYSTEMS)
    outcome = run_all(args)
    print(msgspec.json.format(msgspec.json.encode(outcome), indent=1).decode())
    print(show(outcome), file=sys.stderr)
    return 0 if outcome.samples else 1


if __name__ == "__main__":
    sys.exit(main())
