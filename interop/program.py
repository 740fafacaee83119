"""A program under observation: JSON lines from its stdout, orders to its stdin."""

import asyncio
import collections
import contextlib
import json
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from typing import Final

import msgspec

from interop.failure import Failure

__all__ = ["Event", "Program", "number", "text"]

MAX_LINE_BYTES: Final = 1 << 20
MAX_EVENTS: Final = 100_000
KEPT_STDERR_LINES: Final = 60
SHOWN_LINES: Final = 8
GRACE_S: Final = 3.0
"""From SIGTERM to SIGKILL."""

TRACEBACK: Final = "Traceback (most recent call last)"


class Event(msgspec.Struct, frozen=True):
    """One line of a program.

    Attributes:
        at: its number among the program's events, for `after`.
    """

    at: int
    name: str
    fields: Mapping[str, object]


class Program:
    """A running program; `start` is the way to get one, `read` must run beside it."""

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        self.name = name
        self.events: list[Event] = []
        self.noise: list[str] = []
        self.has_traceback = False
        self._process = process
        self._head: list[str] = []
        self._stderr: collections.deque[str] = collections.deque(maxlen=KEPT_STDERR_LINES)
        self._changed = asyncio.Condition()
        self._ended = False
        self._awaited = ""
        self._told_to_end = False

    @staticmethod
    async def start(name: str, argv: list[str], environment: Mapping[str, str]) -> "Program":
        """Start a program in a process group of its own.

        Raises:
            Failure: there is no such program.
        """
        try:
            process = await asyncio.create_subprocess_exec(
                *argv,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=dict(environment),
                limit=MAX_LINE_BYTES,
                start_new_session=True,
            )
        except OSError as exc:
            raise Failure(f"{name} could not be started: {exc}") from exc
        return Program(name, process)

    async def read(self) -> None:
        """Gather all that the program says, to its end."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._read_stdout())
            group.create_task(self._read_stderr())
            group.create_task(self._process.wait())
        async with self._changed:
            self._ended = True
            self._changed.notify_all()

    async def event(self, name: str, *, after: int = -1, **fields: object) -> Event:
        """Wait for the first event with that name and those fields, later than `after`.

        Raises:
            Failure: the program ended without it.
        """
        wanted = json.dumps({"event": name, **fields})
        return await self._first(wanted, lambda: next(self._matching(name, after, fields), None))

    async def either(self, *names: str) -> Event:
        """Wait for the first event that has one of the names.

        Raises:
            Failure: the program ended without any.
        """

        def find() -> Event | None:
            return next((event for event in self.events if event.name in names), None)

        return await self._first(" or ".join(names), find)

    def all(self, name: str) -> list[Event]:
        """Return the events of that name so far."""
        return [event for event in self.events if event.name == name]

    async def finished(self, *codes: int) -> int:
        """Wait for its end, and check its exit code, 0 unless others are named.

        Raises:
            Failure: another exit code, or something on stdout that is no event.
        """
        self._awaited = "its end"
        async with self._changed:
            await self._changed.wait_for(lambda: self._ended)
        self._awaited = ""
        code = self._process.returncode or 0
        if code not in (codes or (0,)):
            allowed = " or ".join(map(str, codes or (0,)))
            raise Failure(f"{self.name} ended with exit code {code}, not {allowed}")
        if self.noise:
            raise Failure(f"{self.name} wrote what is no JSON event: {self.noise[0]!r}")
        return code

    async def say(self, line: str) -> None:
        """Send a line to its stdin."""
        if self._process.stdin is not None:
            self._process.stdin.write(line.encode() + b"\n")
            with contextlib.suppress(ConnectionError):
                await self._process.stdin.drain()

    def leave(self) -> None:
        """Close its stdin, which tells the peers' programs to end in good order."""
        if self._process.stdin is not None:
            self._process.stdin.close()

    def kill(self) -> None:
        """End it at once, as a crash does: nothing is closed, nobody is told."""
        self._signal(signal.SIGKILL)

    def terminate(self) -> None:
        """Ask it to end, once: a second SIGTERM would cut its orderly end short."""
        if not self._told_to_end:
            self._told_to_end = True
            self._signal(signal.SIGTERM)

    async def stop(self) -> None:
        """End it, gently if it lets us; returns when it is gone. Safe to call twice."""
        self.terminate()
        try:
            async with asyncio.timeout(GRACE_S):
                await self._process.wait()
        except TimeoutError:
            self._signal(signal.SIGKILL)
            await self._process.wait()
        self.leave()

    @property
    def head(self) -> str:
        """The first lines of its stderr."""
        return "\n".join(self._head)

    @property
    def stderr(self) -> str:
        """The last lines of its stderr."""
        return "\n".join(self._stderr)

    def describe(self) -> dict[str, object]:
        """Say what is known of it, for whoever has to find out what went wrong."""
        return {
            "program": self.name,
            "exit_code": self._process.returncode,
            "last_events": [
                json.dumps({"event": event.name, **event.fields})[:300]
                for event in self.events[-SHOWN_LINES:]
            ],
            "stderr": list(self._stderr)[-SHOWN_LINES * 2 :],
        }

    @property
    def awaited(self) -> str:
        """What somebody waits, or waited to no avail, for it to do."""
        return f"{self._awaited} of {self.name}" if self._awaited else ""

    async def _first(self, wanted: str, find: Callable[[], Event | None]) -> Event:
        self._awaited = wanted
        async with self._changed:
            while (found := find()) is None:
                if self._ended:
                    raise Failure(f"{self.name} ended without {wanted}")
                await self._changed.wait()
        self._awaited = ""
        return found

    def _matching(self, name: str, after: int, fields: Mapping[str, object]) -> Iterator[Event]:
        for event in self.events[after + 1 :]:
            if event.name == name and fields.items() <= event.fields.items():
                yield event

    async def _read_stdout(self) -> None:
        if self._process.stdout is None:
            return
        async for line in self._process.stdout:
            await self._add(line.decode(errors="replace").rstrip("\n"))

    async def _add(self, line: str) -> None:
        try:
            fields = json.loads(line)
            name = fields.pop("event")
        except (ValueError, KeyError, AttributeError, TypeError):
            self.noise.append(line[:300])
            return
        if len(self.events) >= MAX_EVENTS:
            raise Failure(f"{self.name} wrote more than {MAX_EVENTS} events")
        async with self._changed:
            self.events.append(Event(len(self.events), str(name), fields))
            self._changed.notify_all()

    async def _read_stderr(self) -> None:
        if self._process.stderr is None:
            return
        async for line in self._process.stderr:
            text = line.decode(errors="replace").rstrip()
            self.has_traceback |= TRACEBACK in text
            self._stderr.append(text)
            if len(self._head) < KEPT_STDERR_LINES:
                self._head.append(text)

    def _signal(self, number: signal.Signals) -> None:
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)


def number(event: Event, key: str) -> int:
    """Read a whole number from an event.

    Raises:
        Failure: it is not there or not a number.
    """
    value = event.fields.get(key)
    if isinstance(value, bool) or not isinstance(value, int):
        raise Failure(f"event {event.name!r} has {key} = {value!r}, not a whole number")
    return value


def text(event: Event, key: str) -> str:
    """Read a string from an event.

    Raises:
        Failure: it is not there or not a string.
    """
    value = event.fields.get(key)
    if not isinstance(value, str):
        raise Failure(f"event {event.name!r} has {key} = {value!r}, not a string")
    return value
