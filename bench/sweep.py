"""Carry out a plan: run after run, skipping what a saturated or missing system can't do."""

import asyncio
import datetime
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import msgspec
from interop.environment import EnvironmentUnavailable
from interop.failure import Failure
from interop.stage import Stage, open_stage

from bench.plan import Plan, Sample, Setting, settings
from bench.processes import Cores, Running, start_server, usage
from bench.systems import SYSTEMS, Files, System, Work
from moqvox_certs import generate

__all__ = ["Measure", "Outcome", "Window", "observe", "run_once", "sweep"]

RUN_LIMIT_S: Final = 45
"""Beyond its window; connecting a large crowd is the longest part."""


class Window(msgspec.Struct, frozen=True):
    """The measured time: CLOCK_MONOTONIC nanoseconds, and CPU seconds used in it."""

    start_ns: int
    end_ns: int
    server_cpu_s: float
    load_cpu_s: float

    @property
    def seconds(self) -> float:
        """How long it was."""
        return (self.end_ns - self.start_ns) / 1e9

    @property
    def order(self) -> str:
        """The line that makes a load generator report."""
        return f"report {self.start_ns} {self.end_ns}"


Measure = Callable[[Stage, Running, Setting, Plan, Cores], Awaitable[Sample]]
"""Put load on a running server, and say what came of it."""


class Outcome(msgspec.Struct, frozen=True):
    """What a sweep brought.

    Attributes:
        unavailable: systems that did not take part, and why.
        skipped: runs left out because the time was over.
    """

    samples: list[Sample]
    unavailable: dict[str, str]
    skipped: int
    cores: Cores


async def observe(server: Running, load: list[Running], seconds: float) -> Window:
    """Let time pass, and tell who used how much CPU in it."""
    start_ns, before = time.monotonic_ns(), usage(server.pid)
    load_before = sum(usage(one.pid).cpu_s for one in load)
    await asyncio.sleep(seconds)
    end_ns, after = time.monotonic_ns(), usage(server.pid)
    load_after = sum(usage(one.pid).cpu_s for one in load)
    return Window(start_ns, end_ns, after.cpu_s - before.cpu_s, load_after - load_before)


async def sweep(plan: Plan, work: Work, measure: Measure) -> Outcome:
    """Run everything that can be run within the plan's time."""
    deadline = time.monotonic() + plan.budget_s
    samples: list[Sample] = []
    saturated: dict[tuple[str, int], int] = {}
    skipped = 0
    cores = Cores.available()
    with tempfile.TemporaryDirectory(prefix="moqvox-bench-") as folder:
        files = _certificate(Path(folder))
        unavailable = _missing(plan, work, files)
        for setting in settings(plan):
            highest = saturated.get((setting.system, setting.frame_ms), setting.count)
            if setting.system in unavailable or setting.count > highest:
                continue
            if time.monotonic() >= deadline:
                skipped += 1
                continue
            system = SYSTEMS[setting.system]
            sample = await _run(system, setting, plan, work, files, cores, measure)
            samples.append(sample)
            _progress(sample)
            if setting.repeat == 0 and sample.is_saturated(plan.limit_ms):
                saturated[setting.system, setting.frame_ms] = setting.count
    return Outcome(samples, unavailable, skipped, cores)


async def run_once(
    system: System, setting: Setting, plan: Plan, work: Work, measure: Measure
) -> Sample:
    """Carry out a single run."""
    with tempfile.TemporaryDirectory(prefix="moqvox-bench-") as folder:
        files = _certificate(Path(folder))
        return await _run(system, setting, plan, work, files, Cores.available(), measure)


async def _run(
    system: System,
    setting: Setting,
    plan: Plan,
    work: Work,
    files: Files,
    cores: Cores,
    measure: Measure,
) -> Sample:
    limit = RUN_LIMIT_S + plan.settle_s + plan.window_s
    try:
        async with open_stage(files.cert.parent) as stage, _bounded(stage, limit):
            command = system.command(work, files)
            server = await start_server(stage, system.name, command, cores.server)
            return await measure(stage, server, setting, plan, cores)
    except BaseExceptionGroup as group:
        failures, others = group.split(Failure)
        if others is not None:
            raise others from None
        return Sample(setting, failed=_first(failures))


@asynccontextmanager
async def _bounded(stage: Stage, limit: float) -> AsyncIterator[None]:
    """Turn too long a wait into a failure that says what was waited for, and who complained."""
    try:
        async with asyncio.timeout(limit):
            yield
    except TimeoutError:
        awaited = " and ".join(one.awaited for one in stage.programs if one.awaited)
        said = "; ".join(line for one in stage.programs for line in one.stderr.splitlines()[-1:])
        raise Failure(f"waited {limit:.0f} s for {awaited or 'an end'}: {said}") from None


def _first(failure: BaseException | None) -> str:
    while isinstance(failure, BaseExceptionGroup):
        failure = failure.exceptions[0]
    return str(failure)


def _missing(plan: Plan, work: Work, files: Files) -> dict[str, str]:
    missing: dict[str, str] = {}
    for name in plan.systems:
        try:
            SYSTEMS[name].command(work, files)
        except EnvironmentUnavailable as exc:
            missing[name] = str(exc)
    return missing


def _certificate(folder: Path) -> Files:
    made = generate(["localhost", "127.0.0.1"], datetime.datetime.now(datetime.UTC))
    files = Files(folder / "cert.pem", folder / "key.pem")
    files.cert.write_bytes(made.cert_pem)
    files.key.write_bytes(made.key_pem)
    return files


def _progress(sample: Sample) -> None:
    setting = sample.setting
    head = f"{setting.system:8} N={setting.count:<4} {setting.frame_ms} ms #{setting.repeat + 1}"
    if sample.failed:
        print(f"{head}  {sample.failed}", file=sys.stderr)
        return
    print(
        f"{head}  {sample.deliveries_per_cpu_s:7.0f} deliveries/CPU s, p99 {sample.p99_ms:.1f} ms,"
        f" server {sample.server_share:.0%} and load {sample.load_share:.0%} of a core",
        file=sys.stderr,
    )
