"""A netlab as the network of runs: namespaces joined by an emulator in C, from its own file."""

import asyncio
import functools
import importlib.util
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path as File
from types import ModuleType
from typing import Protocol

from moqvox_client.errors import Failed
from moqvox_client.lab.network import PORT, Place, unbroken
from moqvox_client.lab.scenario import Event, Path, Scenario

__all__ = ["Netlab", "load_netlab"]


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
            await unbroken(lab.__enter__)
        except asyncio.CancelledError:
            await unbroken(functools.partial(_close, lab))
            raise
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
            await unbroken(functools.partial(_close, lab))


def _close(lab: "_Lab") -> None:
    """Take a netlab down, by hand if it can't itself: its emulator may be too slow to answer."""
    try:
        lab.close()
    except (OSError, RuntimeError, ValueError, subprocess.SubprocessError):
        if lab.emu.poll() is None:
            lab.emu.kill()
            lab.emu.wait()
        for name in lab.ns.values():
            _remove(name)


def _remove(namespace: str) -> None:
    subprocess.run(["ip", "netns", "del", namespace], capture_output=True, check=False)


class _Lab(Protocol):
    """What is used of a netlab's `Lab`."""

    emu: "subprocess.Popen[bytes]"
    ns: dict[str, str]

    def close(self) -> None: ...


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
