"""Victims and callers as processes of their own, read through /proc."""

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tests.attack.rows import Shot

ROOT = Path(__file__).resolve().parents[2]
START_LIMIT = 20.0
SHOT_LIMIT = 50.0
CORES = sorted(os.sched_getaffinity(0))
SERVER_CORE, CLIENT_CORE = CORES[-1:], CORES[:1]
"""Where they are kept apart, so that the server is measured and not the machine: it has a core to
itself, as far as the machine lets it, and callers and attackers share another."""


@dataclass(frozen=True)
class Rank:
    """Who goes before whom on a core: a scheduling policy, its priority, and a niceness.

    Where the system doesn't permit the policy, the niceness alone decides.
    """

    policy: int = os.SCHED_OTHER
    priority: int = 0
    niceness: int = 0

    def give(self, pid: int) -> None:
        os.setpriority(os.PRIO_PROCESS, pid, min(19, os.nice(0) + self.niceness))
        with contextlib.suppress(PermissionError):
            os.sched_setscheduler(pid, self.policy, os.sched_param(self.priority))


AS_OTHERS = Rank()
FIRST = Rank(os.SCHED_FIFO, priority=10)
"""Of a server and of an honest caller, each on its core: nothing else there makes them wait."""

LAST = Rank(os.SCHED_IDLE, niceness=19)
"""Of an attacker, on the caller's core: what it computes delays nobody but itself."""

IDLE_CPU_S = 0.02
"""Of 50 ms; so much the honest caller costs, and no more."""

COMPLAINTS = ("Traceback", "never retrieved", "Exception in", "Error")


def _environment() -> dict[str, str]:
    folders = [str(ROOT / name) for name in ("moq", "relay", "client", "certs")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join([*folders, str(ROOT)])}


class Process:
    """A module of ours, its lines of output in a queue."""

    def __init__(
        self, module: str, *arguments: str, cores: Sequence[int] = CORES, rank: Rank = AS_OTHERS
    ) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=ROOT,
            env=_environment(),
            text=True,
        )
        self.pid = self._process.pid
        os.sched_setaffinity(self.pid, cores)
        rank.give(self.pid)
        self.lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._errors: list[str] = []
        self._readers = [
            threading.Thread(target=self._read, args=(self._process.stdout, self.lines.put)),
            threading.Thread(target=self._read, args=(self._process.stderr, self._errors.append)),
        ]
        for reader in self._readers:
            reader.start()

    @staticmethod
    def _read(stream: IO[str], keep: Callable[[str], None]) -> None:
        for line in stream:
            keep(line)
        keep("")  # it is over

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def tell(self, line: str) -> None:
        """Write a line to its standard input."""
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def errors(self) -> str:
        return "".join(self._errors)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        for reader in self._readers:
            reader.join()
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.stderr.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()


@dataclass(frozen=True)
class Usage:
    """CPU seconds so far, resident bytes now and at most since the last `forget_peak`."""

    cpu_s: float
    rss_bytes: int
    peak_bytes: int


class Victim(Process):
    """A server; `address` is where it listens."""

    def __init__(
        self, what: str = "ours", port: int = 0, *options: str, is_apart: bool = False
    ) -> None:
        arguments = (what, "--port", str(port), *options)
        super().__init__(
            "tests.attack.victim",
            *arguments,
            cores=SERVER_CORE if is_apart else CORES,
            rank=FIRST if is_apart else AS_OTHERS,
        )
        self.what, self.is_apart = what, is_apart
        try:
            ready = json.loads(self.lines.get(timeout=START_LIMIT))
        except queue.Empty:
            self.kill()
            raise RuntimeError(f"the victim did not start: {self.errors()}") from None
        self.address = (ready["host"], ready["port"])

    @property
    def client_cores(self) -> Sequence[int]:
        """Where its callers and attackers are to run."""
        return CLIENT_CORE if self.is_apart else CORES

    def usage(self) -> Usage:
        proc = Path("/proc", str(self.pid))
        # Of each thread: nanoseconds on a core, and in the queue for one.
        threads = [file.read_text().split() for file in proc.glob("task/*/schedstat")]
        status = dict(
            line.split(":", 1) for line in proc.joinpath("status").read_text().splitlines()
        )
        rss, peak = (int(status[name].split()[0]) * 1024 for name in ("VmRSS", "VmHWM"))
        return Usage(sum(int(ran) for ran, *_ in threads) / 1e9, rss, peak)

    def forget_peak(self) -> None:
        Path("/proc", str(self.pid), "clear_refs").write_text("5")

    def wait_idle(self, seconds: float = 10.0) -> None:
        """Wait until it has worked off what is in its socket, and is done with who has left.

        That is taken apart in small pieces with rests between them, so that little work at a time
        does not mean that there is none left.
        """
        deadline = time.monotonic() + seconds
        before = self.usage().cpu_s
        while time.monotonic() < deadline:
            time.sleep(0.05)
            now = self.usage().cpu_s
            if now - before <= IDLE_CPU_S and not self.leaving():
                return
            before = now

    def leaving(self) -> int:
        """Connections that are over, but not taken apart or not forgotten yet."""
        return self._ask(signal.SIGUSR2)["leaving"]

    def longest_turn(self) -> float:
        """CPU seconds of the longest turn of its loop since the last call."""
        return self._ask(signal.SIGUSR1)["longest_turn_s"]

    def _ask(self, question: signal.Signals) -> dict[str, float]:
        os.kill(self.pid, question)
        try:
            return json.loads(self.lines.get(timeout=START_LIMIT))
        except queue.Empty:
            raise RuntimeError(f"no turn of the victim's loop ended in {START_LIMIT} s") from None

    def complaints(self) -> list[str]:
        """What it wrote about errors that nobody caught."""
        lines = self.errors().splitlines()
        return [line for line in lines if any(word in line for word in COMPLAINTS)]


class Caller(Process):
    """An honest client beside the attack; `echoes` are pairs of sent_at and latency."""

    def __init__(self, victim: Victim) -> None:
        host, port = victim.address
        super().__init__(
            "tests.attack.caller",
            host,
            str(port),
            cores=victim.client_cores,
            rank=FIRST if victim.is_apart else AS_OTHERS,
        )
        first = self.lines.get(timeout=START_LIMIT)
        self.echoes = [tuple(map(float, first.split()))]

    def between(self, start: float, stop: float) -> list[float]:
        """Latencies, in seconds, of what was sent in that time and came back."""
        while not self.lines.empty():
            line = self.lines.get()
            if line:
                self.echoes.append(tuple(map(float, line.split())))
        return [latency for sent_at, latency in self.echoes if start <= sent_at < stop]


class Shooter(Process):
    """An attacker, there and idle until it is told to shoot."""

    def __init__(self, victim: Victim, row: str, scale: float) -> None:
        host, port = victim.address
        arguments = (row, str(scale), host, str(port))
        rank = LAST if victim.is_apart else AS_OTHERS
        cores = victim.client_cores
        super().__init__("tests.attack.shooter", *arguments, cores=cores, rank=rank)
        self._patience = max(1.0, scale)

    def wait_ready(self) -> None:
        self._answer()

    def shoot(self) -> Shot:
        """Attack, and return when that is over."""
        self.tell("go")
        return Shot(**json.loads(self._answer()))

    def _answer(self) -> str:
        line = self.lines.get(timeout=SHOT_LIMIT * self._patience)
        if not line:
            raise RuntimeError(f"the attacker gave up: {self.errors()}")
        return line
