"""The built-in network as a program: TUN devices in two namespaces, joined by `fate`.

`python -m moqvox_client.lab.tunnel PLAN`, as root on Linux, until SIGTERM. Every IPv4 packet
passes through it, so TCP and UDP suffer alike. The radio and the NAT are at the client's end:
a dead link drops what enters it upstream, and what would leave it downstream.
"""

import asyncio
import contextlib
import fcntl
import heapq
import itertools
import json
import os
import selectors
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path as File
from typing import Final

import msgspec

from moqvox_client.fate import Cause, Direction, Lane, Outage, Outages
from moqvox_client.lab.metrics import percentile
from moqvox_client.lab.nat import Nat
from moqvox_client.lab.scenario import Event, Path
from moqvox_client.lab.wire import READY, STATS, Control, impairment

__all__ = ["CELL", "CONTROL", "SERVER", "WIFI", "TunnelPlan"]

SERVER: Final = "10.77.0.1"
WIFI: Final = "10.77.1.2"
CELL: Final = "10.77.2.2"
CONTROL: Final = "control"
MTU: Final = 1500
PRIORITY: Final = 10
"""Real-time priority: a packet is due when it is due."""

MAX_HELD: Final = 20_000
BATCH: Final = 64
KEPT_DELAYS: Final = 200_000

TUNSETIFF: Final = 0x400454CA
IFF_TUN: Final = 0x0001
IFF_NO_PI: Final = 0x1000


class TunnelPlan(msgspec.Struct, frozen=True):
    """Whom to join, and what happens; the story begins with a datagram to the control port."""

    client: str
    server: str
    path: Path
    cell: Path
    events: tuple[Event, ...]
    seed: int
    folder: str


class _Way:
    """One of the client's networks."""

    def __init__(self, name: str, path: Path, seed: int, *, alive: bool) -> None:
        self.name = name
        self.alive = alive
        self.outages = Outages()
        self.nat = Nat()
        self.up = Lane(Direction.UP, impairment(path), self.outages, seed)
        self.down = Lane(Direction.DOWN, impairment(path), self.outages, seed)
        self.fd = -1

    def is_dead(self, now: float) -> bool:
        return not self.alive or self.outages.dead(now)


class _Held(msgspec.Struct, frozen=True):
    """A packet on the way."""

    way: _Way
    is_up: bool
    data: bytes


class Tunnel:
    """Both ends' devices, and the packets between."""

    def __init__(self, plan: TunnelPlan) -> None:
        self._plan = plan
        self._loop = asyncio.get_running_loop()
        self.wifi = _Way("wifi", plan.path, plan.seed, alive=True)
        self.cell = _Way("cell", plan.cell, plan.seed + 1_000_003, alive=False)
        self.delays_us: list[float] = []
        self.happened: list[dict[str, object]] = []
        self._held: list[tuple[float, int, _Held]] = []
        self._numbers = itertools.count()
        self._timer: asyncio.TimerHandle | None = None
        self._server = -1
        # Started now: to start a program while packets are on the way would hold them up.
        command = ["ip", "-n", plan.client, "-force", "-batch", "-"]
        self._system = subprocess.Popen(command, stdin=subprocess.PIPE)

    def open(self) -> None:
        """Make the devices and give them addresses and routes."""
        client, server = self._plan.client, self._plan.server
        self._server = _device("srv", server)
        _ip(
            server,
            "link set lo up",
            f"link set srv mtu {MTU} up",
            f"addr add {SERVER}/32 dev srv",
            "route add default dev srv",
        )
        for way in (self.wifi, self.cell):
            way.fd = _device(way.name, client)
            self._loop.add_reader(way.fd, self._from_client, way)
        _ip(
            client,
            "link set lo up",
            f"link set wifi mtu {MTU} up",
            f"link set cell mtu {MTU}",
            f"addr add {WIFI}/24 dev wifi",
            "route add default dev wifi",
            f"rule add from {WIFI} lookup 101",
            "route add default dev wifi table 101",
        )
        self._loop.add_reader(self._server, self._from_server)

    def _from_client(self, way: _Way) -> None:
        for data in _packets(way.fd):
            translated = way.nat.out(data)
            if translated is None or not way.alive:
                way.up.tally.drop(Cause.OUTAGE)
                continue
            self._admit(way, way.up, translated, is_up=True)

    def _from_server(self) -> None:
        for data in _packets(self._server):
            way = self.cell if data[18] == int(CELL.split(".")[2]) else self.wifi
            translated = way.nat.back(data)
            if translated is not None:
                self._admit(way, way.down, translated, is_up=False)

    def _admit(self, way: _Way, lane: Lane, data: bytes, *, is_up: bool) -> None:
        for release in lane.admit(self._loop.time(), len(data)):
            if len(self._held) >= MAX_HELD:
                lane.tally.drop(Cause.HELD)
                continue
            held = _Held(way, is_up, data)
            heapq.heappush(self._held, (release, next(self._numbers), held))
        self._arm()

    def _arm(self) -> None:
        if not self._held:
            return
        first = self._held[0][0]
        if self._timer is None or first < self._timer.when():
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_at(first, self._release)

    def _release(self) -> None:
        self._timer = None
        now = self._loop.time()
        while self._held and self._held[0][0] <= now:
            due, _, held = heapq.heappop(self._held)
            lane = held.way.up if held.is_up else held.way.down
            if len(self.delays_us) < KEPT_DELAYS:
                self.delays_us.append(1e6 * (now - due))
            if not held.is_up and held.way.is_dead(now):
                lane.tally.drop(Cause.OUTAGE)
                continue
            try:
                os.write(self._server if held.is_up else held.way.fd, held.data)
            except OSError:  # a link that was taken down, a full queue
                lane.tally.drop(Cause.SOCKET)
            else:
                lane.released(len(held.data))
        self._arm()

    async def story(self, begun: asyncio.Event) -> None:
        """Let the events happen, from `begun` on."""
        steps: list[tuple[float, str, Event]] = []
        for event in self._plan.events:
            if event.kind == "switch":
                steps.append((event.at, "dies", event))
                steps.append((event.at + event.ms / 1000, "arrives", event))
            else:
                steps.append((event.at, event.kind, event))
        await begun.wait()
        started = self._loop.time()
        used, left = self.wifi, self.cell
        for at, what, event in sorted(steps, key=lambda step: step[0]):
            await asyncio.sleep(max(0.0, started + at - self._loop.time()))
            self.happened.append({"ns": time.monotonic_ns(), "what": f"{what} ({event})"})
            if what == "dies":
                (left if event.ms < 0 else used).alive = False
            elif what == "arrives":
                left, used = used, left
                used.alive = True
                self._go(left, used, keep=event.keep)
            elif what == "outage":
                used.outages.add(Outage(self._loop.time(), event.ms / 1000))
            else:
                used.nat.rebind(event.address)

    def _go(self, left: _Way, used: _Way, *, keep: bool) -> None:
        """Do what the client's system does when it goes from one network to the other."""
        address = WIFI if used is self.wifi else CELL
        old = () if keep else (f"addr flush dev {left.name}", f"link set {left.name} down")
        new = (
            f"link set {used.name} up",
            f"addr add {address}/24 dev {used.name}",
            f"route replace default dev {used.name}",
        )
        if self._system.stdin is not None:
            self._system.stdin.write("".join(f"{line}\n" for line in (*old, *new)).encode())
            self._system.stdin.flush()

    def close(self) -> None:
        """End the program that stands for the client's system."""
        if self._system.stdin is not None:
            self._system.stdin.close()
        self._system.wait()

    def stats(self) -> dict[str, object]:
        """Tell what was done."""
        late = {"p99": percentile(self.delays_us, 99)} if self.delays_us else {}
        links = {
            way.name: {
                "up": msgspec.to_builtins(way.up.tally, str_keys=True),
                "down": msgspec.to_builtins(way.down.tally, str_keys=True),
            }
            for way in (self.wifi, self.cell)
        }
        return {"events": self.happened, "links": links, "release_late_us": late}


def _packets(fd: int) -> list[bytes]:
    """Read the IPv4 packets that wait; all else is dropped."""
    found = []
    for _ in range(BATCH):
        try:
            data = os.read(fd, 65_536)
        except OSError:  # nothing left, or the device is down
            break
        if len(data) >= 20 and data[0] >> 4 == 4:
            found.append(data)
    return found


def _device(name: str, namespace: str) -> int:
    """Make a TUN device that appears in a namespace under `name`."""
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    unique = f"mv{os.getpid() % 10**7}{name}"
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", unique.encode(), IFF_TUN | IFF_NO_PI))
    move = ["ip", "link", "set", unique, "netns", namespace, "name", name]
    subprocess.run(move, check=True)
    ask = ["ip", "netns", "exec", namespace, "sysctl", "-qw"]
    subprocess.run([*ask, f"net.ipv6.conf.{name}.disable_ipv6=1"], check=False)
    return fd


def _ip(namespace: str, *lines: str) -> None:
    subprocess.run(
        ["ip", "-n", namespace, "-batch", "-"], input="\n".join(lines), text=True, check=True
    )


async def _run(plan: TunnelPlan) -> None:
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stopped.set)
    with contextlib.suppress(OSError):  # forbidden, or unknown here
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(PRIORITY))
    tunnel = Tunnel(plan)
    tunnel.open()
    # Not a port: the loopback of a namespace is another one, but files are the same.
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listening.bind(str(File(plan.folder, CONTROL)))
    transport, control = await loop.create_datagram_endpoint(Control, sock=listening)
    File(plan.folder, READY).write_text("{}")
    async with asyncio.TaskGroup() as tasks:
        story = tasks.create_task(tunnel.story(control.begun))
        await stopped.wait()
        story.cancel()
    transport.close()
    tunnel.close()
    File(plan.folder, STATS).write_text(json.dumps(tunnel.stats()))


if __name__ == "__main__":
    # Not epoll, whose time-outs are whole milliseconds.
    with asyncio.Runner(
        loop_factory=lambda: asyncio.SelectorEventLoop(selectors.SelectSelector())
    ) as runner:
        runner.run(_run(msgspec.json.decode(File(sys.argv[1]).read_bytes(), type=TunnelPlan)))
