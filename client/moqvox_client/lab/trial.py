"""One run: a system, a scenario, a seed; two processes, a network, and what came of it."""

import asyncio
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from moqvox_client.lab import ticker
from moqvox_client.lab.ear import Heard, listen
from moqvox_client.lab.metrics import Downlink, Uplink, downlink, in_order, uplink
from moqvox_client.lab.network import LATE_US, Network, Place, stop, tail, until
from moqvox_client.lab.scenario import Scenario
from moqvox_client.lab.sides import FRAME_NS, READY, write_frames
from moqvox_client.lab.systems import System

__all__ = ["Identity", "Run", "Speech", "run_trial"]

LEAVING_S: Final = 12.0
BUSY_P99_MS: Final = 5.0
BUSY_MAX_MS: Final = 40.0
"""A machine that wakes a sleeper later than this is too busy for its runs to count."""


class Speech(msgspec.Struct, frozen=True):
    """What is said: Opus packets of 20 ms."""

    prompt: tuple[bytes, ...]
    answer: tuple[bytes, ...]


class Identity(msgspec.Struct, frozen=True):
    """The server's certificate and whom callers trust, for all systems."""

    cert_pem: bytes
    key_pem: bytes
    root_pem: bytes


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """What one run measured.

    Attributes:
        error: what the system complained of; "" when nothing.
        marks_ms: when the caller reached the steps of its set-up, from the moment of speaking.
        heard: what the audio itself says, where what was played was kept.
        late_ms: lateness in order by frame, None for frames that never came.
        cpu_ms: CPU of the caller's and the server's process.
        doubts: why the run should not count; empty when network and machine kept up.
        machine_late_ms: how late a process woke that only slept meanwhile: p99, worst.
    """

    system: str
    scenario: str
    network: str
    seed: int
    up: Uplink
    down: Downlink | None = None
    heard: Heard | None = None
    error: str = ""
    marks_ms: dict[str, float] = {}
    late_ms: list[float | None] = []
    cpu_ms: tuple[float, float] = (0.0, 0.0)
    wrong: int = 0
    twice: int = 0
    doubts: list[str] = []
    release_late_us: float | None = None
    machine_late_ms: tuple[float, float] = (0.0, 0.0)


class _Side(msgspec.Struct):
    """A record as `sides` writes it."""

    arrived: list[tuple[int, int]] = []
    wrong: int = 0
    twice: int = 0


class _Busy(msgspec.Struct):
    """A ticker's record."""

    p99_ms: float = 0.0
    max_ms: float = 0.0


class _Caller(msgspec.Struct):
    began_ns: int = 0
    marks: dict[str, int] = {}
    down: _Side = msgspec.field(default_factory=_Side)
    ear_ns: int = 0
    error: str = ""
    cpu_ms: float = 0.0


class _Server(msgspec.Struct):
    answered_ns: int | None = None
    up: _Side = msgspec.field(default_factory=_Side)
    error: str = ""
    cpu_ms: float = 0.0


_Kind = TypeVar("_Kind")


async def run_trial(
    system: System,
    scenario: Scenario,
    seed: int,
    network: Network,
    speech: Speech,
    identity: Identity,
) -> Run:
    """Run it once.

    Raises:
        Failed: the network or the server could not be started. A caller that fails is a result.
    """
    with tempfile.TemporaryDirectory(prefix="moqvox-lab-") as name:
        folder = Path(name)
        async with network.stand_up(scenario, seed, folder) as place:
            said = _cut(speech, scenario)
            job = _write_job(folder, system, scenario, place, said, identity)
            await _converse(system, scenario, place, folder, job)
            stats = await asyncio.to_thread(place.stats)
        return await asyncio.to_thread(_judge, system, scenario, seed, network, said, folder, stats)


def _cut(speech: Speech, scenario: Scenario) -> Speech:
    def repeated(frames: tuple[bytes, ...], count: int) -> tuple[bytes, ...]:
        times = -(-count // len(frames)) if frames else 0
        return (frames * times)[:count]

    return Speech(
        repeated(speech.prompt, scenario.frames), repeated(speech.answer, scenario.answer_frames)
    )


def _write_job(
    folder: Path,
    system: System,
    scenario: Scenario,
    place: Place,
    said: Speech,
    identity: Identity,
) -> Path:
    files = {
        name: folder / name for name in ("cert.pem", "key.pem", "root.pem", "prompt", "answer")
    }
    files["cert.pem"].write_bytes(identity.cert_pem)
    files["key.pem"].write_bytes(identity.key_pem)
    files["root.pem"].write_bytes(identity.root_pem)
    write_frames(files["prompt"], said.prompt)
    write_frames(files["answer"], said.answer)
    job = {
        "host": place.host,
        "port": place.port,
        "caller_port": place.caller_port,
        "cert": str(files["cert.pem"]),
        "key": str(files["key.pem"]),
        "root": str(files["root.pem"]),
        "prompt": str(files["prompt"]),
        "answer": str(files["answer"]),
        "folder": str(folder),
        "control": place.control,
        "limit_s": scenario.seconds,
        "pace": scenario.pace,
        "answered": scenario.answer_frames > 0,
        "options": dict(system.options),
    }
    file = folder / "job.json"
    file.write_text(json.dumps(job))
    return file


async def _converse(
    system: System, scenario: Scenario, place: Place, folder: Path, job: Path
) -> None:
    python, environment = system.interpreter()
    argv = [python, "-P", "-m", f"moqvox_client.lab.peers.{system.module}"]
    log = folder / "server.log"
    watch = _watch_the_machine(folder)
    server = place.start("server", [*argv, "server", str(job)], environment, log)
    try:
        await until((folder / READY).exists, server, f"{system.name}'s server", log)
        caller = place.start(
            "caller", [*argv, "caller", str(job)], environment, folder / "caller.log"
        )
        try:
            async with asyncio.timeout(scenario.seconds + LEAVING_S):
                while caller.poll() is None:
                    await asyncio.sleep(0.05)
        except TimeoutError:
            pass  # its record, if any, says how far it came
        finally:
            await asyncio.to_thread(stop, caller)
    finally:
        await asyncio.to_thread(stop, watch)
        await asyncio.to_thread(stop, server)


def _watch_the_machine(folder: Path) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-I", ticker.__file__, str(folder)])


def _judge(
    system: System,
    scenario: Scenario,
    seed: int,
    network: Network,
    said: Speech,
    folder: Path,
    stats: dict[str, object],
) -> Run:
    caller = _record(folder / "caller.json", _Caller)
    server = _record(folder / "server.json", _Server)
    one_way_ms = scenario.path.rtt_ms / 2
    frames = len(said.prompt)
    up = uplink(caller.began_ns, server.up.arrived, frames=frames, one_way_ms=one_way_ms)
    error = "; ".join(filter(None, (caller.error, server.error)))
    if not up.arrived and not error:
        logs = (folder / "caller.log", folder / "server.log")
        error = "nothing arrived: " + " / ".join(filter(None, map(tail, logs)))
    down = heard = None
    if said.answer:
        down = downlink(server.answered_ns, caller.down.arrived, frames=len(said.answer))
        played = folder / "played.pcm"
        if played.exists():
            there = in_order(caller.down.arrived, len(said.answer))
            heard = listen(played.read_bytes(), said.answer, there, caller.ear_ns)
    late = [
        None
        if at is None
        else round((at - caller.began_ns - (n + 1) * FRAME_NS) / 1e6 - one_way_ms, 1)
        for n, at in enumerate(in_order(server.up.arrived, frames))
    ]
    release_late_us, doubts = _doubts(stats)
    busy = _record(folder / ticker.FILE, _Busy)
    if busy.p99_ms > BUSY_P99_MS or busy.max_ms > BUSY_MAX_MS:
        doubts.append(
            f"the machine was busy: a sleeper woke {busy.p99_ms:.0f} ms late (p99), "
            f"{busy.max_ms:.0f} at worst"
        )
    return Run(
        system=system.name,
        scenario=scenario.name,
        network=network.name,
        seed=seed,
        up=up,
        down=down,
        heard=heard,
        error=error,
        marks_ms={name: round(ns / 1e6, 1) for name, ns in caller.marks.items()},
        late_ms=late,
        cpu_ms=(caller.cpu_ms, server.cpu_ms),
        wrong=server.up.wrong + caller.down.wrong,
        twice=server.up.twice + caller.down.twice,
        doubts=doubts,
        release_late_us=release_late_us,
        machine_late_ms=(round(busy.p99_ms, 1), round(busy.max_ms, 1)),
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
