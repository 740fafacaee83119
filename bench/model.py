"""What a frame costs in the model: python bench/model.py [READERS...].

For each number of readers: nanoseconds for a write and its wake-ups, for each reader's poll,
and for a group of a single frame from opening to the end as each reader sees it.
"""

import asyncio
import platform
import statistics
import sys
import time

from moqvox.frame import Frame
from moqvox.model import broadcast

ROUNDS = 5
PAYLOAD = bytes(80)


def measure(readers: int, frames: int) -> tuple[float, float, float]:
    track = broadcast.Producer().create_track("audio")
    dirty: list[object] = []
    tracks = [track.consume() for _ in range(readers)]
    writer = track.append_group()
    groups = [reader.poll_group() for reader in tracks]
    for group in groups:
        group.wake = lambda group=group: dirty.append(group)
    written = polled = 0
    for n in range(frames):
        frame = Frame(PAYLOAD, n)
        start = time.perf_counter_ns()
        writer.write(frame)
        middle = time.perf_counter_ns()
        for group in dirty:
            group.poll()
        end = time.perf_counter_ns()
        assert len(dirty) == readers
        dirty.clear()
        written += middle - start
        polled += end - middle
    start = time.perf_counter_ns()
    for n in range(frames):
        writer = track.append_group()
        writer.write(Frame(PAYLOAD, n))
        writer.finish()
        for reader in tracks:
            while (group := reader.poll_group()) is not None:
                while group.poll() is not None:
                    pass
    whole = time.perf_counter_ns() - start
    deliveries = frames * readers
    return written / deliveries, polled / deliveries, whole / deliveries


async def main() -> None:
    print(f"CPython {platform.python_version()}, median of {ROUNDS} (least, most), ns per reader")
    print(f"{'readers':>8} {'write and wake':>24} {'poll':>24} {'one-frame group':>24}")
    for readers in [int(word) for word in sys.argv[1:]] or [1, 10, 100, 1000]:
        rounds = [measure(readers, max(20, 20_000 // readers)) for _ in range(ROUNDS)]
        cells = [
            f"{statistics.median(ns):.0f} ({min(ns):.0f}, {max(ns):.0f})"
            for ns in zip(*rounds, strict=True)
        ]
        print(f"{readers:>8} " + " ".join(f"{cell:>24}" for cell in cells))


asyncio.run(main())
