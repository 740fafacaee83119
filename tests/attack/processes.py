"""Victims and callers as processes of their own, read through /proc."""

import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parents[2]
START_LIMIT = 20.0
COMPLAINTS = ("Traceback", "never retrieved", "Exception in", "Error")


def _environment() -> dict[str, str]:
    folders = [str(ROOT / name) for name in ("moq", "relay", "client", "certs")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join([*folders, str(ROOT)])}


class Process:
    """A module of ours, its lines of output in a queue."""

    def __init__(self, module: str, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=ROOT,
            env=_environment(),
            text=True,
        )
        self.pid = self._process.pid
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

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def errors(self) -> str:
        return "".join(self._errors)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        for reader in self._readers:
            reader.join()
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

    def __init__(self, what: str = "ours", port: int = 0, *options: str) -> None:
        super().__init__("tests.attack.victim", what, "--port", str(port), *options)
        self.what = what
        try:
            ready = json.loads(self.lines.get(timeout=START_LIMIT))
        except queue.Empty:
            self.kill()
            raise RuntimeError(f"the victim did not start: {self.errors()}") from None
        self.address = (ready["host"], ready["port"])

    def usage(self) -> Usage:
        proc = Path("/proc", str(self.pid))
        fields = proc.joinpath("stat").read_text().rpartition(")")[2].split()
        # proc(5): fields 14 and 15, utime and stime, of which the first two are cut off here.
        ticks = int(fields[11]) + int(fields[12])
        status = dict(
            line.split(":", 1) for line in proc.joinpath("status").read_text().splitlines()
        )
        rss, peak = (int(status[name].split()[0]) * 1024 for name in ("VmRSS", "VmHWM"))
        return Usage(ticks / os.sysconf("SC_CLK_TCK"), rss, peak)

    def forget_peak(self) -> None:
        Path("/proc", str(self.pid), "clear_refs").write_text("5")

    def wait_idle(self, seconds: float = 10.0) -> None:
        """Wait until it has worked off what is in its socket."""
        deadline = time.monotonic() + seconds
        before = self.usage().cpu_s
        while time.monotonic() < deadline:
            time.sleep(0.05)
            now = self.usage().cpu_s
            if now - before <= 0.02:
                return
            before = now

    def complaints(self) -> list[str]:
        """What it wrote about errors that nobody caught."""
        lines = self.errors().splitlines()
        return [line for line in lines if any(word in line for word in COMPLAINTS)]


class Caller(Process):
    """An honest client beside the attack; `echoes` are pairs of sent_at and latency."""

    def __init__(self, victim: Victim) -> None:
        host, port = victim.address
        super().__init__("tests.attack.caller", host, str(port))
        first = self.lines.get(timeout=START_LIMIT)
        self.echoes = [tuple(map(float, first.split()))]

    def between(self, start: float, stop: float) -> list[float]:
        """Latencies, in seconds, of what was sent in that time and came back."""
        while not self.lines.empty():
            self.echoes.append(tuple(map(float, self.lines.get().split())))
        return [latency for sent_at, latency in self.echoes if start <= sent_at < stop]
