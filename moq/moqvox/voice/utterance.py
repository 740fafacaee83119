"""One utterance or response on its way in: frames arrive, PCM and packets come out."""

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Final

import msgspec

from moqvox.errors import MediaError
from moqvox.media.codec import Decoder
from moqvox.media.container import decode_legacy
from moqvox.media.opus import SAMPLE_RATE, SAMPLE_RATES, packet_duration_us
from moqvox.media.resample import Resampler
from moqvox.model.bell import Bell
from moqvox.voice.digest import Tally
from moqvox.voice.words import Receipt

__all__ = ["Packet", "Utterance"]

log = logging.getLogger("moqvox.voice")

MAX_BYTES: Final = 64 * 1024 * 1024
"""Most that is kept of one utterance, over an hour of speech; past it the utterance ends early."""

MAX_HOLES: Final = 64
"""Holes that one utterance may have; past it it ends early."""

PACKET_BYTES: Final = 256
"""What a kept packet takes beyond its audio."""


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
        size_bytes: what is kept of it, overhead counted.
        is_short: its sender died before all was said.
        missing: frames that will never come, as (first, last) by their place in it.
        resumptions: times it went on over a new leg of the call.
        path_changes: of the connection it came over, meanwhile.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.packets: list[Packet] = []
        self.ended = False
        self.is_short = False
        self.cancelled = False
        self.taken_back = asyncio.Event()
        self.tally = Tally()
        self.size_bytes = 0
        self.missing: list[tuple[int, int]] = []
        self.resumptions = 0
        self.path_changes = 0
        self._changed = Bell()

    @property
    def over(self) -> bool:
        """Whether nothing more will come."""
        return self.ended or self.cancelled

    @property
    def is_whole(self) -> bool:
        """Whether all of it came, from the first frame to the end."""
        return self.ended and not self.missing and not self.is_short

    @property
    def next_frame(self) -> int:
        """Index of the frame that is waited for: all before it came, or are missing."""
        return self.tally.frames + sum(last - first + 1 for first, last in self.missing)

    @property
    def duration_us(self) -> int:
        """Audio arrived so far."""
        return self.tally.duration_us

    def add(self, payload: bytes, now: float) -> Packet | None:
        """Take one frame; None for an end marker.

        Raises:
            MediaError: it holds no timestamped Opus, or is past the bound on what is kept.
        """
        frame = decode_legacy(payload)
        if frame.is_end:
            return None
        size_bytes = len(payload) + PACKET_BYTES
        if self.size_bytes + size_bytes > MAX_BYTES:
            raise MediaError(f"utterance of more than {MAX_BYTES} bytes")
        duration_us = packet_duration_us(frame.payload)
        packet = Packet(frame.timestamp_us, duration_us, frame.payload, now)
        self.size_bytes += size_bytes
        self.packets.append(packet)
        self.tally.add(payload, duration_us)
        self.tally.arrived(frame.timestamp_us, now)
        self._wake()
        return packet

    def miss(self, until: int) -> None:
        """Note that the frames from the next one on will not come, up to `until`, exclusive.

        Raises:
            MediaError: it has too many holes.
        """
        first = self.next_frame
        if self.missing and self.missing[-1][1] == first - 1:
            self.missing[-1] = (self.missing[-1][0], until - 1)
        elif len(self.missing) >= MAX_HOLES:
            raise MediaError(f"utterance with more than {MAX_HOLES} holes")
        else:
            self.missing.append((first, until - 1))

    def finish(self) -> None:
        """Note that its end is here."""
        self.ended = True
        self._wake()

    def cancel(self) -> None:
        """Note that the sender took it back, which may come after its end."""
        self.cancelled = True
        self.taken_back.set()
        self._wake()

    def receipt(self) -> Receipt:
        """Tell what arrived."""
        return msgspec.structs.replace(
            self.tally.receipt(self.number, complete=self.is_whole),
            resumptions=self.resumptions,
            path_changes=self.path_changes,
            missing=tuple(self.missing),
        )

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
        """Decode to s16le PCM as it arrives, a chunk for each packet.

        A packet that does not decode is filled in for as a lost one would be.
        """
        codec_rate = sample_rate if sample_rate in SAMPLE_RATES else SAMPLE_RATE
        decoder = Decoder(codec_rate, channels)
        resampler = (
            Resampler(codec_rate, sample_rate, channels) if codec_rate != sample_rate else None
        )
        async for packet in self.opus():
            try:
                pcm = decoder.decode(packet.opus)
            except MediaError as exc:
                log.warning("utterance %d: %s", self.number, exc)
                pcm = decoder.conceal(packet.duration_us * codec_rate // 1_000_000)
            yield pcm if resampler is None else resampler.push(pcm)
        if resampler is not None:
            yield resampler.flush()

    async def wait_over(self) -> None:
        """Wait until nothing more will come."""
        while not self.over:
            await self._changed.wait()

    def _wake(self) -> None:
        self._changed.ring()
