"""Many subscribers of one track, each on a connection of its own.

All take in every frame. A few, spread over the crowd, also read each at once and so tell the
delay; the others' frames stay in moq-rs until the end and are counted then, which keeps the
generator cheap.
"""

import argparse
import asyncio

import moq
from interop.peers.moqrs.speech import emit, main

from bench.arithmetic import percentile
from bench.moqrs.crowd import TRACK, connected, counted, evenly, options, order, wishes
from bench.moqrs.payload import Tally


def _options() -> argparse.Namespace:
    made = options("subscribe N times until the track ends")
    counted(made, "subscribers")
    made.add_argument("broadcast")
    made.add_argument("--group-per-frame", action="store_true", help="read every group at once")
    return made.parse_args()


class Crowd:
    """The subscribers and what they got."""

    def __init__(self, args: argparse.Namespace) -> None:
        self._args = args
        self._live = evenly(args.count, args.live)
        self._begun = 0
        self._all_begun = asyncio.Event()
        self.tallies = [Tally(args.frame_ms) for _ in range(args.count)]

    async def run(self, clients: list[moq.Client]) -> None:
        """Subscribe, take in everything, report."""
        async with asyncio.TaskGroup() as group:
            readers = [group.create_task(self._read(i, c)) for i, c in enumerate(clients)]
            await self._all_begun.wait()
            emit("subscribed", subscribers=len(clients))
            window = await order()
            await asyncio.wait(readers)
        self._report(*window)

    async def _read(self, index: int, client: moq.Client) -> None:
        broadcast = await client.announced_broadcast(self._args.broadcast).available()
        track = await broadcast.subscribe_track(TRACK, wishes())
        live = index in self._live
        at_once = live or self._args.group_per_frame
        kept: list[moq.GroupConsumer] = []
        first = True
        while (group := await track.recv_group()) is not None:
            if first:
                first = False
                self._has_begun()
            if at_once:
                await self._read_group(index, group, live=live)
            else:
                kept.append(group)
        for group in kept:
            await self._read_group(index, group, live=False)

    def _has_begun(self) -> None:
        self._begun += 1
        if self._begun == self._args.count:
            self._all_begun.set()

    async def _read_group(self, index: int, group: moq.GroupConsumer, *, live: bool) -> None:
        tally = self.tallies[index]
        while (frame := await group.read_frame()) is not None:
            tally.add(frame.payload, live=live)

    def _report(self, start_ns: int, end_ns: int) -> None:
        got = [len(tally.within(start_ns, end_ns)) for tally in self.tallies]
        delays = sorted(ms for tally in self.tallies for ms in tally.delays_ms(start_ns, end_ns))
        emit(
            "report",
            deliveries=sum(got),
            fewest=min(got),
            p50_ms=round(percentile(delays, 0.50), 3),
            p99_ms=round(percentile(delays, 0.99), 3),
            max_ms=round(delays[-1], 3),
            timed=len(delays),
        )


async def _run(args: argparse.Namespace) -> None:
    async with connected(args) as clients:
        await Crowd(args).run(clients)


if __name__ == "__main__":
    given = _options()
    main(given, lambda: _run(given))
