"""Where a server's CPU time goes: `python -m bench.hotspots fanout|sessions --help`.

Runs one setting of a bench while a profiler watches the server: py-spy if it is on the path
(samples from outside, costs little), else cProfile inside (counts calls, slows them down: its
shares are of more time than the server really needs).
"""

import argparse
import asyncio
import collections
import os
import pstats
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec
from interop.environment import ROOT
from interop.failure import Failure
from interop.stage import Stage

from bench import fanout, sessions
from bench.plan import Plan, Sample, Setting
from bench.processes import Cores, Running
from bench.sweep import Measure, run_once
from bench.systems import SYSTEMS, Command, Files, System, Work

RATE_HZ: Final = 400
WRITTEN_S: Final = 10.0
POLL_S: Final = 0.05
FRAME: Final = re.compile(r"^(?P<name>.*) \((?P<file>.*):(?P<line>\d+)\)$")
BENCHES: Final[dict[str, tuple[Work, Measure]]] = {
    "fanout": (Work.RELAY, fanout.measure),
    "sessions": (Work.ECHO, sessions.measure),
}


class Spot(msgspec.Struct, frozen=True):
    """One function: its share of the time in itself, and with all that it calls, percent."""

    name: str
    self_percent: float
    total_percent: float


def from_stacks(lines: Iterable[str]) -> list[Spot]:
    """Add up collapsed stacks, `outer;inner COUNT` a line, by function; the hottest first."""
    own: collections.Counter[str] = collections.Counter()
    whole: collections.Counter[str] = collections.Counter()
    total = 0
    for line in lines:
        stack, _, count = line.rpartition(" ")
        if not stack:
            continue
        functions = [_function(frame) for frame in stack.split(";")]
        own[functions[-1]] += int(count)
        for function in set(functions):
            whole[function] += int(count)
        total += int(count)
    return [Spot(name, 100 * n / total, 100 * whole[name] / total) for name, n in own.most_common()]


def from_cprofile(file: Path) -> list[Spot]:
    """Read what cProfile wrote; the hottest first. Waiting for the network is left out."""
    found: dict[tuple[str, int, str], tuple[int, int, float, float, object]]
    found = pstats.Stats(str(file)).stats  # type: ignore[attr-defined]  # not in typeshed
    busy = {key: value for key, value in found.items() if "poll" not in key[2]}
    total = sum(own for _, _, own, _, _ in busy.values())
    spots = [
        Spot(f"{name} ({_short(where)}:{line})", 100 * own / total, min(100.0, 100 * whole / total))
        for (where, line, name), (_, _, own, whole, _) in busy.items()
    ]
    return sorted(spots, key=lambda spot: -spot.self_percent)


def _function(frame: str) -> str:
    match = FRAME.match(frame)
    if match is None:
        return frame
    return f"{match['name']} ({_short(match['file'])})"


def _short(file: str) -> str:
    for root in (f"{ROOT}/", "site-packages/", f"python{sys.version_info[0]}."):
        if root in file:
            return file.rpartition(root)[2]
    return file


def watched(measure: Measure, spy: str, file: Path, seconds: float) -> Measure:
    """Have py-spy watch the server for that long, beside the measurement."""

    async def beside(
        stage: Stage, server: Running, setting: Setting, plan: Plan, cores: Cores
    ) -> Sample:
        argv = [spy, "record", "--pid", str(server.pid), "--format", "raw", "--output", str(file)]
        argv += ["--rate", str(RATE_HZ), "--duration", str(int(seconds)), "--nonblocking"]

        async def watch() -> None:
            process = await asyncio.create_subprocess_exec(
                *argv, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
            )
            _, said = await process.communicate()
            if process.returncode:
                raise Failure(f"py-spy: {said.decode().strip()}")

        async with asyncio.TaskGroup() as tasks:
            measured = tasks.create_task(measure(stage, server, setting, plan, cores))
            # By then the crowd is in, unless it is large: what comes in shows as well.
            await asyncio.sleep(plan.settle_s)
            tasks.create_task(watch())
        return measured.result()

    return beside


def profiled(system: System, work: Work, file: Path) -> System:
    """Have cProfile run inside a system's server, which has to be Python."""

    def command(files: Files) -> Command:
        plain = system.command(work, files)
        python, flag, *rest = plain.argv
        if flag != "-m":
            raise Failure(f"{system.name} is no Python module, which cProfile could watch")
        argv = (python, "-m", "bench.profiled", str(file), *rest)
        return msgspec.structs.replace(plain, argv=argv)

    return msgspec.structs.replace(system, commands={work: command})


def written(measure: Measure, file: Path) -> Measure:
    """Have the server write its profile after the measurement, while it still runs."""

    async def then(
        stage: Stage, server: Running, setting: Setting, plan: Plan, cores: Cores
    ) -> Sample:
        sample = await measure(stage, server, setting, plan, cores)
        os.kill(server.pid, signal.SIGUSR1)
        if not await asyncio.to_thread(_comes, file):
            raise Failure("the server did not write its profile")
        return sample

    return then


def _comes(file: Path) -> bool:
    """Wait for a file that is written in one go; False when it does not come."""
    until = time.monotonic() + WRITTEN_S
    while not file.exists() and time.monotonic() < until:
        time.sleep(POLL_S)
    return file.exists()


def show(spots: list[Spot], sample: Sample, top: int) -> str:
    """Write the hottest functions, and what the server did meanwhile."""
    head = (
        f"{sample.deliveries_per_cpu_s:.0f} deliveries/CPU s, {sample.server_share:.0%} of a core"
    )
    lines = [sample.failed or head, " self %  total %  function"]
    lines += [f"{s.self_percent:7.1f} {s.total_percent:8.1f}  {s.name}" for s in spots[:top]]
    return "\n".join(lines)


def _plan(given: argparse.Namespace) -> Plan:
    return Plan(
        systems=(given.system,),
        counts=(given.count,),
        frames_ms=(given.frame_ms,),
        repeats=1,
        limit_ms=100.0,
        window_s=given.window,
        settle_s=4.0,
        budget_s=120.0,
        seed=1,
        group_per_frame=given.group_per_frame,
        output=None,
    )


def main() -> int:
    """Profile one setting."""
    made = argparse.ArgumentParser(description=__doc__)
    made.add_argument("bench", choices=tuple(BENCHES))
    made.add_argument("--system", default="moqvox", choices=("moqvox", "naive", "aiomoqt"))
    made.add_argument("-n", "--count", type=int, default=50)
    made.add_argument("--frame-ms", type=int, default=20, choices=(20, 60))
    made.add_argument("--window", type=float, default=8.0, metavar="S")
    made.add_argument("--top", type=int, default=15)
    made.add_argument("--group-per-frame", action="store_true")
    made.add_argument("--stacks", type=Path, metavar="FILE", help="keep py-spy's stacks")
    made.add_argument("--cprofile", action="store_true", help="even if there is py-spy")
    given = made.parse_args()
    plan = _plan(given)
    work, measure = BENCHES[given.bench]
    setting = Setting(given.system, given.count, given.frame_ms, 0, given.group_per_frame)
    system = SYSTEMS[given.system]
    spy = None if given.cprofile else shutil.which("py-spy")
    with tempfile.TemporaryDirectory(prefix="moqvox-bench-") as folder:
        file = given.stacks or Path(folder) / "profile"
        if spy is None:
            inside, then = profiled(system, work, file), written(measure, file)
            sample = asyncio.run(run_once(inside, setting, plan, work, then))
            spots = from_cprofile(file) if file.exists() else []
        else:
            beside = watched(measure, spy, file, plan.window_s)
            sample = asyncio.run(run_once(system, setting, plan, work, beside))
            spots = from_stacks(file.read_text().splitlines()) if file.exists() else []
    print(f"profiled with {'cProfile' if spy is None else os.path.basename(spy)}")
    print(show(spots, sample, given.top))
    return 1 if sample.failed else 0


if __name__ == "__main__":
    sys.exit(main())
