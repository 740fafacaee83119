"""Where the two programs of a run live: a netlab, or loopback with the built-in link."""

import asyncio
import contextlib
import functools
import importlib.util
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
from types import ModuleType
from typing import Final, Protocol

import msgspec

from moqvox_client.errors import Failed
from moqvox_client.lab.scenario import Event, Path, Scenario
from moqvox_client.lab.tunnel import CONTROL, SERVER, TunnelPlan
from moqvox_client.lab.wire import READY, STATS, Plan

__all__ = [
    "Namespaces",
    "Netlab",
    "Network",
    "Place",
    "Userspace",
    "load_netlab",
    "stop",
    "unobtrusive",
]

PORT: Final = 4433
POLL_S: Final = 0.02
PATIENCE_S: Final = 20.0
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


def load_netlab(file: File) -> ModuleType:
    """Import a netlab from its file.

    Raises:
        Failed: it is none, or can't be used here.
    """
    if not file.is_file():
        raise Failed(f"{file}: no such file; --netlab wants netlab.py itself")
    if os.geteuid() != 0:
        raise Failed("a netlab makes network namespaces, which needs root")
    if shutil.which("ip") is None:
        raise Failed("a netlab needs the command ip (iproute2)")
    spec = importlib.util.spec_from_file_location("netlab", file)
    if spec is None or spec.loader is None:
        raise Failed(f"{file}: not a Python module")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (ImportError, SyntaxError, OSError) as exc:
        raise Failed(f"{file}: {exc}") from exc
    if not hasattr(module, "Lab") or not hasattr(module, "build"):
        raise Failed(f"{file}: not a netlab, it has no Lab")
    try:
        module.build()  # now, and not by several runs at once
    except (OSError, subprocess.SubprocessError) as exc:
        raise Failed(f"{file}: the emulator can't be compiled: {exc}") from exc
    return module


class Netlab:
    """Network namespaces joined by an emulated link; TCP and UDP alike. Needs root."""

    name = "netlab"
    carries_tcp = True

    def __init__(self, module: ModuleType) -> None:
        self._module = module

    @asynccontextmanager
    async def stand_up(self, scenario: Scenario, seed: int, folder: File) -> AsyncIterator[Place]:
        """Make two namespaces and the link between them.

        Raises:
            Failed: they can't be made.
        """
        del folder
        if scenario.changes_often:
            raise Failed("a netlab has one switch in it; --link namespaces goes back and forth")
        lab = self._module.Lab(
            events=[(event.at, _command(event)) for event in scenario.network_events],
            seed=seed,
            cell=_keywords(scenario.cell) | {"rtt": scenario.cell.rtt_ms},
            rtt=scenario.path.rtt_ms,
            **_keywords(scenario.path),
        )
        try:
            await asyncio.to_thread(lab.__enter__)
        except (OSError, RuntimeError, ValueError, subprocess.SubprocessError) as exc:
            raise Failed(f"the netlab could not be set up: {exc}") from exc
        try:
            await asyncio.to_thread(_route_by_source, lab.ns["client"], self._module.CLIENT_IP)

            def start(
                end: str, argv: Sequence[str], environment: Mapping[str, str], log: File
            ) -> "subprocess.Popen[bytes]":
                role = "client" if end == "caller" else "server"
                with log.open("wb") as stream:
                    started: subprocess.Popen[bytes] = lab.popen(
                        role, argv, env=dict(environment), stdout=stream, stderr=stream
                    )
                return started

            host = self._module.SERVER_IP
            stats = functools.partial(_asked, lab.stats)
            yield Place(host, PORT, PORT, lab.ctl_path, start, stats)
        finally:
            await asyncio.to_thread(lab.close)


def _asked(ask: Callable[[], dict[str, object]]) -> dict[str, object]:
    try:
        return ask()
    except (OSError, RuntimeError, ValueError) as exc:
        raise Failed(f"the netlab does not say what it did: {exc}") from exc


def _route_by_source(namespace: str, addresses: Mapping[str, str]) -> None:
    """Let what is bound to an old address go on using its network, as phones do."""
    wifi = addresses["wifi"]
    for line in (f"rule add from {wifi} lookup 101", "route add default dev wifi table 101"):
        subprocess.run(["ip", "-n", namespace, *line.split()], check=False, capture_output=True)


def _command(event: Event) -> str:
    if event.kind == "switch":
        return f"switch={event.ms:g}" + (",keep" if event.keep else "")
    if event.kind == "outage":
        return f"outage={event.ms:g}"
    return f"nat={event.address}" if event.address else "nat"


def _keywords(path: Path) -> dict[str, object]:
    found: dict[str, object] = {"loss": path.loss}
    if path.burst is not None:
        found["burst"] = ",".join(f"{part:g}" for part in path.burst)
    if path.jitter_ms:
        found["jitter"] = path.jitter_ms
    if path.rate_kbps:
        found["rate"] = path.rate_kbps
    return found


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
            await asyncio.to_thread(_namespaces, "add", client, server)
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
            await asyncio.to_thread(_namespaces, "del", client, server)


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

    It takes its priority back once it is loaded, see `sides.main`, which only root may.
    """
    may = os.geteuid() == 0 and shutil.which("nice") is not None
    return ["nice", "-n", "15"] if may else []


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
