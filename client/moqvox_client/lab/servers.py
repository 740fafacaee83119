"""The far end's programs in a run: the system's server, relays before it, and what befalls them."""

import asyncio
import json
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from moqvox_client.errors import Failed
from moqvox_client.lab.job import BEGAN, KEYS, READY
from moqvox_client.lab.network import (
    Place,
    foremost,
    own_environment,
    stop,
    tail,
    unobtrusive,
    until,
)
from moqvox_client.lab.scenario import Event, Scenario

__all__ = ["Fall", "Servers"]

RELAYS: Final = 2
LOOK_S: Final = 0.005
DRAIN_S: Final = 10


class Fall(msgspec.Struct, frozen=True):
    """A program that was killed or asked to end, in nanoseconds of the common clock.

    Attributes:
        at_ns: when.
        back_ns: when its successor listened; None where there is another relay instead.
    """

    kind: str
    at_ns: int
    back_ns: int | None = None


class Servers:
    """Starts the far end's programs, kills and drains them on time, and ends them all."""

    def __init__(self, place: Place, scenario: Scenario, folder: Path) -> None:
        self._place = place
        self._scenario = scenario
        self._folder = folder
        self._server: subprocess.Popen[bytes] | None = None
        self._relays: list[subprocess.Popen[bytes]] = []
        self._starts = 0
        self.falls: list[Fall] = []

    @property
    def urls(self) -> list[str]:
        """Where callers and the agent find the relays; none without any."""
        if not self._scenario.relays:
            return []
        return [f"moqt://{self._place.host}:{self._place.port + n}/" for n in range(RELAYS)]

    async def start(self, argv: Sequence[str], environment: dict[str, str], job: Path) -> None:
        """Start the relays, if any, and then the server.

        Raises:
            Failed: one of them does not start, or can't on this network.
        """
        (self._folder / KEYS).write_text(secrets.token_hex(32))
        if self.urls and self._place.caller_port != self._place.port:
            raise Failed("two relays need network namespaces, not loopback")
        for number in range(len(self.urls)):
            await self._start_relay(number)
        self._argv, self._environment = argv, environment
        await self._start_server(job)

    async def befall(self, job_again: Path) -> None:
        """Let what is to befall them happen, counted from the caller's beginning."""
        began = self._folder / BEGAN
        events = self._scenario.process_events
        while events and not (began.exists() and began.stat().st_size):
            await asyncio.sleep(LOOK_S)
        for event in events:
            due_ns = int(began.read_text()) + int(event.at * 1e9)
            await asyncio.sleep(max(0.0, (due_ns - time.monotonic_ns()) / 1e9))
            await self._strike(event, job_again)

    def stop(self) -> None:
        """End everything; the server first, so that it can say goodbye."""
        for process in (self._server, *self._relays):
            if process is not None:
                stop(process)

    async def _strike(self, event: Event, job_again: Path) -> None:
        victim = self._relays[0] if self._relays else self._server
        if victim is None:
            return
        victim.send_signal(signal.SIGKILL if event.kind == "kill" else signal.SIGTERM)
        at_ns = time.monotonic_ns()
        back_ns = None
        if event.kind == "kill":
            await asyncio.to_thread(victim.wait)
            if victim is self._server:
                (self._folder / READY).unlink()
                await self._start_server(job_again)
                back_ns = int((self._folder / READY).read_text())
        self.falls.append(Fall(event.kind, at_ns, back_ns))

    async def _start_server(self, job: Path) -> None:
        log = self._folder / f"server-{self._starts}.log"
        start = foremost() if self._starts else unobtrusive()  # a restart is measured
        self._starts += 1
        argv = [*start, *self._argv, "server", str(job)]
        self._server = self._place.start("server", argv, self._environment, log)
        await until(_filled(self._folder / READY), self._server, "the server", log)

    async def _start_relay(self, number: int) -> None:
        folder, place = self._folder, self._place
        argv = [*foremost(), sys.executable, "-P", "-m", "moqvox_client", "relay"]
        argv += ["--json", "--public", ""]
        argv += ["--no-websocket", "--no-http", "--drain", f"{DRAIN_S}s"]
        argv += ["--tls-cert", str(folder / "cert.pem"), "--tls-key", str(folder / "key.pem")]
        argv += [
            "--secret-file",
            str(folder / KEYS),
            "--bind",
            f"{place.host}:{place.port + number}",
        ]
        log = folder / f"relay-{number}.log"
        relay = place.start("server", argv, own_environment(), log)
        self._relays.append(relay)
        await until(lambda: _is_up(log), relay, "a relay", log)

    def logs(self) -> str:
        """Quote the end of what the servers said."""
        files = [self._folder / f"server-{n}.log" for n in range(self._starts)]
        return " / ".join(filter(None, map(tail, files)))


def _filled(file: Path) -> Callable[[], bool]:
    return lambda: file.exists() and file.stat().st_size > 0


def _is_up(log: Path) -> bool:
    for line in log.read_text(errors="replace").splitlines():
        try:
            said = json.loads(line)
        except ValueError:
            continue
        if isinstance(said, dict) and said.get("event") == "ready":
            return True
    return False
