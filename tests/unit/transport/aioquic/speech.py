"""Speech over a wire: a stream of small frames, and how late each is heard in order."""

import itertools
import math
import random
from collections.abc import Callable

from aioquic.quic.events import StreamDataReceived
from tests.unit.transport.aioquic.wires import Wire

from moqvox.transport.address import Address
from moqvox.transport.aioquic import Limits
from moqvox.transport.aioquic.private import Engine

FRAME_BYTES, INTERVAL = 80, 0.02
SEEDS = 12
WORD_BYTES = 4
"""A frame is its number, over and over."""


def frame(number: int) -> bytes:
    return number.to_bytes(WORD_BYTES, "big") * (FRAME_BYTES // WORD_BYTES)


class Talk(Wire):
    """A wire on which one side speaks; `heard_at` is when each frame, and all before, was there."""

    def __init__(
        self,
        *,
        limits: Limits | None = None,
        delay: float = 0.05,
        lose: Callable[[bool, float], bool] = lambda _, __: False,
        settle: float = 1.0,
        ack_delay: float | None = None,
    ) -> None:
        self.heard_at: list[float] = []
        self.spoken_at: list[float] = []
        self.bytes_heard = bytearray()
        self.sent_datagrams = 0
        self.sent_bytes = 0
        self.stream: int | None = None
        self.is_up = True
        super().__init__(limits=limits, delay=delay, lose=lambda: lose(self.is_up, self.now))
        if ack_delay is not None:  # as browsers, who acknowledge every second packet
            self.server._ack_delay = ack_delay
        self.run(settle)
        self.sent_bytes = self.sent_datagrams = 0

    def speak(self, frames: int, *, by: Engine | None = None) -> None:
        engine = by or self.client
        if self.stream is None:
            self.stream = engine.open_stream(bidirectional=False, priority=0)
        for _ in range(frames):
            number = len(self.spoken_at)
            self.spoken_at.append(self.now)
            engine.table.feed(self.stream, frame(number), fin=False)
            self.run(INTERVAL)

    def _datagrams(self, engine: Engine) -> list[tuple[bytes, Address]]:
        self.is_up = engine is self.client
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
            assert self.bytes_heard[start : start + FRAME_BYTES] == frame(number)
            self.heard_at.append(self.now)

    def lateness_p99(self) -> float:
        """Seconds beyond the wire's own delay; nearest rank."""
        late = [
            heard - spoken - self.delay
            for heard, spoken in zip(self.heard_at, self.spoken_at, strict=True)
        ]
        return sorted(late)[math.ceil(len(late) * 0.99) - 1]

    def gap(self, after: float) -> float:
        """Longest pause between frames heard, from a moment on."""
        times = [t for t in self.heard_at if t >= after]
        return max(b - a for a, b in itertools.pairwise(times))


def lossy(
    seed: int,
    loss: float,
    *,
    redundancy: float,
    frames: int = 400,
    ack_delay: float | None = None,
    kind: type[Talk] = Talk,
) -> Talk:
    """Each datagram is lost or not by itself, from the handshake on."""
    rngs = _rngs(seed)
    return _talk(
        lambda is_up, _: rngs[is_up].random() < loss,
        0.05,
        redundancy=redundancy,
        frames=frames,
        ack_delay=ack_delay,
        kind=kind,
    )


def bursty(
    seed: int,
    *,
    redundancy: float,
    delay: float = 0.025,
    frames: int = 400,
    ack_delay: float | None = None,
    kind: type[Talk] = Talk,
) -> Talk:
    """Gilbert-Elliott in time: 1.5 s good, then 0.1 s in which four of five are lost."""
    rngs = _rngs(seed)
    until = {is_up: rng.expovariate(1 / 1.5) for is_up, rng in rngs.items()}
    is_bad = dict.fromkeys(rngs, False)

    def lose(is_up: bool, now: float) -> bool:
        while now > until[is_up]:
            is_bad[is_up] = not is_bad[is_up]
            until[is_up] += rngs[is_up].expovariate(1 / (0.1 if is_bad[is_up] else 1.5))
        return is_bad[is_up] and rngs[is_up].random() < 0.8

    return _talk(lose, delay, redundancy=redundancy, frames=frames, ack_delay=ack_delay, kind=kind)


def _rngs(seed: int) -> dict[bool, random.Random]:
    """Up and down don't disturb one another."""
    return {True: random.Random(f"{seed}/up"), False: random.Random(f"{seed}/down")}


def _talk(
    lose: Callable[[bool, float], bool],
    delay: float,
    *,
    redundancy: float,
    frames: int,
    ack_delay: float | None = None,
    kind: type[Talk] = Talk,
) -> Talk:
    limits = Limits(redundancy=redundancy)
    talk = kind(limits=limits, delay=delay, lose=lose, ack_delay=ack_delay)
    talk.speak(frames)
    talk.lose = lambda: False
    talk.run(10.0)
    return talk
