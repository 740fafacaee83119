"""What one run measured, from the records that its programs left."""

import contextlib
import os
import sys
import threading
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from moqvox_client.lab import rtp, ticker
from moqvox_client.lab.ear import Heard, listen
from moqvox_client.lab.frames import FRAME_NS
from moqvox_client.lab.job import JOURNAL
from moqvox_client.lab.metrics import Downlink, Uplink, downlink, in_order, percentile, uplink
from moqvox_client.lab.network import LATE_US, tail
from moqvox_client.lab.scenario import Scenario
from moqvox_client.lab.servers import Fall

__all__ = ["Back", "Evidence", "Run", "Speech", "judge"]

MS: Final = 1e6
BUSY_P99_MS: Final = 5.0
BUSY_MAX_MS: Final = 40.0
"""A machine that wakes a sleeper later than this is too busy for its runs to count."""


class Speech(msgspec.Struct, frozen=True):
    """What is said: Opus packets of 20 ms."""

    prompt: tuple[bytes, ...]
    answer: tuple[bytes, ...]


class Back(msgspec.Struct, frozen=True, kw_only=True):
    """How a call went on after a server or relay went away.

    Attributes:
        away_ms: from the kill (or the request to end) until a successor listened; None where
            there was another relay at hand.
        detected_ms: from then until the caller knew that its connection is over.
        resumed_ms: from then until it had the agent's first word on the next one.
        lost: frames that no server had which lived on.
        twice: frames that one server heard twice.
    """

    away_ms: float | None = None
    detected_ms: float | None = None
    resumed_ms: float | None = None
    lost: int = 0
    twice: int = 0


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """What one run measured.

    Attributes:
        error: what the system complained of; "" when nothing.
        marks_ms: when the caller reached the steps of its set-up, from the moment of speaking.
        heard: what the audio itself says, where what was played was kept.
        back: how the call went on, where a program was killed or drained.
        late_ms: lateness in order by frame, None for frames that never came.
        cpu_ms: CPU of the caller's and the server's process.
        doubts: why the run should not count; empty when network and machine kept up.
        machine_late_ms: how late a process woke that only slept meanwhile: p99, worst.
        took_s: seconds from setting the network up to having the figures.
    """

    system: str
    scenario: str
    network: str
    seed: int
    up: Uplink
    down: Downlink | None = None
    heard: Heard | None = None
    back: Back | None = None
    error: str = ""
    marks_ms: dict[str, float] = {}
    late_ms: list[float | None] = []
    cpu_ms: tuple[float, float] = (0.0, 0.0)
    wrong: int = 0
    twice: int = 0
    doubts: list[str] = []
    release_late_us: float | None = None
    machine_late_ms: tuple[float, float] = (0.0, 0.0)
    took_s: float = 0.0


class _Side(msgspec.Struct):
    """A record as `sides` writes it."""

    arrived: list[tuple[int, int]] = []
    wrong: int = 0
    twice: int = 0


class _Ticks(msgspec.Struct):
    """A ticker's record: when it woke (ns), and how late (ms)."""

    wakings: list[tuple[int, float]] = []

    def late_ms(self, since_ns: int, until_ns: int) -> tuple[float, float]:
        """Tell how late it woke while a call was on, not while programs loaded: p99, worst."""
        late = [ms for at, ms in self.wakings if since_ns <= at <= until_ns]
        return (percentile(late, 99), max(late)) if late else (0.0, 0.0)


class _Caller(msgspec.Struct):
    began_ns: int = 0
    ended_ns: int = 0
    marks: dict[str, int] = {}
    down: _Side = msgspec.field(default_factory=_Side)
    ear_ns: int = 0
    begins: list[int] = []
    over_ns: int = 0
    resumed_ns: list[int] = []
    error: str = ""
    cpu_ms: float = 0.0


class _Server(msgspec.Struct):
    answered_ns: int | None = None
    up: _Side = msgspec.field(default_factory=_Side)
    rtp: list[tuple[int, int, str]] = []
    error: str = ""
    cpu_ms: float = 0.0


_Kind = TypeVar("_Kind")


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What a run leaves behind.

    Attributes:
        network: its name.
        said: what was to be spoken, as long as in this scenario.
        folder: of the records.
        stats: what the network tells of itself.
        falls: what befell servers and relays.
        logs: the end of what the servers said.
    """

    system: str
    scenario: Scenario
    seed: int
    network: str
    said: Speech
    folder: Path
    stats: dict[str, object]
    falls: list[Fall]
    logs: str


def judge(evidence: Evidence) -> Run:
    """Work the figures out, in a thread that gives way to the runs under way."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 15)
    folder, scenario, said = evidence.folder, evidence.scenario, evidence.said
    caller = _record(folder / "caller.json", _Caller)
    server = _record(folder / "server.json", _Server)
    if server.rtp:
        packets = [(at, ns, bytes.fromhex(payload)) for at, ns, payload in server.rtp]
        server.up.arrived = rtp.number(packets, said.prompt)
    arrived, lost = _survived(folder, scenario, server.up.arrived)
    one_way_ms = scenario.path.rtt_ms / 2
    frames = scenario.frames
    up = uplink(
        caller.began_ns,
        arrived,
        frames=frames,
        one_way_ms=one_way_ms,
        around_ms=scenario.change_ms,
    )
    error = "; ".join(filter(None, (caller.error, server.error)))
    if not up.arrived and not error:
        logs = (tail(folder / "caller.log"), evidence.logs)
        error = "nothing arrived: " + " / ".join(filter(None, logs))
    down, heard = _answer(folder, said, caller, server)
    release_late_us, doubts = _doubts(evidence.stats)
    ticks = _record(folder / ticker.FILE, _Ticks)
    p99_ms, worst_ms = ticks.late_ms(caller.began_ns, caller.ended_ns or sys.maxsize)
    if p99_ms > BUSY_P99_MS or worst_ms > BUSY_MAX_MS:
        doubts.append(
            f"the machine was busy: a sleeper woke {p99_ms:.0f} ms late (p99), "
            f"{worst_ms:.0f} at worst"
        )
    return Run(
        system=evidence.system,
        scenario=scenario.name,
        network=evidence.network,
        seed=evidence.seed,
        up=up,
        down=down,
        heard=heard,
        back=_return(evidence.falls, caller, lost, server.up.twice),
        error=error,
        marks_ms={name: round(ns / MS, 1) for name, ns in caller.marks.items()},
        late_ms=_lateness(caller.began_ns, arrived, frames, one_way_ms),
        cpu_ms=(caller.cpu_ms, server.cpu_ms),
        wrong=server.up.wrong + caller.down.wrong,
        twice=server.up.twice + caller.down.twice,
        doubts=doubts,
        release_late_us=release_late_us,
        machine_late_ms=(round(p99_ms, 1), round(worst_ms, 1)),
    )


def _survived(
    folder: Path, scenario: Scenario, last: list[tuple[int, int]]
) -> tuple[list[tuple[int, int]], int]:
    """Tell which frames a server has that lived on, when they were first there, and how many not.

    What only a killed server had is lost; a prompt that it had whole and acknowledged is not,
    which is what a second prompt is for: to be heard by the next one.
    """
    first = dict(reversed(last))
    killed: dict[int, int] = {}
    for journal in sorted(folder.glob(f"{JOURNAL}-*"))[:-1]:
        for line in journal.read_text().splitlines():
            index, at_ns = map(int, line.split())
            killed.setdefault(index, at_ns)
    kept = first.keys() | killed.keys() if scenario.again else first.keys()
    times = [
        (index, min(first.get(index, killed.get(index, 0)), killed.get(index, first.get(index, 0))))
        for index in sorted(kept)
    ]
    return times, scenario.frames + scenario.again - len(times)


def _answer(
    folder: Path, said: Speech, caller: "_Caller", server: "_Server"
) -> tuple[Downlink | None, Heard | None]:
    if not said.answer:
        return None, None
    down = downlink(server.answered_ns, caller.down.arrived, frames=len(said.answer))
    played = folder / "played.pcm"
    if not played.exists():
        return down, None
    there = in_order(caller.down.arrived, len(said.answer))
    return down, listen(played.read_bytes(), said.answer, there, caller.ear_ns, caller.begins)


def _lateness(
    began_ns: int, arrived: list[tuple[int, int]], frames: int, one_way_ms: float
) -> list[float | None]:
    return [
        None if at is None else round((at - began_ns - (n + 1) * FRAME_NS) / MS - one_way_ms, 1)
        for n, at in enumerate(in_order(arrived, frames))
    ]


def _return(falls: list[Fall], caller: "_Caller", lost: int, twice: int) -> Back | None:
    """Tell how long each step of the way back took, after the first thing that befell."""
    if not falls:
        return None
    fall = falls[0]
    up_ns = fall.back_ns or fall.at_ns
    away_ms = None if fall.back_ns is None else (up_ns - fall.at_ns) / MS
    back_ns = next((ns for ns in caller.resumed_ns if ns > fall.at_ns), None)
    if back_ns is None:
        return Back(away_ms=away_ms, lost=lost, twice=twice)
    over_ns = min(caller.over_ns or back_ns, back_ns)
    return Back(
        away_ms=away_ms,
        detected_ms=(over_ns - up_ns) / MS,
        resumed_ms=(back_ns - over_ns) / MS,
        lost=lost,
        twice=twice,
    )


def _record(file: Path, kind: type[_Kind]) -> _Kind:
    try:
        return msgspec.json.decode(file.read_bytes(), type=kind)
    except (OSError, msgspec.DecodeError):
        return kind()


def _doubts(stats: dict[str, object]) -> tuple[float | None, list[str]]:
    """Ask a netlab whether it kept up."""
    doubts = []
    drops = stats.get("tun_drops")
    if isinstance(drops, dict):
        lost = {name: count for name, count in drops.items() if count and name == "srv"}
        doubts += [
            f"{count} packets lost at {name} before the link" for name, count in lost.items()
        ]
    late = stats.get("release_late_us")
    p99 = late.get("p99") if isinstance(late, dict) else None
    if isinstance(p99, int | float):
        if p99 > LATE_US:
            doubts.append(f"the link released packets {p99 / 1000:.1f} ms late (p99)")
        return float(p99), doubts
    return None, doubts
