"""Plays frames on the speaker, by their timestamps."""

import asyncio
from typing import Final

from moqvox.media.codec import Decoder
from moqvox.media.container import MediaFrame
from moqvox.media.decision import CatchUp, Policy, State
from moqvox.media.opus import SAMPLE_RATE
from moqvox.media.player import Decode, Player
from moqvox_client.sink import Speaker

__all__ = ["Speaking"]

TICK: Final = 0.02
MAX_BEHIND: Final = 0.5
ITEM: Final = 0


class Speaking:
    """A live track on the default output device."""

    def __init__(self) -> None:
        self._speaker = Speaker()
        self._player = Player(SAMPLE_RATE, self._decoder, policy=Policy(catch_up=CatchUp.LIVE))
        self._player.open(ITEM)

    def push(self, media: MediaFrame) -> None:
        """Take a frame; what is over the player's bound is left out."""
        self._player.push_packet(ITEM, media.timestamp_us, media.payload, _now_us())

    async def play(self) -> None:
        """Render in real time until the track was heard to its end."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        samples = round(SAMPLE_RATE * TICK)
        while True:
            if loop.time() - due > MAX_BEHIND:
                due = loop.time()
            self._speaker.play(self._player.render(samples, int(1e6 * due)))
            if self._player.stats(int(1e6 * due)).state is State.IDLE:
                return
            due += TICK
            await asyncio.sleep(max(0.0, due - loop.time()))

    def end(self) -> None:
        """No more frames come."""
        self._player.end(ITEM)

    def close(self) -> None:
        """Stop the device."""
        self._speaker.close()

    @staticmethod
    def _decoder() -> Decode:
        return Decoder(SAMPLE_RATE, 1).decode


def _now_us() -> int:
    return int(1e6 * asyncio.get_running_loop().time())
