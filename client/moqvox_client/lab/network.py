"""Where the two programs of a run live: namespaces, or loopback with the built-in link."""

import asyncio
import contextlib
import functools
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path as File
from typing import Final, Protocol

import msgspec

from moqvox_client.errors import Failed
from moqvox_client.lab.scenario import Scenario
from moqvox_client.lab.ticker import FOREMOST
from moqvox_client.lab.tunnel import CONTROL, SERVER, TunnelPlan
from moqvox_client.lab.wire import READY, STATS, Plan

__all__ = [
    "Namespaces",
    "Network",
    "Place",
    "Userspace",
    "foremost",
    "stop",
    "unbroken",
    "unobtrusive",
]

PORT: Final = 4433
POLL_S: Final = 0.02
PATIENCE_S: Final = 120.0
"""Seconds that a program may take to load while it lives: one that gives way to others has a
thirtieth of a busy core."""
GRACE_S: Final = 5.0
SHOWN_CHARS: Final = 300
LATE_US: Final = 2000
"""A netlab that released one packet in a hundred later than this was too busy to count."""


class Place(msgspec.Struct, frozen=True):
    """A network that stands.

    Attributes:
        host, port: where the server listens.
        caller_port: where the caller finds it, on the same host.
        control: where the caller tells that it begins.
        start: starts a program at the `caller`'s or the `server`'s end.
        stats: what the network did; asked for before it is taken down. Raises `Failed` when it
            does not answer.
    """

    host: str
    port: int
    caller_port: int
    control: str
    start: Callable[[str, Sequence[str], Mapping[str, str], File], "subprocess.Popen[bytes]"]
    stats: Callable[[], dict[str, object]]


class Network(Protocol):
    """A kind of network, on which scenarios can be run, several at once."""

    name: str
    carries_tcp: bool

    def stand_up(
        self, scenario: Scenario, seed: int, folder: File
    ) -> contextlib.AbstractAsyncContextManager[Place]:
        """Make one for a run."""
        ...


async def unbroken(work: Callable[[], object]) -> None:
    """Do it in a thread to its end, so that what it makes is there to be removed."""
    done = asyncio.get_running_loop().run_in_executor(None, work)
    try:
        await asyncio.shield(done)
    except asyncio.CancelledError:
        with contextlib.suppress(OSError, RuntimeError, ValueError, subprocess.SubprocessError):
            await done
        raise


class Namespaces:
    """Network namespaces joined by our own program; TCP and UDP alike. Needs root on Linux."""

    name = "namespaces"
    carries_tcp = True

    @staticmethod
    def obstacle() -> str:
        """Say why it can't be used here; "" when it may."""
        if sys.platform != "linux":
            return "network namespaces need Linux"
        if os.geteuid() != 0:
            return "network namespaces need root"
        if shutil.which("ip") is None:
            return "network namespaces need the command ip (iproute2)"
        if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
            return "/dev/net/tun can't be opened"
        return ""

    @asynccontextmanager
    async def stand_up(self, scenario: Scenario, seed: int, folder: File) -> AsyncIterator[Place]:
        """Make two namespaces, and start the program between them.

        Raises:
            Failed: it does not start.
        """
        tag = secrets.token_hex(4)
        client, server = f"moqvox-{tag}-client", f"moqvox-{tag}-server"
        plan = TunnelPlan(
            client=client,
            server=server,
            path=scenario.path,
            cell=scenario.cell,
            events=scenario.network_events,
            seed=seed,
            folder=str(folder),
        )
        file = folder / "plan.json"
        file.write_bytes(msgspec.json.encode(plan))
        argv = [sys.executable, "-P", "-m", "moqvox_client.lab.tunnel", str(file)]
        wire: subprocess.Popen[bytes] | None = None
        try:
            await unbroken(functools.partial(_namespaces, "add", client, server))
            wire = _start("wire", argv, own_environment(), folder / "wire.log")
            await until((folder / READY).exists, wire, "the network", folder / "wire.log")

            def start(
                end: str, argv: Sequence[str], environment: Mapping[str, str], log: File
            ) -> "subprocess.Popen[bytes]":
                inside = ["ip", "netns", "exec", client if end == "caller" else server]
                return _start(end, [*inside, *argv], environment, log)

            stats = functools.partial(_stats_of, wire, folder)
            control = str(folder / CONTROL)
            yield Place(SERVER, PORT, PORT, control, start, stats)
        finally:
            if wire is not None:
                await asyncio.to_thread(stop, wire)
            await unbroken(functools.partial(_namespaces, "del", client, server))


def _namespaces(verb: str, *names: str) -> None:
    for name in names:
        done = subprocess.run(
            ["ip", "netns", verb, name], capture_output=True, text=True, check=False
        )
        if done.returncode and verb == "add":
            raise Failed(f"no network namespace: {' '.join(done.stderr.split())}")


def _stats_of(wire: "subprocess.Popen[bytes]", folder: File) -> dict[str, object]:
    stop(wire)
    try:
        told: dict[str, object] = json.loads((folder / STATS).read_text())
    except (OSError, ValueError):
        return {}
    return told


class Userspace:
    """Loopback with the built-in link between; UDP only. Needs nothing."""

    name = "loopback"
    carries_tcp = False

    @asynccontextmanager
    async def stand_up(self, scenario: Scenario, seed: int, folder: File) -> AsyncIterator[Place]:
        """Start the link before a port that is free now.

        Raises:
            Failed: it does not start.
        """
        port = _free_port()
        plan = Plan(
            target=("127.0.0.1", port),
            path=scenario.path,
            cell=scenario.cell,
            events=scenario.network_events,
            seed=seed,
            folder=str(folder),
        )
        file = folder / "plan.json"
        file.write_bytes(msgspec.json.encode(plan))
        argv = [sys.executable, "-P", "-m", "moqvox_client.lab.wire", str(file)]
        wire = _start("wire", argv, own_environment(), folder / "wire.log")
        try:
            ready = folder / READY
            await until(
                lambda: ready.exists() and ready.stat().st_size > 0,
                wire,
                "the link",
                folder / "wire.log",
            )
            found = json.loads(ready.read_text())

            stats = functools.partial(_stats_of, wire, folder)
            yield Place("127.0.0.1", port, found["port"], found["control"], _start, stats)
        finally:
            stop(wire)


def _start(
    _end: str,
    argv: Sequence[str],
    environment: Mapping[str, str],
    log: File,
) -> "subprocess.Popen[bytes]":
    with log.open("wb") as stream:
        return subprocess.Popen(
            argv, env={**os.environ, **environment}, stdout=stream, stderr=stream
        )


def own_environment() -> dict[str, str]:
    """Let a program of ours find what we found."""
    return {"PYTHONPATH": os.pathsep.join(part for part in sys.path if part)}


def unobtrusive() -> list[str]:
    """Say how to start a program that must not disturb the runs under way while it loads.

    It comes forward once it is loaded, see `sides.main`, which only root may.
    """
    return _nice(15)


def foremost() -> list[str]:
    """Say how to start a program whose loading is part of what is measured."""
    return _nice(FOREMOST)


def _nice(niceness: int) -> list[str]:
    may = os.geteuid() == 0 and shutil.which("nice") is not None
    return ["nice", "-n", str(niceness)] if may else []


async def until(
    condition: Callable[[], bool], process: "subprocess.Popen[bytes]", what: str, log: File
) -> None:
    """Wait for something that a process does.

    Raises:
        Failed: it ended first, or took too long.
    """
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                if process.poll() is not None:
                    raise Failed(f"{what} ended with code {process.returncode}: {tail(log)}")
                await asyncio.sleep(POLL_S)
    except TimeoutError:
        raise Failed(f"{what} was not ready after {PATIENCE_S:g} s: {tail(log)}") from None


def tail(log: File) -> str:
    """Quote the end of what a program said."""
    try:
        text = " ".join(log.read_text(errors="replace").split())
    except OSError:
        return ""
    return text[-SHOWN_CHARS:]


def stop(process: "subprocess.Popen[bytes]") -> None:
    """End a process: politely first."""
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
