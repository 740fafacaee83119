"""Many callers, each on a connection of its own: speak stamped frames, hear their echo.

A caller publishes `ID/caller` and reads `ID/agent`, as moqvox' voice protocol has it. The
callers speak at the same rate, each at its own moment (seeded), as people do. As for the
subscribers, a few tell the delay and the rest is counted at the end.
"""

import argparse
import asyncio
import random
import time

import moq
from interop.peers.moqrs.speech import emit, main

from bench.arithmetic import percentile
from bench.moqrs.crowd import (
    TRACK,
    connected,
    counted,
    evenly,
    options,
    order,
    track_info,
    wishes,
)
from bench.moqrs.payload import Tally, packet


def _options() -> argparse.Namespace:
    made = options("make N calls until told to report")
    counted(made, "callers")
    made.add_argument("--seed", type=int, default=1)
    return made.parse_args()


class Caller:
    """One call."""

    def __init__(self, number: int, client: moq.Client, frame_ms: int) -> None:
        self.name = f"call{number:04}"
        self.heard = Tally(frame_ms)
        self.written: list[tuple[int, int]] = []
        self._client = client
        self._frame_ms = frame_ms
        self._published: tuple[moq.BroadcastProducer, moq.TrackProducer] | None = None
        self._group: moq.GroupProducer | None = None

    async def dial(self) -> moq.TrackConsumer:
        """Announce the voice and ask for the echo; moq-rs asks in earnest with the first read."""
        broadcast = self._client.create_broadcast(f"{self.name}/caller")
        track = broadcast.publish_track(TRACK, track_info())
        broadcast.announce()
        self._published = broadcast, track
        agent = await self._client.announced_broadcast(f"{self.name}/agent").available()
        return await agent.subscribe_track(TRACK, wishes())

    async def answered(self) -> None:
        """Wait until the voice is listened to."""
        if self._published is None:
            raise RuntimeError("no call was made")
        _, track = self._published
        await track.demand().used()
        self._group = track.append_group()

    def speak(self, due_ns: int) -> None:
        """Write the next frame."""
        if self._group is None:
            raise RuntimeError("speaking before the call stands")
        number = len(self.written)
        self.written.append((due_ns, time.monotonic_ns()))
        at_us = number * self._frame_ms * 1000
        # An eight-byte varint of microseconds, then the packet: hang's `legacy` container.
        stamp = (at_us | 3 << 62).to_bytes(8, "big")
        self._group.write_frame(stamp + packet(number, self._frame_ms), at_us)

    def hush(self) -> None:
        """End the utterance."""
        if self._group is not None:
            self._group.finish()

    async def listen(self, echo: moq.TrackConsumer, ending: asyncio.Event, *, live: bool) -> None:
        """Hear the echo to its end."""
        group = await echo.recv_group()
        if group is None:
            return
        if not live:
            await ending.wait()
        while (frame := await group.read_frame()) is not None:
            self.heard.add(frame.payload, live=live)


async def _speak(callers: list[Caller], frame_ms: int, chance: random.Random) -> None:
    """Let everyone speak on time, each at its own moment within the frame."""
    period_ns = frame_ms * 1_000_000
    turns = sorted((chance.randrange(period_ns), i) for i in range(len(callers)))
    start_ns = time.monotonic_ns()
    while True:
        for offset_ns, index in turns:
            wait_ns = start_ns + offset_ns - time.monotonic_ns()
            if wait_ns > 0:
                await asyncio.sleep(wait_ns / 1e9)
            callers[index].speak(start_ns + offset_ns)
        start_ns += period_ns
        await asyncio.sleep(0)


def _report(callers: list[Caller], start_ns: int, end_ns: int) -> None:
    spoken = [
        (due_ns, wrote_ns)
        for caller in callers
        for due_ns, wrote_ns in caller.written
        if start_ns <= wrote_ns < end_ns
    ]
    late_ms = [(wrote_ns - due_ns) / 1e6 for due_ns, wrote_ns in spoken]
    got = [len(caller.heard.within(start_ns, end_ns)) for caller in callers]
    delays = sorted(ms for caller in callers for ms in caller.heard.delays_ms(start_ns, end_ns))
    emit(
        "report",
        frames=len(spoken),
        late_p99_ms=round(percentile(late_ms, 0.99), 3),
        deliveries=sum(got),
        p50_ms=round(percentile(delays, 0.50), 3),
        p99_ms=round(percentile(delays, 0.99), 3),
        max_ms=round(delays[-1], 3),
        timed=len(delays),
    )


async def _call(clients: list[moq.Client], args: argparse.Namespace) -> None:
    callers = [Caller(number, one, args.frame_ms) for number, one in enumerate(clients)]
    async with asyncio.TaskGroup() as dialling:
        dials = [dialling.create_task(caller.dial()) for caller in callers]
    live, ending = evenly(args.count, args.live), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for index, (caller, dial) in enumerate(zip(callers, dials, strict=True)):
            group.create_task(caller.listen(dial.result(), ending, live=index in live))
        for caller in callers:
            await caller.answered()
        speaking = group.create_task(_speak(callers, args.frame_ms, random.Random(args.seed)))
        emit("subscribed", callers=len(callers))
        window = await order()
        speaking.cancel()
        for caller in callers:
            caller.hush()
        ending.set()
    _report(callers, *window)


async def _run(args: argparse.Namespace) -> None:
    async with connected(args) as clients:
        await _call(clients, args)


if __name__ == "__main__":
    given = _options()
    main(given, lambda: _run(given))
