"""Speech over a wire: a stream of small frames, and how late each is heard in order."""

import itertools
import random
import statistics
import sys

from aioquic.quic.events import StreamDataReceived
from tests.unit.transport.aioquic.wires import Wire

from moqvox.transport.aioquic import Limits
from moqvox.transport.aioquic.private import Engine

FRAME_BYTES, INTERVAL = 60, 0.02


class Talk(Wire):
    """A wire on which one side speaks; `heard_at` is when each frame, and all before, was there."""

    def __init__(self, *, limits: Limits | None = None, delay: float = 0.05) -> None:
        self.heard_at: list[float] = []
        self.spoken_at: list[float] = []
        self.bytes_heard = bytearray()
        self.sent_datagrams = 0
        self.sent_bytes = 0
        self.stream: int | None = None
        super().__init__(limits=limits, delay=delay)
        self.run(1.0)
        self.sent_bytes = self.sent_datagrams = 0

    def speak(self, frames: int, *, by: Engine | None = None) -> None:
        engine = by or self.client
        if self.stream is None:
            self.stream = engine.open_stream(bidirectional=False, priority=0)
        for _ in range(frames):
            number = len(self.spoken_at)
            self.spoken_at.append(self.now)
            engine.table.feed(self.stream, number.to_bytes(4, "big") * 15, fin=False)
            self.run(INTERVAL)

    def _datagrams(self, engine: Engine) -> list[tuple[bytes, object]]:
        engine.follow_path(self.now)
        datagrams = super()._datagrams(engine)
        if engine is self.client:
            self.sent_datagrams += len(datagrams)
            self.sent_bytes += sum(len(data) for data, _ in datagrams)
        return datagrams

    def _send(self) -> None:
        super()._send()
        for engine, events in self.events.items():
            for event in events:
                if isinstance(event, StreamDataReceived) and event.stream_id == self.stream:
                    engine.table.hand_over(event.stream_id, len(event.data))
                    self.bytes_heard += event.data
            events.clear()
        while len(self.heard_at) < len(self.bytes_heard) // FRAME_BYTES:
            number = len(self.heard_at)
            start = number * FRAME_BYTES
            assert self.bytes_heard[start : start + FRAME_BYTES] == number.to_bytes(4, "big") * 15
            self.heard_at.append(self.now)

    def lateness_p99(self) -> float:
        """Seconds beyond the wire's own delay."""
        late = [
            heard - spoken - self.delay
            for heard, spoken in zip(self.heard_at, self.spoken_at, strict=True)
        ]
        return sorted(late)[int(len(late) * 0.99)]

    def gap(self, after: float) -> float:
        """Longest pause between frames heard, from a moment on."""
        times = [t for t in self.heard_at if t >= after]
        return max(b - a for a, b in itertools.pairwise(times))


def lossy(seed: int, loss: float, *, redundancy: float, frames: int = 400) -> Talk:
    rng = random.Random(seed)
    talk = Talk(limits=Limits(redundancy=redundancy))
    talk.lose = lambda: rng.random() < loss
    talk.speak(frames)
    talk.lose = lambda: False
    talk.run(3.0)
    return talk


def bursty(seed: int, *, redundancy: float, frames: int = 400) -> Talk:
    """Every 1.5 s or so, nothing comes through for 0.1 s."""
    rng = random.Random(seed)
    talk = Talk(limits=Limits(redundancy=redundancy), delay=0.025)
    begins = [talk.now + 1.6 * n + 1.5 * rng.random() for n in range(20)]

    def lose() -> bool:
        return any(begin <= talk.now < begin + 0.1 for begin in begins)

    talk.lose = lose
    talk.speak(frames)
    talk.lose = lambda: False
    talk.run(3.0)
    return talk


def main() -> None:
    """Print lateness in order (p99, ms) and IP bytes, medians of five seeds."""
    for loss in (0.0, 0.05, 0.1):
        for redundancy in (0.0, 1.0, 2.0):
            talks = [lossy(seed, loss, redundancy=redundancy) for seed in range(5)]
            _print(f"RTT 100 ms, {loss:4.0%} loss, redundancy {redundancy}", talks)
    for redundancy in (0.0, 1.0, 2.0):
        talks = [bursty(seed, redundancy=redundancy) for seed in range(5)]
        _print(f"RTT  50 ms, bursts,    redundancy {redundancy}", talks)


def _print(name: str, talks: list[Talk]) -> None:
    late = sorted(talk.lateness_p99() * 1000 for talk in talks)
    size = statistics.median(talk.sent_bytes + 28 * talk.sent_datagrams for talk in talks)
    spread = f"{late[2]:4.0f} [{late[0]:.0f}-{late[-1]:.0f}] ms"
    sys.stdout.write(f"{name}: {spread}, {size / 1000:.0f} kB\n")


if __name__ == "__main__":
    main()
