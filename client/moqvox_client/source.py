"""Where audio comes from: files, pipes, a tone, a microphone; Opus packets out.

Ogg-Opus is passed on packet by packet, without transcoding; everything else is encoded.
"""

import asyncio
import math
from array import array
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from typing import Final

import msgspec

from moqvox.media import ogg, wav
from moqvox.media.codec import Encoder, StreamEncoder
from moqvox.media.opus import SAMPLE_RATE, SAMPLE_RATES, packet_duration_us
from moqvox.media.resample import Resampler, to_mono
from moqvox_client.errors import Failed
from moqvox_client.pieces import STDIN, read_pieces
from moqvox_client.trace import monotonic_ns

__all__ = [
    "BITRATE",
    "Chunk",
    "from_file",
    "from_microphone",
    "from_packets",
    "from_text",
    "from_tone",
    "paced",
]

MAGIC_BYTES: Final = 4
FRAME_MS: Final = 20
BITRATE: Final = 24_000
MIC_BACKLOG: Final = 250
"""Frames of a microphone that wait to be sent (five seconds); then the oldest go."""


class Chunk(msgspec.Struct, frozen=True, gc=False):
    """One Opus packet; `captured_ns` is when its last sample was there (CLOCK_MONOTONIC)."""

    packet: bytes
    duration_us: int
    captured_ns: int


class Encoding:
    """PCM in pieces of any size to Opus packets of 20 ms, mono."""

    def __init__(self, sample_rate: int, channels: int, bitrate: int) -> None:
        self._channels = channels
        codec_rate = sample_rate if sample_rate in SAMPLE_RATES else SAMPLE_RATE
        self._resampler = Resampler(sample_rate, codec_rate) if codec_rate != sample_rate else None
        self._encoder = StreamEncoder(Encoder(codec_rate, 1, bitrate, FRAME_MS))

    def push(self, pcm: bytes) -> list[Chunk]:
        """Encode what makes whole frames."""
        mono = pcm if self._channels == 1 else to_mono(pcm, self._channels)
        pcm = mono if self._resampler is None else self._resampler.push(mono)
        return [_chunk(packet) for packet in self._encoder.push(pcm)]

    def finish(self) -> list[Chunk]:
        """Encode the rest, padded with silence to a whole frame."""
        packets = [] if self._resampler is None else self._encoder.push(self._resampler.flush())
        last, _padding = self._encoder.flush()
        return [_chunk(packet) for packet in packets + last]


def _chunk(packet: bytes) -> Chunk:
    return Chunk(packet, 1000 * FRAME_MS, monotonic_ns())


async def from_file(
    name: str, *, bitrate: int, raw_rate: int, raw_channels: int
) -> AsyncIterator[Chunk]:
    """Read a WAV, Ogg-Opus or raw PCM file, or `-` for stdin; its first bytes tell which.

    Raises:
        Failed: missing, unreadable, or not audio.
        MediaError: damaged.
    """
    async with aclosing(read_pieces(name)) as pieces:
        first = b""
        async for piece in pieces:
            first += piece
            if len(first) >= MAGIC_BYTES:
                break
        if not first:
            raise Failed(f"{name}: empty")
        data = _again(first, pieces)
        if first.startswith(b"OggS"):
            chunks = _from_ogg(data)
        elif first.startswith(b"RIFF"):
            chunks = _from_wav(data, bitrate)
        elif name == STDIN or name.endswith((".raw", ".pcm", ".s16")):
            chunks = _from_raw(data, Encoding(raw_rate, raw_channels, bitrate), 2 * raw_channels)
        else:
            raise Failed(f"{name}: neither WAV nor Ogg-Opus (raw PCM is named .raw, .pcm or -)")
        async for chunk in chunks:
            yield chunk


async def from_tone(
    frequency: float, duration: float | None, *, bitrate: int
) -> AsyncIterator[Chunk]:
    """Make a sine tone at half scale; without a duration it never ends."""
    encoding = Encoding(SAMPLE_RATE, 1, bitrate)
    samples = SAMPLE_RATE * FRAME_MS // 1000
    total = None if duration is None else round(duration * SAMPLE_RATE)
    at = 0
    step = 2 * math.pi * frequency / SAMPLE_RATE
    while total is None or at < total:
        count = samples if total is None else min(samples, total - at)
        pcm = array("h", (int(16384 * math.sin(step * n)) for n in range(at, at + count)))
        at += count
        for chunk in encoding.push(pcm.tobytes()):
            yield chunk
    for chunk in encoding.finish():
        yield chunk


async def from_microphone(*, bitrate: int) -> AsyncIterator[Chunk]:
    """Capture the default input device until cancelled.

    Raises:
        Failed: the `mic` extra or a device is missing.
    """
    try:
        import sounddevice  # the optional extra `mic`
    except (ImportError, OSError) as exc:
        raise Failed(
            f"no microphone: {exc}; pip install 'moqvox[mic]' and, on Debian, libportaudio2"
        ) from exc
    loop = asyncio.get_running_loop()
    captured: asyncio.Queue[bytes] = asyncio.Queue(MIC_BACKLOG)

    def keep(pcm: bytes) -> None:
        if captured.full():
            captured.get_nowait()
        captured.put_nowait(pcm)

    def take(data: object, *_rest: object) -> None:
        loop.call_soon_threadsafe(keep, bytes(data))  # type: ignore[call-overload]  # a buffer

    encoding = Encoding(SAMPLE_RATE, 1, bitrate)
    block = SAMPLE_RATE * FRAME_MS // 1000
    try:
        microphone = sounddevice.RawInputStream(
            samplerate=SAMPLE_RATE, channels=1, dtype="int16", blocksize=block, callback=take
        )
    except sounddevice.PortAudioError as exc:
        raise Failed(f"no microphone: {exc}") from exc
    with microphone:
        while True:
            for chunk in encoding.push(await captured.get()):
                yield chunk


async def paced(chunks: AsyncIterator[Chunk]) -> AsyncIterator[Chunk]:
    """Give each packet out when its last sample would have been spoken."""
    loop = asyncio.get_running_loop()
    due = loop.time()
    async for chunk in chunks:
        due += chunk.duration_us / 1e6
        await asyncio.sleep(max(0.0, due - loop.time()))
        yield msgspec.structs.replace(chunk, captured_ns=monotonic_ns())


async def _again(first: bytes, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Give out what was looked at already, then the rest."""
    yield first
    async for piece in pieces:
        yield piece


async def _from_ogg(data: AsyncIterator[bytes]) -> AsyncIterator[Chunk]:
    reader = ogg.Reader()
    async for piece in data:
        for packet in reader.push(piece):
            duration_us = packet.samples * 1_000_000 // SAMPLE_RATE
            yield Chunk(packet.payload, duration_us, monotonic_ns())
    reader.finish()


async def _from_wav(data: AsyncIterator[bytes], bitrate: int) -> AsyncIterator[Chunk]:
    reader = wav.Reader()
    encoding: Encoding | None = None
    async for piece in data:
        pcm = reader.push(piece)
        if encoding is None and reader.format is not None:
            encoding = Encoding(reader.format.sample_rate, reader.format.channels, bitrate)
        if encoding is not None:
            for chunk in encoding.push(pcm):
                yield chunk
    reader.finish()
    if encoding is not None:
        for chunk in encoding.finish():
            yield chunk


async def _from_raw(
    data: AsyncIterator[bytes], encoding: Encoding, sample_bytes: int
) -> AsyncIterator[Chunk]:
    rest = b""
    async for piece in data:
        rest += piece
        whole = len(rest) - len(rest) % sample_bytes
        for chunk in encoding.push(rest[:whole]):
            yield chunk
        rest = rest[whole:]
    for chunk in encoding.finish():
        yield chunk


async def from_packets(packets: Sequence[bytes]) -> AsyncIterator[Chunk]:
    """Give out Opus packets that are all there."""
    for packet in packets:
        yield Chunk(packet, packet_duration_us(packet), monotonic_ns())


async def from_text(text: str, *, bitrate: int) -> AsyncIterator[Chunk]:
    """Speak a text with the demo extra's voice.

    Raises:
        Failed: the extra is missing.
    """
    from moqvox_client.speech import tts  # the optional extra `demo`

    encoding: Encoding | None = None
    async for piece in tts.speak(text):
        encoding = encoding or Encoding(piece.sample_rate, 1, bitrate)
        for chunk in encoding.push(piece.pcm):
            yield chunk
    if encoding is not None:
        for chunk in encoding.finish():
            yield chunk
