"""How well and how fast the demo's speech works: python bench/speech.py [--clips DIR].

Recordings: word error rate after Opus at 24 kbit/s (`shipped`: the packets as they are;
`again`: decoded and encoded once more, or for --clips encoded once), the share of real time
that recognition takes when audio comes as fast as it is taken, and milliseconds from the last
audio to the transcript when it comes at the pace of speech. Commands: the same, spoken by the
synthesiser. Synthesis: milliseconds to the first piece, share of real time.
"""

import argparse
import asyncio
import statistics
import time
import wave
from collections.abc import AsyncIterator
from pathlib import Path

from moqvox.media.codec import Decoder, Encoder, StreamEncoder
from moqvox.media.resample import Resampler
from moqvox_client.speech import recordings, replies, tts
from moqvox_client.speech.stt import SAMPLE_RATE, Transcriber
from moqvox_client.speech.wer import WordErrors, compare

FRAME_BYTES = SAMPLE_RATE // 50 * 2

COMMANDS = (
    "what time is it",
    "count to ten",
    "count to twenty five",
    "tell me a joke",
    "tell me about quic",
    "hello there",
    "goodbye",
    "what did i say",
    "what can you do",
    "count to three",
)
OTHER = (
    "the quick brown fox jumps over the lazy dog",
    "my name is alice and i like trains",
    "how is the weather in paris today",
)
VOICES = ("en", "en-us", "en-us+f3", "en-us+klatt4", "en-gb-x-rp")


def over_opus(pcm: bytes) -> bytes:
    encoder = StreamEncoder(Encoder(SAMPLE_RATE, 1, 24_000))
    packets = encoder.push(pcm)
    packets += encoder.flush()[0]
    decoder = Decoder(SAMPLE_RATE)
    return b"".join(decoder.decode(packet) for packet in packets)


class Source:
    """PCM in frames of 20 ms, as fast as they are taken or at the pace of speech."""

    def __init__(self, pcm: bytes, *, paced: bool) -> None:
        self.pcm = pcm
        self.paced = paced
        self.ended = 0.0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        loop = asyncio.get_running_loop()
        due = loop.time()
        for at in range(0, len(self.pcm), FRAME_BYTES):
            due += 0.02
            if self.paced:
                await asyncio.sleep(max(0.0, due - loop.time()))
            yield self.pcm[at : at + FRAME_BYTES]
        self.ended = time.perf_counter()


async def understand(transcriber: Transcriber, pcm: bytes) -> tuple[str, float, float]:
    """Return text, share of real time, and milliseconds after the last audio."""
    source = Source(pcm, paced=False)
    start = time.perf_counter()
    text = await transcriber.transcribe(aiter(source))
    share = (time.perf_counter() - start) / (len(pcm) / 2 / SAMPLE_RATE)
    source = Source(pcm, paced=True)
    await transcriber.transcribe(aiter(source))
    return text, share, 1000 * (time.perf_counter() - source.ended)


def rows_of(folder: Path | None) -> list[tuple[str, str, str, bytes]]:
    """Return name, coding, what is said and PCM of each clip."""
    rows: list[tuple[str, str, str, bytes]] = []
    if folder is None:
        for name, said in recordings.TRANSCRIPTS.items():
            pcm = recordings.recording(name).pcm
            rows += [(name, "shipped", said, pcm), (name, "again", said, over_opus(pcm))]
        return rows
    for text in sorted(folder.glob("*.txt")):
        with wave.open(str(text.with_suffix(".wav"))) as file:
            if file.getframerate() != SAMPLE_RATE or file.getnchannels() != 1:
                raise SystemExit(f"{text.stem}: not 16 kHz mono")
            pcm = file.readframes(file.getnframes())
        rows.append((text.stem, "once", text.read_text("utf-8").strip(), over_opus(pcm)))
    return rows


async def clips(transcriber: Transcriber, rows: list[tuple[str, str, str, bytes]]) -> None:
    total = WordErrors(0, 0)
    for name, coded, said, pcm in rows:
        text, share, final_ms = await understand(transcriber, pcm)
        errors = compare(said, text)
        total += errors
        print(
            f"{name[-16:]:16} {coded:8} {len(pcm) / 2 / SAMPLE_RATE:5.2f} s  "
            f"WER {errors.rate:6.1%} ({errors.errors}/{errors.words})  "
            f"{share:5.2f} of real time  {final_ms:4.0f} ms after  {text}"
        )
    print(f"all: WER {total.rate:.1%} of {total.words} words")


async def spoken(text: str, voice: str) -> bytes:
    resampler: Resampler | None = None
    pcm = b""
    async for piece in tts.speak(text, voice):
        resampler = resampler or Resampler(piece.sample_rate, SAMPLE_RATE)
        pcm += resampler.push(piece.pcm)
    return pcm + (resampler.flush() if resampler else b"")


async def commands(transcriber: Transcriber) -> None:
    for voice in VOICES:
        total = WordErrors(0, 0)
        exact = taken = 0
        for said in COMMANDS:
            pcm = over_opus(await spoken(said, voice))
            errors = compare(said, await transcriber.transcribe(aiter(Source(pcm, paced=False))))
            total += errors
            exact += errors.errors == 0
        for said in OTHER:
            pcm = over_opus(await spoken(said, voice))
            text = await transcriber.transcribe(aiter(Source(pcm, paced=False)))
            taken += text in COMMANDS
        print(
            f"commands, {voice:13} WER {total.rate:6.1%}, {exact}/{len(COMMANDS)} exact; "
            f"{taken}/{len(OTHER)} other sentences taken for a command"
        )


async def synthesis() -> None:
    for name, text in (("count", replies.count_to(10)), ("long speech", replies.ABOUT_QUIC)):
        firsts, shares, seconds = [], [], 0.0
        for _ in range(5):
            start = time.perf_counter()
            first, size = 0.0, 0
            async for piece in tts.speak(text):
                first = first or 1000 * (time.perf_counter() - start)
                size += len(piece.pcm)
            seconds = size / 2 / await tts.voice_rate()
            firsts.append(first)
            shares.append((time.perf_counter() - start) / seconds)
        print(
            f"synthesis, {name:12} {seconds:6.2f} s  first piece {statistics.median(firsts):.1f} ms"
            f"  {statistics.median(shares):.4f} of real time"
        )


async def main(folder: Path | None) -> None:
    with Transcriber() as transcriber:
        start = time.perf_counter()
        await transcriber.warm_up()
        print(f"models loaded in {1000 * (time.perf_counter() - start):.0f} ms")
        await clips(transcriber, rows_of(folder))
        if folder is None:
            await commands(transcriber)
    if folder is None:
        await synthesis()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=Path, help="folder of NAME.wav and NAME.txt")
    asyncio.run(main(parser.parse_args().clips))
