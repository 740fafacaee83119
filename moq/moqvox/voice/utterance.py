"""One utterance or response on its way in: frames arrive, PCM and packets come out."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

import msgspec

from moqvox.errors import MediaError
from moqvox.media.codec import Decoder
from moqvox.media.container import decode_legacy
from moqvox.media.opus import SAMPLE_RATE, SAMPLE_RATES, packet_duration_us
from moqvox.media.resample import Resampler
from moqvox.voice.digest import Tally
from moqvox.voice.words import Receipt

__all__ = ["Packet", "Utterance"]

MAX_BYTES: Final = 64 * 1024 * 1024
"""Most audio kept of one utterance; past it the oldest packets already read are let go."""


class Packet(msgspec.Struct, frozen=True, gc=False):
    """One Opus packet of an utterance.

    Attributes:
        timestamp_us: media time of its first sample.
        arrived: when it came, seconds on the event loop's clock.
    """

    timestamp_us: int
    duration_us: int
    opus: bytes
    arrived: float


class Utterance:
    """A speech as it arrives; readable from its first frame on, by any number of readers.

    Attributes:
        number: the group's sequence, by which both sides name it.
        packets: all that arrived, in order.
        ended: the sender's end came.
        cancelled: the sender took it back; readers end at once.
        taken_back: the same, to wait for.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.packets: list[Packet] = []
        self.ended = False
        self.cancelled = False
        self.taken_back = asyncio.Event()
        self.tally = Tally()
        self._changed = asyncio.Event()
        self._bytes = 0

    @property
    def over(self) -> bool:
        """Whether nothing more will come."""
        return self.ended or self.cancelled

    @property
    def duration_us(self) -> int:
        """Audio arrived so far."""
        return self.tally.duration_us

    def add(self, payload: bytes, now: float) -> Packet | None:
        """Take one frame; None for an end marker or past the bound on what is kept.

        Raises:
            MediaError: it holds no timestamped Opus.
        """
        frame = decode_legacy(payload)
        if frame.is_end:
            return None
        if self._bytes + len(payload) > MAX_BYTES:
            raise MediaError(f"utterance of more than {MAX_BYTES} bytes")
        duration_us = packet_duration_us(frame.payload)
        packet = Packet(frame.timestamp_us, duration_us, frame.payload, now)
        self._bytes += len(payload)
        self.packets.append(packet)
        self.tally.add(payload, duration_us)
        self.tally.arrived(frame.timestamp_us, now)
        self._wake()
        return packet

    def finish(self) -> None:
        """Note that all of it is here."""
        self.ended = True
        self._wake()

    def cancel(self) -> None:
        """Note that the sender took it back, which may come after its end."""
        self.cancelled = True
        self.taken_back.set()
        self._wake()

    def receipt(self) -> Receipt:
        """Tell what arrived."""
        return self.tally.receipt(self.number, complete=self.ended)

    async def opus(self) -> AsyncIterator[Packet]:
        """Read the packets from the first on, as they arrive."""
        at = 0
        while True:
            while at < len(self.packets) and not self.cancelled:
                yield self.packets[at]
                at += 1
            if self.over:
                return
            await self._changed.wait()

    async def pcm(self, sample_rate: int = 16_000, channels: int = 1) -> AsyncIterator[bytes]:
        """Decode to s16le PCM as it arrives, a chunk for each packet."""
        codec_rate = sample_rate if sample_rate in SAMPLE_RATES else SAMPLE_RATE
        decoder = Decoder(codec_rate, channels)
        resampler = (
            Resampler(codec_rate, sample_rate, channels) if codec_rate != sample_rate else None
        )
        async for packet in self.opus():
            pcm = decoder.decode(packet.opus)
            yield pcm if resampler is None else resampler.push(pcm)
        if resampler is not None:
            yield resampler.flush()

    async def wait_over(self) -> None:
        """Wait until nothing more will come."""
        while not self.over:
            await self._changed.wait()

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
