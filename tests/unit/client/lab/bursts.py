"""Speech that arrives in bursts, played on a virtual clock; and what may befall a sound."""

import bisect
import random
from collections.abc import Callable

import numpy as np

from moqvox.media.codec import Decoder
from moqvox.media.decision import Decision, Outcome, Play, Policy
from moqvox.media.player import Player
from moqvox_client.lab.ear import BLOCK, RATE

TICK_MS = 20
AGAIN_MS = 35.0


def in_bursts(rng: random.Random, frames: int, good_ms: float, bad_ms: float) -> list[float]:
    """When frames are there in order (ms), of which 4 of 5 are lost in bad spells, and repeated."""
    changes = [0.0]
    while changes[-1] < 2 * TICK_MS * frames + 20_000:
        changes.append(changes[-1] + rng.expovariate(1 / (good_ms, bad_ms)[1 - len(changes) % 2]))
    found: list[float] = []
    for index in range(frames):
        at = float((index + 1) * TICK_MS)
        while bisect.bisect(changes, at) % 2 == 0 and rng.random() < 0.8:
            at += AGAIN_MS * rng.uniform(0.6, 1.6)
        found.append(max([at, *found[-1:]]))
    return found


class Playing:
    """A response, played to its end, and what the player said that it did."""

    def __init__(
        self,
        packets: list[bytes],
        arrivals: list[float],
        phase_ms: float = 0.0,
        policy: Policy | None = None,
    ) -> None:
        player = Player(RATE, lambda: Decoder(RATE, 1).decode, policy=policy)
        self.began_ms = now = arrivals[0] + phase_ms
        self.decisions: list[Decision] = []
        pieces: list[bytes] = []
        pushed = 0
        while not player.take_ended():
            while pushed < len(arrivals) and arrivals[pushed] <= now:
                at_us = int(1000 * arrivals[pushed])
                offered = player.push_packet(0, 20_000 * pushed, packets[pushed], at_us)
                assert offered.outcome is Outcome.ACCEPTED
                pushed += 1
                if pushed == len(arrivals):
                    player.end(0)
            pieces.append(player.render(BLOCK, int(1000 * now)))
            self.decisions += player.decisions
            now += TICK_MS
        self.pcm = b"".join(pieces)
        self.sound = np.frombuffer(self.pcm, "<i2").astype(float)

    def samples(self, kind: type) -> int:
        """How many samples of a kind there are."""
        return sum(each.samples for each in self.decisions if isinstance(each, kind))

    def spans(self) -> dict[int, tuple[int, int]]:
        """Where each frame sounds."""
        found: dict[int, tuple[int, int]] = {}
        at = 0
        for each in self.decisions:
            if isinstance(each, Play):
                found[each.index] = (found.get(each.index, (at, 0))[0], at + each.samples)
            if type(each).__name__ in ("Play", "Silence", "Repeat", "Fade"):
                at += each.samples
        return found


def _scaled(sound: np.ndarray, start: int, end: int, gain: object) -> np.ndarray:
    made = sound.copy()
    made[start:end] = np.rint(made[start:end] * gain)
    return made


def _slower(sound: np.ndarray, start: int, end: int) -> np.ndarray:
    frame = sound[start:end]
    made = np.interp(np.arange(0, len(frame) - 1, 0.8), np.arange(len(frame)), frame)
    return np.concatenate((sound[:start], np.rint(made), sound[end:]))


def _swapped(sound: np.ndarray, start: int, end: int) -> np.ndarray:
    """The frame and the sound of its length that follows."""
    after = 2 * end - start
    return np.concatenate((sound[:start], sound[end:after], sound[start:end], sound[after:]))


MISDEEDS: dict[str, Callable[[np.ndarray, int, int], np.ndarray]] = {
    "left out": lambda sound, start, end: np.concatenate((sound[:start], sound[end:])),
    "played twice": lambda sound, start, end: np.concatenate((sound[:end], sound[start:])),
    "played after the next": _swapped,
    "half as loud": lambda sound, start, end: _scaled(sound, start, end, 0.5),
    "faded out": lambda sound, start, end: _scaled(
        sound, start, end, np.linspace(1, 0, end - start)
    ),
    "silenced": lambda sound, start, end: _scaled(sound, start, end, 0.0),
    "played slower": _slower,
    "cut short": lambda sound, start, end: np.concatenate(
        (sound[: (start + end) // 2], sound[end:])
    ),
    "broken by silence": lambda sound, start, end: np.concatenate(
        (sound[: (start + end) // 2], np.zeros(480), sound[(start + end) // 2 :])
    ),
}
"""What can be done to a frame that sounds from one sample to another."""
