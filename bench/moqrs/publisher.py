"""One publisher of stamped frames: writes until `report START END` comes on stdin."""

import argparse
import asyncio
import time

import moq
from interop.peers.moqrs.speech import emit, main, told_to_leave, watched

from bench.arithmetic import percentile
from bench.moqrs.crowd import TRACK, dialler, options, order, track_info
from bench.moqrs.payload import packet


def _options() -> argparse.Namespace:
    made = options("publish one track, a frame each --frame-ms, once somebody listens")
    made.add_argument("broadcast")
    made.add_argument("--group-per-frame", action="store_true", help="a stream for each frame")
    return made.parse_args()


GROUP_MS = 1980
"""A spoken phrase: so much audio shares a group and its stream. Whole frames of 20 and 60 ms."""


class Writer:
    """Writes on time, and knows when each frame was due and when it was written."""

    def __init__(self, track: moq.TrackProducer, frame_ms: int, *, group_per_frame: bool) -> None:
        self.times: list[tuple[int, int]] = []
        self._track = track
        self._frame_ms = frame_ms
        self._group_frames = 1 if group_per_frame else GROUP_MS // frame_ms
        self._group = track.append_group()

    async def run(self) -> None:
        """Write until cancelled."""
        period_ns = self._frame_ms * 1_000_000
        due_ns = time.monotonic_ns()
        while True:
            self._write(due_ns)
            due_ns += period_ns
            await asyncio.sleep(max(0, due_ns - time.monotonic_ns()) / 1e9)

    def finish(self) -> None:
        """End the group, if it is not over already, and the track."""
        if len(self.times) % self._group_frames:
            self._group.finish()
        self._track.finish()

    def _write(self, due_ns: int) -> None:
        number = len(self.times)
        self.times.append((due_ns, time.monotonic_ns()))
        if number and number % self._group_frames == 0:
            self._group = self._track.append_group()
        self._group.write_frame(packet(number, self._frame_ms), number * self._frame_ms * 1000)
        if (number + 1) % self._group_frames == 0:
            self._group.finish()


async def _publish(client: moq.Client, args: argparse.Namespace) -> None:
    broadcast = client.create_broadcast(args.broadcast)
    track = broadcast.publish_track(TRACK, track_info())
    broadcast.announce()
    emit("announced")
    await track.demand().used()
    writer = Writer(track, args.frame_ms, group_per_frame=args.group_per_frame)
    async with asyncio.TaskGroup() as group:
        writing = group.create_task(writer.run())
        start_ns, end_ns = await order()
        writing.cancel()
    writer.finish()
    inside = [(due, wrote) for due, wrote in writer.times if start_ns <= wrote < end_ns]
    late_ms = percentile([(wrote - due) / 1e6 for due, wrote in inside], 0.99)
    emit("report", frames=len(inside), late_p99_ms=round(late_ms, 3))
    await told_to_leave()


async def _run(args: argparse.Namespace) -> None:
    async with dialler(args.url) as client:
        await watched(client, _publish(client, args))


if __name__ == "__main__":
    given = _options()
    main(given, lambda: _run(given))
