"""What the two programs of every system share: a speech, a clock, a record.

Runs in environments without moqvox, so it imports the standard library, `frames`, `job` and
`ticker` only. All times are nanoseconds of CLOCK_MONOTONIC, which is one clock in all processes and
network namespaces of a machine.
"""

import argparse
import asyncio
import contextlib
import json
import os
import signal
import socket
import ssl
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Final

from moqvox_client.lab.frames import FRAME_NS, read_frames
from moqvox_client.lab.job import BEGAN, GO, HEARD, JOURNAL, LOADED, READY, Job
from moqvox_client.lab.ticker import FOREMOST

__all__ = [
    "SETTLE_S",
    "CallerSide",
    "ServerSide",
    "address_towards",
    "come_forward",
    "main",
    "take_along",
]

SETTLE_S: Final = 1.5
"""Seconds a server waits for the rest of a prompt whose end should have come by now."""

NOTICE_S: Final = 0.01
"""Seconds between two looks at our own address, where an application is told of changes."""

LEAVE_S: Final = 0.5
"""Seconds that a server's farewells may take."""

LOOK_S: Final = 0.05
GO_S: Final = 0.01


class _Heard:
    """Frames that arrived, checked against those that were sent."""

    def __init__(self, expected: list[bytes], journal: Path | None = None) -> None:
        self.expected = expected
        self._journal = None if journal is None else journal.open("wb", buffering=0)
        self.arrived: list[tuple[int, int]] = []
        self.wrong = 0
        self.twice = 0
        self.whole = asyncio.Event()
        self._seen: set[int] = set()

    def take(self, index: int, frame: bytes, at_ns: int | None = None) -> None:
        """Note a frame; one that is not what was sent counts as wrong, not as arrived."""
        if not 0 <= index < len(self.expected) or frame != self.expected[index]:
            self.wrong += 1
            return
        if index in self._seen:
            self.twice += 1
            return
        self._seen.add(index)
        self.arrived.append((index, time.monotonic_ns() if at_ns is None else at_ns))
        if self._journal is not None:
            self._journal.write(b"%d %d\n" % self.arrived[-1])
        if len(self._seen) == len(self.expected):
            self.whole.set()

    def record(self) -> dict[str, object]:
        return {"arrived": self.arrived, "wrong": self.wrong, "twice": self.twice}


class CallerSide:
    """The caller's record: speaks in real time from the moment it begins, and listens.

    Attributes:
        marks: nanoseconds after the beginning at which something first happened.
        ear: what is heard of the answer.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self.prompt = read_frames(job.prompt)
        self.ear = _Heard(read_frames(job.answer))
        self.marks: dict[str, int] = {}
        self.extra: dict[str, object] = {}
        self.began_ns = 0

    def begin(self) -> None:
        """Note that the user speaks from now on, and let the network's story begin."""
        self.began_ns = time.monotonic_ns()
        _tell(self.job.control, b"t0")
        Path(self.job.folder, BEGAN).write_text(str(self.began_ns))

    def mark(self, name: str) -> None:
        """Note that something happened for the first time."""
        self.marks.setdefault(name, time.monotonic_ns() - self.began_ns)

    async def speech(self) -> AsyncIterator[tuple[int, bytes]]:
        """Give out each frame when its last sample was spoken, whatever the network does."""
        for index, frame in enumerate(self.prompt[: len(self.prompt) - self.job.again]):
            await _until(self.began_ns + (index + 1) * FRAME_NS)
            yield index, frame

    async def second_speech(self) -> AsyncIterator[tuple[int, bytes]]:
        """Give out what is spoken once the server is back, in real time from now on."""
        first = len(self.prompt) - self.job.again
        now_ns = time.monotonic_ns()
        for index, frame in enumerate(self.prompt[first:]):
            await _until(now_ns + (index + 1) * FRAME_NS)
            yield first + index, frame

    async def listen_to_the_end(self) -> None:
        """Wait until all of the answer arrived, or the prompt where none comes, or the limit."""
        left = self.began_ns / 1e9 + self.job.limit_s - time.monotonic()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, left)):
                if self.job.answered:
                    await self.ear.whole.wait()
                while not Path(self.job.folder, HEARD).exists():
                    await asyncio.sleep(LOOK_S)

    def save(self) -> None:
        """Write the record."""
        record = {
            "began_ns": self.began_ns,
            "cpu_ms": 1000 * time.process_time(),
            "ended_ns": time.monotonic_ns(),
            "marks": self.marks,
            "down": self.ear.record(),
            **self.extra,
        }
        Path(self.job.folder, "caller.json").write_text(json.dumps(record))


class ServerSide:
    """The server's record: takes the prompt, and says when to answer.

    Attributes:
        ear: what is heard of the prompt.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        journal = Path(job.folder, f"{JOURNAL}-{time.monotonic_ns()}") if job.journal else None
        self.ear = _Heard(read_frames(job.prompt), journal)
        self.answer = read_frames(job.answer)
        self.answered_ns: int | None = None
        self.over = asyncio.Event()
        self.newest = 0
        self.extra: dict[str, object] = {}

    def ready(self) -> None:
        """Tell that callers may come."""
        Path(self.job.folder, READY).write_text(str(time.monotonic_ns()))

    def take(self, index: int, frame: bytes, at_ns: int | None = None) -> None:
        """Note a frame of the prompt."""
        self.ear.take(index, frame, at_ns)
        if self.ear.whole.is_set():
            self.heard()

    def heard(self) -> None:
        """Tell that no more of the prompt is to come."""
        Path(self.job.folder, HEARD).touch()

    def meet(self) -> int:
        """Number a connection."""
        self.newest += 1
        return self.newest

    def shall_answer(self, number: int) -> bool:
        """Tell whether the answer goes to this connection: the newest one, and only once."""
        return number == self.newest and self.answered_ns is None

    async def prompt_over(self) -> None:
        """Wait for the prompt's end: told, complete, or overdue."""
        while not self.ear.arrived:
            await asyncio.sleep(0.005)
        spoken_s = len(self.ear.expected) * FRAME_NS / 1e9
        overdue_s = self.ear.arrived[0][1] / 1e9 + spoken_s + SETTLE_S
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, overdue_s - time.monotonic())):
                while not self.over.is_set() and not self.ear.whole.is_set():
                    await asyncio.sleep(0.001)

    async def reply(
        self, *, pace: float | None = None, start: int = 0
    ) -> AsyncIterator[tuple[int, bytes]]:
        """Give out the answer's frames at the job's pace or another; nothing if there is none.

        From `start` on it is what another server has left of an answer that it began.
        """
        pace = self.job.pace if pace is None else pace
        if not self.job.answered and not start:
            return
        began_ns = time.monotonic_ns()
        if not start:
            self.answered_ns = began_ns
        for index, frame in enumerate(self.answer[start:]):
            if pace:
                await _until(began_ns + int(index * FRAME_NS / pace))
            yield start + index, frame

    def save(self) -> None:
        """Write the record."""
        cpu_ms = 1000 * time.process_time()
        record = {
            "answered_ns": self.answered_ns,
            "cpu_ms": cpu_ms,
            "up": self.ear.record(),
            **self.extra,
        }
        Path(self.job.folder, "server.json").write_text(json.dumps(record))


def address_towards(host: str, port: int) -> str:
    """Tell from which of our addresses the system would reach a host; "" for none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((host, port))
        except OSError:
            return ""
        return str(probe.getsockname()[0])


async def another_address(job: Job, since: str) -> str:
    """Wait until the system reaches the server from another address, as netlink would tell."""
    while (now := address_towards(job.host, job.port)) in ("", since):
        await asyncio.sleep(NOTICE_S)
    return now


def server_tls(job: Job) -> ssl.SSLContext:
    """Prepare TLS for a server over TCP."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(job.cert, job.key)
    return context


def client_tls(job: Job) -> ssl.SSLContext:
    """Prepare TLS for a client over TCP that trusts the job's root."""
    return ssl.create_default_context(cafile=job.root)


def main(
    call: Callable[[CallerSide], Awaitable[None]], serve: Callable[[ServerSide], Awaitable[None]]
) -> None:
    """Run one side to its end; the record is written whatever ends it."""
    parser = argparse.ArgumentParser(description="one side of a system under test")
    parser.add_argument("role", choices=("caller", "server"))
    parser.add_argument("job", type=Path)
    arguments = parser.parse_args()
    job = Job(**json.loads(arguments.job.read_text()))
    come_forward()
    if arguments.role == "caller":
        asyncio.run(_run_caller(CallerSide(job), call))
    else:
        asyncio.run(_run_server(ServerSide(job), serve))


def come_forward(kind: int | None = None, who: int = 0) -> None:
    """Go before what else the machine does, which only root may; `kind` and `who` as in `os`.

    All that is measured does, of whatever system, once it is loaded; a process that is being
    loaded goes behind, for the sake of runs under way.
    """
    with contextlib.suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS if kind is None else kind, who, FOREMOST)


def take_along(group: int) -> None:
    """Kill a process group too when this process is told to end (SIGTERM)."""

    def leave() -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)
        os._exit(1)

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, leave)


async def _run_caller(side: CallerSide, call: Callable[[CallerSide], Awaitable[None]]) -> None:
    await _go(Path(side.job.folder))
    try:
        async with asyncio.timeout(side.job.limit_s + 5):
            await call(side)
    except (OSError, TimeoutError, ExceptionGroup) as exc:
        side.extra["error"] = _explain(exc)
        print(_explain(exc), file=sys.stderr)
    finally:
        side.save()


async def _go(folder: Path) -> None:
    """Wait for the turn to call, everything being loaded."""
    (folder / LOADED).touch()
    while not (folder / GO).exists():
        await asyncio.sleep(GO_S)


async def _run_server(side: ServerSide, serve: Callable[[ServerSide], Awaitable[None]]) -> None:
    task = asyncio.current_task()

    def leave() -> None:
        side.save()  # first: closing politely may take longer than anybody waits
        asyncio.get_running_loop().call_later(LEAVE_S, os._exit, 0)
        if task is not None:
            task.cancel()

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, leave)
    try:
        await serve(side)
    except asyncio.CancelledError:
        return  # SIGTERM: the caller is done
    except BaseException as exc:
        side.extra["error"] = _explain(exc)
        side.save()
        raise


def _explain(exc: BaseException) -> str:
    if isinstance(exc, BaseExceptionGroup):
        return "; ".join(_explain(inner) for inner in exc.exceptions)
    return f"{type(exc).__name__}: {exc}"


async def _until(at_ns: int) -> None:
    await asyncio.sleep(max(0.0, (at_ns - time.monotonic_ns()) / 1e9))


def _tell(control: str, message: bytes) -> None:
    host, colon, port = control.rpartition(":")
    if colon and port.isdigit():
        family, where = socket.AF_INET, (host, int(port))
        with socket.socket(family, socket.SOCK_DGRAM) as teller:
            teller.sendto(message, where)
    elif control:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as teller:
            teller.sendto(message, control)
