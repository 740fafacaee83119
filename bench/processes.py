"""Processes under measurement: started on a core of their own, watched through /proc."""

import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec
from interop.environment import ROOT, python_of
from interop.failure import Failure
from interop.program import Event, Program, number, text
from interop.stage import Stage

from bench.systems import Command, python_path

__all__ = ["Cores", "Running", "Usage", "real", "start", "start_load", "start_server", "usage"]

LOAD_LIMIT_S: Final = 180
POLL_S: Final = 0.05
PINNED: Final = ROOT / "bench" / "pinned.py"


class Cores(msgspec.Struct, frozen=True):
    """Which core the server has, and which the load generator; -1: the kernel's choice."""

    server: int
    load: int

    @staticmethod
    def available() -> "Cores":
        """Take the first core for the server and the last for the load, if there are two."""
        usable = sorted(os.sched_getaffinity(0))
        if len(usable) < 2:
            return Cores(-1, -1)
        return Cores(usable[0], usable[-1])


class Usage(msgspec.Struct, frozen=True):
    """What a process has used so far: CPU seconds, user and system, and resident bytes."""

    cpu_s: float
    rss_bytes: int


class Running(msgspec.Struct, frozen=True):
    """A program and its process ID; `address` is where it listens, if it does."""

    program: Program
    pid: int
    address: str = ""


def usage(pid: int) -> Usage:
    """Read what a process has used.

    Raises:
        Failure: it is gone.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        statm = Path(f"/proc/{pid}/statm").read_text()
    except OSError as exc:
        raise Failure(f"process {pid} is gone: {exc.strerror}") from exc
    fields = stat.rpartition(")")[2].split()
    # proc(5): fields 14 and 15, utime and stime, of which the first two are cut off here.
    ticks = int(fields[11]) + int(fields[12])
    pages = int(statm.split()[1])
    return Usage(ticks / os.sysconf("SC_CLK_TCK"), pages * os.sysconf("SC_PAGE_SIZE"))


async def start(
    stage: Stage,
    name: str,
    argv: Sequence[str],
    environment: Mapping[str, str],
    core: int,
    folder: Path | None = None,
) -> Running:
    """Start a program on a core.

    Raises:
        Failure: it could not be started.
    """
    launcher = [sys.executable, str(PINNED), str(core), str(folder or ROOT), *argv]
    program = await stage.start(name, launcher, {"PYTHONUNBUFFERED": "1", **environment})
    return Running(program, number(await program.event("pinned"), "pid"))


async def start_load(stage: Stage, what: str, arguments: Sequence[str], cores: Cores) -> Running:
    """Start one of the load generator's programs.

    Raises:
        Failure: it could not be started.
        EnvironmentUnavailable: moq-rs is not there and can't be installed.
    """
    argv = [str(python_of("moq-rs")), "-m", f"bench.moqrs.{what}", *arguments]
    argv += ["--limit", str(LOAD_LIMIT_S)]
    return await start(stage, what, argv, python_path(), cores.load)


async def start_server(stage: Stage, name: str, command: Command, core: int) -> Running:
    """Start a server and wait until it listens.

    Raises:
        Failure: it ended before that.
    """
    environment = command.environment
    running = await start(stage, name, command.argv, environment, core, command.folder)
    if not command.address:
        address = text(await running.program.event("ready"), "address")
        return Running(running.program, running.pid, address)
    while not _is_bound(command.address):
        usage(running.pid)
        await asyncio.sleep(POLL_S)
    return Running(running.program, running.pid, command.address)


def real(event: Event, key: str) -> float:
    """Read a number from an event.

    Raises:
        Failure: it is not there or not a number.
    """
    value = event.fields.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Failure(f"event {event.name!r} has {key} = {value!r}, not a number")
    return float(value)


def _is_bound(address: str) -> bool:
    port = int(address.rpartition(":")[2])
    rows: list[str] = []
    for table in ("/proc/net/udp", "/proc/net/udp6"):
        if Path(table).exists():
            rows += Path(table).read_text().splitlines()[1:]
    return any(int(row.split()[1].rpartition(":")[2], 16) == port for row in rows)
