"""One direction of a link: each packet's fate and its time of arrival.

Every kind of randomness has its own seeded stream, and each packet draws once from every
stream whatever else happens to it. So the n-th packet of a direction meets the same fate in
every run with that seed, whichever impairments are switched on.
"""

import asyncio
import heapq
import random
from collections.abc import Sequence
from typing import Final, Protocol

from moqvox.transport.memory.packet import Packet
from moqvox.transport.memory.settings import SECONDS, LinkSettings

__all__ = ["EPSILON", "Lane", "Receiver", "Sender"]

EPSILON: Final = 1e-9
"""Timers may fire this early; sums of floats are no more exact than that."""

KINDS: Final = ("loss", "jitter", "reorder", "duplicate")


class Sender(Protocol):
    """Who puts packets on a lane."""

    def packet_lost(self, packet: Packet) -> None:
        """Learn at once what a real sender would infer: the packet won't be acknowledged."""

    def packet_arrived(self, packet: Packet, at: float) -> None:
        """Learn that the receiver has it; its acknowledgement leaves now."""


class Receiver(Protocol):
    """Who takes packets off a lane."""

    def receive(self, packet: Packet) -> bool:
        """Take a packet; False when nobody is there to take it."""


class Lane:
    """One direction. Set `sender` and `receiver` before the first packet.

    Attributes:
        dead_since: when the outage began that lasts; None while packets can pass.
    """

    sender: Sender
    receiver: Receiver

    def __init__(self, settings: LinkSettings, seed: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._settings = settings
        self._dice = [random.Random(f"{seed}/{kind}") for kind in KINDS]  # noqa: S311  # fates
        self._flying: list[tuple[float, int, Packet]] = []
        self._count = 0
        self._free_at = 0.0
        self._latest = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._in_outage = False
        self.dead_since: float | None = None
        self.change(settings)

    @property
    def settings(self) -> LinkSettings:
        """What it does to packets now."""
        return self._settings

    @property
    def delay(self) -> float:
        """Seconds that a packet takes, without jitter and rate."""
        return self._settings.delay_ms * SECONDS

    @property
    def free_at(self) -> float:
        """When the next packet should be put on it, to meet no queue."""
        return self._free_at

    def change(self, settings: LinkSettings) -> None:
        """Treat packets otherwise from now on; those on their way arrive as they would have."""
        self._settings = settings
        self._note_death()

    def set_outage(self, *, dead: bool) -> None:
        """Begin or end an outage; packets that are on their way already arrive."""
        self._in_outage = dead
        self._note_death()

    def new_path(self) -> None:
        """Let packets overtake those that travel on the path before."""
        self._latest = 0.0

    def send(self, packet: Packet) -> bool:
        """Take a packet; False when it is lost, which the sender was told of already."""
        now = self._loop.time()
        settings = self._settings
        rolls = [dice.random() for dice in self._dice]
        left_at = max(now, self._free_at)
        if settings.rate_kbps:
            left_at += packet.size_bytes * 8 / (settings.rate_kbps * 1000)
        self._free_at = left_at
        if self.dead_since is not None or rolls[0] * 100 < settings.loss:
            self.sender.packet_lost(packet)
            return False
        self._arrive(packet, left_at + self.delay, rolls)
        return True

    def stop(self) -> None:
        """Forget what is on its way: nobody is at either end any more."""
        self._flying.clear()
        self._arm()

    def _arrive(self, packet: Packet, at: float, rolls: Sequence[float]) -> None:
        settings = self._settings
        _, jitter, reorder, duplicate = rolls
        at = max(at + jitter * settings.jitter_ms * SECONDS, self._latest)
        if reorder * 100 < settings.reorder:
            at += settings.reorder_ms * SECONDS
        else:
            self._latest = at
        self._push(packet, at)
        if duplicate * 100 < settings.duplicate:
            self._push(packet, at + settings.reorder_ms * SECONDS)
        self._arm()

    def _push(self, packet: Packet, at: float) -> None:
        self._count += 1
        heapq.heappush(self._flying, (at, self._count, packet))

    def _arm(self) -> None:
        if self._timer is not None:
            if self._flying and self._timer.when() <= self._flying[0][0]:
                return
            self._timer.cancel()
            self._timer = None
        if self._flying:
            self._timer = self._loop.call_at(self._flying[0][0], self._run)

    def _run(self) -> None:
        self._timer = None
        now = self._loop.time() + EPSILON
        while self._flying and self._flying[0][0] <= now:
            at, _, packet = heapq.heappop(self._flying)
            self._deliver(packet, at)
        self._arm()

    def _deliver(self, packet: Packet, at: float) -> None:
        is_duplicate = packet.has_arrived
        is_taken = self.receiver.receive(packet)
        packet.has_arrived = True
        if is_duplicate:
            return
        if is_taken:
            self.sender.packet_arrived(packet, at)
        else:
            self.sender.packet_lost(packet)

    def _note_death(self) -> None:
        if not (self._in_outage or self._settings.loss >= 100):
            self.dead_since = None
        elif self.dead_since is None:
            self.dead_since = self._loop.time()
