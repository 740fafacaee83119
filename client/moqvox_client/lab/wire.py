"""The built-in link as a program: `python -m moqvox_client.lab.wire PLAN`, until SIGTERM.

It carries UDP only. A TCP connection can't be impaired from user space: whatever loses its
packets is below the socket. The client can't see a switch here either; to it and to the
server a switch looks like a NAT rebinding onto a path with another delay.
"""

import asyncio
import json
import signal
import sys
import time
from pathlib import Path as File
from typing import Final

import msgspec

from moqvox_client.fate import Burst, Impairment
from moqvox_client.lab.scenario import Event, Path
from moqvox_client.link import Link, Settings

__all__ = ["READY", "STATS", "Control", "Plan", "impairment"]

READY: Final = "wire.json"
STATS: Final = "wire-stats.json"


class Plan(msgspec.Struct, frozen=True):
    """What the link is to do; the story begins with a datagram to its control port."""

    target: tuple[str, int]
    path: Path
    cell: Path
    events: tuple[Event, ...]
    seed: int
    folder: str


def impairment(path: Path) -> Impairment:
    """Translate a path into what each of its directions does."""
    burst = None
    if path.burst is not None:
        good, bad, share = path.burst
        burst = Burst(good_ms=good, bad_ms=bad, loss=100 * share)
    return Impairment(
        loss=path.loss,
        burst=burst,
        delay_ms=path.rtt_ms / 2,
        jitter_ms=path.jitter_ms,
        rate_kbps=path.rate_kbps,
    )


class Control(asyncio.DatagramProtocol):
    """A UDP port on which the caller tells that it begins."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()

    def datagram_received(self, data: bytes, addr: object) -> None:
        """Take the word."""
        del addr
        if data == b"t0":
            self.begun.set()


async def _run(plan: Plan) -> None:
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stopped.set)
    happened: list[dict[str, object]] = []
    settings = Settings.both(impairment(plan.path))
    async with Link(plan.target, settings, seed=plan.seed) as link:
        transport, control = await loop.create_datagram_endpoint(
            Control, local_addr=("127.0.0.1", 0)
        )
        host, port = transport.get_extra_info("sockname")[:2]
        ready = {"port": link.address[1], "control": f"{host}:{port}"}
        File(plan.folder, READY).write_text(json.dumps(ready))
        async with asyncio.TaskGroup() as tasks:
            story = tasks.create_task(_story(plan, link, control.begun, happened))
            await stopped.wait()
            story.cancel()
        transport.close()
        stats = {"events": happened, "stats": msgspec.to_builtins(link.stats(), str_keys=True)}
        File(plan.folder, STATS).write_text(json.dumps(stats))


async def _story(
    plan: Plan, link: Link, begun: asyncio.Event, happened: list[dict[str, object]]
) -> None:
    await begun.wait()
    loop = asyncio.get_running_loop()
    started = loop.time()
    for event in sorted(plan.events, key=lambda one: one.at):
        await asyncio.sleep(max(0.0, started + event.at - loop.time()))
        happened.append({"ns": time.monotonic_ns(), "what": str(event)})
        if event.kind == "outage":
            link.outage(event.ms / 1000)
        elif event.kind == "nat":
            link.rebind(address=bool(event.address))
        else:
            if event.ms > 0:
                link.outage(event.ms / 1000)
                await asyncio.sleep(event.ms / 1000)
            link.change(up=impairment(plan.cell), down=impairment(plan.cell))
            link.rebind(address=True)


if __name__ == "__main__":
    asyncio.run(_run(msgspec.json.decode(File(sys.argv[1]).read_bytes(), type=Plan)))
