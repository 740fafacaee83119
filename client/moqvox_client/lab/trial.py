"""One run: a system, a scenario, a seed; its programs, a network, and what came of it."""

import asyncio
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import msgspec

from moqvox.driver.scope import scope
from moqvox_client.lab import ticker
from moqvox_client.lab.frames import write_frames
from moqvox_client.lab.job import GO, LOADED
from moqvox_client.lab.network import Network, Place, stop, unobtrusive, until
from moqvox_client.lab.scenario import Scenario
from moqvox_client.lab.servers import Servers
from moqvox_client.lab.systems import System
from moqvox_client.lab.verdict import Evidence, Run, Speech, judge

__all__ = ["Identity", "run_trial"]

LEAVING_S: Final = 12.0
LOOK_S: Final = 0.05
JOB_AGAIN: Final = "job-again.json"


class Identity(msgspec.Struct, frozen=True):
    """The server's certificate and whom callers trust, for all systems."""

    cert_pem: bytes
    key_pem: bytes
    root_pem: bytes


async def run_trial(
    system: System,
    scenario: Scenario,
    seed: int,
    network: Network,
    speech: Speech,
    identity: Identity,
    call: contextlib.AbstractAsyncContextManager[None],
) -> Run:
    """Run it once.

    `call` is entered once both programs are loaded, and left when the caller has ended.

    Raises:
        Failed: the network or the server could not be started. A caller that fails is a result.
    """
    began = time.monotonic()
    if not system.answers:
        scenario = msgspec.structs.replace(scenario, answer_frames=0)
    with tempfile.TemporaryDirectory(prefix="moqvox-lab-") as name:
        folder = Path(name)
        async with network.stand_up(scenario, seed, folder) as place:
            said = _cut(speech, scenario)
            servers = Servers(place, scenario, folder)
            job = _write_job(folder, system, scenario, place, said, identity, servers.urls)
            await _converse(system, scenario, place, folder, job, servers, call)
            stats = await asyncio.to_thread(place.stats)
        evidence = Evidence(
            system=system.name,
            scenario=scenario,
            seed=seed,
            network=network.name,
            said=said,
            folder=folder,
            stats=stats,
            falls=servers.falls,
            logs=servers.logs(),
        )
        found = await asyncio.to_thread(judge, evidence)
    return msgspec.structs.replace(found, took_s=round(time.monotonic() - began, 1))


def _cut(speech: Speech, scenario: Scenario) -> Speech:
    def repeated(frames: tuple[bytes, ...], count: int) -> tuple[bytes, ...]:
        times = -(-count // len(frames)) if frames else 0
        return (frames * times)[:count]

    return Speech(
        repeated(speech.prompt, scenario.frames + scenario.again),
        repeated(speech.answer, scenario.answer_frames),
    )


def _write_job(
    folder: Path,
    system: System,
    scenario: Scenario,
    place: Place,
    said: Speech,
    identity: Identity,
    urls: list[str],
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
        "journal": any(event.kind == "kill" for event in scenario.events),
        "again": scenario.again,
        "urls": urls,
        "options": dict(system.options),
    }
    file = folder / "job.json"
    file.write_text(json.dumps(job))
    if scenario.again:  # the next server answers nothing: its prompt is a short one
        job |= {"skipped": scenario.frames, "answered": False}
    (folder / JOB_AGAIN).write_text(json.dumps(job))
    return file


async def _converse(
    system: System,
    scenario: Scenario,
    place: Place,
    folder: Path,
    job: Path,
    servers: Servers,
    call: contextlib.AbstractAsyncContextManager[None],
) -> None:
    python, environment = system.interpreter()
    argv = [python, "-P", "-m", f"moqvox_client.lab.peers.{system.module}"]
    watch = _watch_the_machine(folder)
    log = folder / "caller.log"
    try:
        await servers.start(argv, environment, job)
        caller = place.start(
            "caller", [*unobtrusive(), *argv, "caller", str(job)], environment, log
        )
        try:
            await until((folder / LOADED).exists, caller, "the caller", log)
            async with call, scope() as tasks:
                falling = tasks.create_task(servers.befall(folder / JOB_AGAIN))
                (folder / GO).touch()
                await _until_it_ends(caller, scenario)
                falling.cancel()
        finally:
            await asyncio.to_thread(stop, caller)
    finally:
        await asyncio.to_thread(stop, watch)
        await asyncio.to_thread(servers.stop)


async def _until_it_ends(caller: "subprocess.Popen[bytes]", scenario: Scenario) -> None:
    """Wait for a caller; the record of one that does not end, if any, says how far it came."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(scenario.seconds + LEAVING_S):
            while caller.poll() is None:
                await asyncio.sleep(LOOK_S)


def _watch_the_machine(folder: Path) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-I", ticker.__file__, str(folder)])
