"""What a call loses when processes are killed: `python -m bench.resume --rtt 50 --seeds 5`.

Real processes on loopback, the caller's link to them in userspace (`moqvox_client.link`). A
prompt of 8 s is spoken, the victim is killed with SIGKILL in mid-prompt or in mid-answer, and:

- `server-prompt`, `server-answer`: the agent's server is started anew at once, on its port and
  with its secret;
- `relay-prompt`: one of two relays dies, where caller and agent are; both know the other.

One JSON line for each run and one for each scenario. `detected_ms` counts from when the victim's
successor listens (for the relay: from the kill) until the caller knows its connection is over,
`back_ms` from then until the agent's first word on the new leg.
"""

import argparse
import asyncio
import contextlib
import datetime
import json
import math
import random
import secrets
import signal
import socket
import statistics
import sys
import tempfile
import time
from array import array
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from moqvox import voice
from moqvox.media.codec import Encoder, StreamEncoder
from moqvox.transport.credentials import Verify
from moqvox_certs import generate
from moqvox_client.fate import Impairment
from moqvox_client.link import Link, Settings

FRAMES = 400
SCENARIOS = ("server-prompt", "server-answer", "relay-prompt")


class Process:
    """A program that says a JSON line for each thing that happens."""

    def __init__(self, *argv: str) -> None:
        self._argv = argv
        self.lines: list[dict[str, object]] = []
        self.up_at = 0.0
        self._running: asyncio.subprocess.Process | None = None
        self._all: list[asyncio.subprocess.Process] = []
        self._ready = asyncio.Event()

    async def start(self, tasks: asyncio.TaskGroup) -> None:
        """Start it and wait until it listens."""
        self._ready.clear()
        self._running = await asyncio.create_subprocess_exec(
            sys.executable, "-m", *self._argv, stdout=asyncio.subprocess.PIPE
        )
        self._all.append(self._running)
        tasks.create_task(self._read(self._running))
        await self._ready.wait()

    def kill(self) -> None:
        """Kill it as `kill -9` does."""
        if self._running is not None and self._running.returncode is None:
            self._running.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        """Ask it to end, as `kill` does."""
        if self._running is not None and self._running.returncode is None:
            self._running.send_signal(signal.SIGTERM)

    @property
    def is_alive(self) -> bool:
        """Whether it was not seen to end yet."""
        return self._running is not None and self._running.returncode is None

    async def end(self) -> None:
        """Kill it, and wait until it and those before it are gone."""
        self.kill()
        for running in self._all:
            await running.wait()

    async def _read(self, running: asyncio.subprocess.Process) -> None:
        if running.stdout is None:
            return
        async for line in running.stdout:
            said = json.loads(line)
            self.lines.append(said)
            if said.get("event") == "ready":
                self.up_at = time.monotonic()
                self._ready.set()


class Stage:
    """Certificate, secret, and the programs of one run."""

    def __init__(self, folder: Path, tasks: asyncio.TaskGroup) -> None:
        made = generate(["localhost", "127.0.0.1"], datetime.datetime.now(datetime.UTC))
        self.cert, self.key, self.secret = folder / "cert", folder / "key", folder / "secret"
        self.cert.write_bytes(made.cert_pem)
        self.key.write_bytes(made.key_pem)
        self.secret.write_text(secrets.token_hex(32))
        self.verify = Verify.pinned([made.fingerprint_hex])
        self.tasks = tasks
        self.processes: list[Process] = []

    async def agent(self, port: int = 0, *, urls: str = "") -> Process:
        """Start an agent, on a port or behind relays."""
        argv = ["bench.scribe", "--tls-cert", str(self.cert), "--tls-key", str(self.key)]
        argv += ["--url", urls] if urls else ["--bind", f"127.0.0.1:{port}"]
        return await self._started(*argv, "--secret", str(self.secret))

    async def relay(self, port: int, *more: str) -> Process:
        """Start a relay, with more flags."""
        argv = ["moqvox_client", "relay", "--json", "--public", "", "--no-websocket", "--no-http"]
        argv += ["--tls-cert", str(self.cert), "--tls-key", str(self.key)]
        argv += ["--secret-file", str(self.secret), "--bind", f"127.0.0.1:{port}"]
        return await self._started(*argv, *more)

    async def _started(self, *argv: str) -> Process:
        process = Process(*argv)
        self.processes.append(process)
        await process.start(self.tasks)
        return process


def prompt() -> list[bytes]:
    samples = array("h", (int(8000 * math.sin(n / 25)) for n in range(960 * FRAMES)))
    return StreamEncoder(Encoder(48_000, 1, 24_000, 20)).push(samples.tobytes())


async def run(scenario: str, rtt_ms: float, seed: int, stage: Stage) -> dict[str, object]:
    """Go through one scenario; what came of it."""
    dice = random.Random(seed)
    at = dice.uniform(2, 6)
    ports = [free_port() for _ in range(2)]
    settings = Settings.both(Impairment(delay_ms=rtt_ms / 2))
    async with contextlib.AsyncExitStack() as stack:
        links = []
        for port in ports:
            link = Link(("127.0.0.1", port), settings, seed=seed)
            links.append(await stack.enter_async_context(link))
        urls = [f"moqt://localhost:{link.address[1]}" for link in links]
        if scenario.startswith("server"):
            victim = agent = await stage.agent(ports[0])
            urls = urls[:1]
        else:
            victim = await stage.relay(ports[0])
            await stage.relay(ports[1])
            agent = await stage.agent(urls=",".join(f"moqt://localhost:{p}" for p in ports))
            await asyncio.sleep(1)
        async with voice.call(urls, verify=stage.verify) as call:
            return await _talk(scenario, call, stage, victim, agent, at)


async def _talk(
    scenario: str, call: voice.Call, stage: Stage, victim: Process, agent: Process, at: float
) -> dict[str, object]:
    began = time.monotonic() - (asyncio.get_running_loop().time() - call._t0)  # noqa: SLF001
    closed_at: list[float] = []
    killed_at = 0.0
    playback = voice.Playback(call)
    packets = prompt()
    async with asyncio.TaskGroup() as tasks:
        playing = tasks.create_task(playback.run())
        driver = await call.connected()

        async def watch() -> None:
            await driver.wait_closed()
            closed_at.append(time.monotonic())

        watching = tasks.create_task(watch())
        speech = call.speak()
        told = 0.0
        for index, packet in enumerate(packets):
            speech.write_packet(packet)
            await asyncio.sleep(0.02)
            told += 0.02
            if scenario.endswith("prompt") and not killed_at and index * 0.02 > at:
                killed_at = time.monotonic()
                victim.kill()
                if scenario == "server-prompt":
                    tasks.create_task(victim.start(stage.tasks))
        speech.finish()
        receipt = await speech.receipt()
        if scenario == "server-answer":
            await playback.wait_account(0)
            await asyncio.sleep(at)
            killed_at = time.monotonic()
            victim.kill()
            await victim.start(stage.tasks)
            second = call.speak()
            for packet in packets[:50]:
                second.write_packet(packet)
            second.finish()
            receipt, speech = await second.receipt(), second
        await _until(lambda: call.resumed_at)
        await _until(lambda: agent.lines and agent.lines[-1].get("event") == "played")
        watching.cancel()
        playing.cancel()
    since = victim.up_at if scenario.startswith("server") else killed_at
    back_at = began + call.resumed_at[0]
    lost_at = min(closed_at[0] if closed_at else back_at, back_at)
    whole = [line for line in agent.lines if line.get("event") == "heard" and line["whole"]]
    numbers = [line["number"] for line in whole]
    return {
        "intact": speech.intact(receipt),
        "lost_frames": speech.tally.frames - receipt.frames,
        "heard_twice": len(numbers) - len(set(map(str, numbers))),
        "resumptions": call.resumptions,
        "detected_ms": round(1000 * (lost_at - since), 1),
        "back_ms": round(1000 * (back_at - lost_at), 1),
        "answer_complete": [line["complete"] for line in agent.lines if "complete" in line][-1:],
    }


async def _until(happened: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not happened():  # noqa: ASYNC110  # another process, which can't set an event
            await asyncio.sleep(0.01)


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.asynccontextmanager
async def stage() -> AsyncIterator[Stage]:
    """Make one, and kill what was started on it."""
    with tempfile.TemporaryDirectory() as folder:
        async with asyncio.TaskGroup() as tasks:
            made = Stage(Path(folder), tasks)
            try:
                yield made
            finally:
                for process in made.processes:
                    await process.end()


async def _all(args: argparse.Namespace) -> None:
    for scenario in args.scenario or SCENARIOS:
        runs = []
        for seed in range(args.seeds):
            async with stage() as made:
                came = await run(scenario, args.rtt, seed, made)
            runs.append(came)
            print(json.dumps({"scenario": scenario, "rtt_ms": args.rtt, "seed": seed, **came}))
        summary: dict[str, object] = {"scenario": scenario, "rtt_ms": args.rtt, "runs": len(runs)}
        summary["intact"] = sum(bool(run["intact"]) for run in runs)
        for name in ("lost_frames", "heard_twice", "detected_ms", "back_ms"):
            values = sorted(float(str(run[name])) for run in runs)
            summary[name] = [values[0], statistics.median(values), values[-1]]
        print(json.dumps(summary), flush=True)


def main() -> None:
    """Run the scenarios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenario", nargs="*", choices=[*SCENARIOS, []])
    parser.add_argument("--rtt", type=float, default=50.0)
    parser.add_argument("--seeds", type=int, default=5)
    asyncio.run(_all(parser.parse_args()))


if __name__ == "__main__":
    main()
