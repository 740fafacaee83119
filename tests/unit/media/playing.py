"""A player whose packets are PCM, and ears for what it renders."""

from collections.abc import Callable

import numpy as np

from moqvox.errors import MediaError
from moqvox.media.decision import Outcome, Policy
from moqvox.media.player import Player

RATE = 8_000
FRAME = 160
FIXED = Policy(target_min_us=60_000, target_max_us=60_000, stretch_ppm=0)
BAD = b"\xff" * 7


class Decoding:
    """Packets are PCM; remembers what was decoded, and by which decoder."""

    def __init__(self) -> None:
        self.opened = 0
        self.packets: list[tuple[int, bytes]] = []

    def open(self) -> Callable[[bytes], bytes]:
        self.opened += 1
        number = self.opened

        def decode(packet: bytes) -> bytes:
            if packet == BAD:
                raise MediaError("not audio")
            self.packets.append((number, packet))
            return packet

        return decode


def length(packet: bytes) -> int:
    if not packet:
        raise MediaError("empty")
    return FRAME if packet == BAD else len(packet) // 2


def make(decoding: Decoding | None = None, policy: Policy = FIXED, channels: int = 1) -> Player:
    decoding = decoding or Decoding()
    return Player(
        RATE,
        decoding.open,
        channels=channels,
        policy=policy,
        samples_of=lambda packet: length(packet) // channels,
    )


def wave(samples: int, hertz: float = 200.0, level: int = 8_000) -> np.ndarray:
    return np.rint(level * np.sin(2 * np.pi * hertz * np.arange(samples) / RATE)).astype("<i2")


def push_all(
    player: Player, pcm: np.ndarray, item: int = 1, now_us: int = 0, start: int = 0
) -> None:
    for at in range(start, len(pcm), FRAME):
        packet = pcm[at : at + FRAME].tobytes()
        assert player.push_packet(item, at * 125, packet, now_us).outcome is Outcome.ACCEPTED


def listen(player: Player, samples: int, now_us: int = 0) -> np.ndarray:
    out = player.render(samples, now_us)
    assert len(out) == samples * 2 * player.channels
    return np.frombuffer(out, "<i2")


def jump(pcm: np.ndarray) -> int:
    return int(np.abs(np.diff(pcm.astype(int))).max())
