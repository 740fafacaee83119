"""`moqvox push`: publish audio as a broadcast."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Coroutine
from typing import Annotated, Final

import msgspec

from moqvox.driver.scope import scope
from moqvox.frame import Frame, TrackInfo
from moqvox.media.catalog import CATALOG_TRACK, Catalog, opus_rendition
from moqvox.media.container import encode_legacy
from moqvox.model import broadcast, cache, group, track
from moqvox.model.origin import Origin
from moqvox_client import source
from moqvox_client.errors import Failed, UsageError
from moqvox_client.flags import Also, TraceFile
from moqvox_client.kinds import Duration, Url
from moqvox_client.legs import Legs, standing
from moqvox_client.options import Argument, Flag
from moqvox_client.output import Output
from moqvox_client.pieces import check_readable
from moqvox_client.reach import Reaching
from moqvox_client.trace import Moment, Trace

__all__ = ["EXAMPLES", "Options", "run"]

EXAMPLES: Final = """
moqvox push https://localhost:4443/ alice.hang speech.wav
arecord -f S16_LE -r 48000 | moqvox push moqt://localhost:4443 alice.hang -
moqvox push moqt://localhost:4443 tone.hang --tone 440 --duration 10s
moqvox push moqt://localhost:4443 me.hang --mic
"""

TRACK: Final = "audio"
KEEP: Final = cache.Limits(max_groups=4096, max_bytes=32 * 1024 * 1024, max_age=600.0)


class Options(Reaching, frozen=True, kw_only=True):
    """What to publish, where, and how."""

    url: Annotated[Url, Argument("the relay or server")]
    broadcast: Annotated[str, Argument("name to publish under; players expect NAME.hang")]
    source: Annotated[
        str | None, Argument("WAV, Ogg-Opus or raw PCM file; - reads any of them from stdin")
    ] = None
    tone: Annotated[float | None, Flag("publish a sine tone", metavar="HZ", at_least=1)] = None
    duration: Annotated[Duration | None, Flag("how long the tone lasts; for ever if not given")] = (
        None
    )
    mic: Annotated[bool, Flag("publish the default microphone")] = False
    bitrate: Annotated[int, Flag("Opus bits per second", at_least=6000, at_most=510_000)] = 24_000
    rate: Annotated[int, Flag("sample rate of raw PCM", at_least=8000)] = 48_000
    channels: Annotated[int, Flag("channels of raw PCM", at_least=1, at_most=2)] = 1
    group: Annotated[
        Duration, Flag("audio in one group, which is one stream; 0 puts all into one")
    ] = 1.0
    fast: Annotated[bool, Flag("send as fast as it can be read, not at the pace of speech")] = False
    wait: Annotated[
        Duration, Flag("how long readers may take to come, and at the end to take the last bytes")
    ] = 5.0
    also: Also = ()
    trace: TraceFile = None


class Totals(msgspec.Struct):
    """What was published.

    Attributes:
        digest: SHA-256 over the packets, hex; that of `moqvox pull` is the same when all came.
        path_changes: that the connection went through meanwhile.
        moves: to another relay or server, because the one before asked to.
    """

    frames: int = 0
    bytes: int = 0
    groups: int = 0
    media_us: int = 0
    digest: str = ""
    path_changes: int = 0
    moves: int = 0


async def run(options: Options, output: Output) -> int:
    """Publish until the source ends."""
    if options.source is not None:
        check_readable(options.source)
    chunks = _chunks(options)
    origin = Origin()
    producer = broadcast.Producer(limits=KEEP)
    audio = producer.create_track(
        TRACK, TrackInfo(priority=80, ordered=True, max_age_ms=int(1000 * KEEP.max_age))
    )
    catalog = producer.create_track(CATALOG_TRACK, TrackInfo(priority=100))
    _describe(catalog, options.bitrate)
    origin.publish(options.broadcast, producer.consume())
    totals = Totals()
    with Trace(options.trace) as trace:
        urls = (options.url, *options.also)
        async with standing(urls, options, output, publish=origin) as legs:
            asked = _when_asked(audio)
            began = asyncio.get_running_loop().time()
            publishing = _publish(chunks, audio, options, totals, trace, output)
            await _while_connected(legs, publishing)
            audio.finish()
            catalog.finish()
            await _found(legs, asked, began + options.wait)
            await _drained(legs, options.wait)
            totals.path_changes, totals.moves = legs.path_changes, legs.moves
    output.clear_progress()
    output.text(
        f"published {totals.media_us / 1e6:.2f} s in {totals.frames} frames, "
        f"sha256 {totals.digest[:16]}"
    )
    if totals.path_changes:
        output.text(f"went through {totals.path_changes} changes of path")
    output.done(**msgspec.structs.asdict(totals))
    return 0


def _chunks(options: Options) -> AsyncIterator[source.Chunk]:
    given = [options.source is not None, options.tone is not None, options.mic]
    if sum(given) != 1:
        raise UsageError("give one source: a file, -, --tone HZ or --mic")
    if options.mic:
        return source.from_microphone(bitrate=options.bitrate)
    if options.tone is not None:
        chunks = source.from_tone(options.tone, options.duration, bitrate=options.bitrate)
    else:
        chunks = source.from_file(
            options.source or "-",
            bitrate=options.bitrate,
            raw_rate=options.rate,
            raw_channels=options.channels,
        )
    return chunks if options.fast else source.paced(chunks)


async def _publish(
    chunks: AsyncIterator[source.Chunk],
    audio: track.Producer,
    options: Options,
    totals: Totals,
    trace: Trace,
    output: Output,
) -> None:
    writer: group.Producer | None = None
    length_us = int(1e6 * options.group)
    ends_us = 0
    digest = hashlib.sha256()
    async for chunk in chunks:
        if writer is None or (length_us and totals.media_us >= ends_us):
            if writer is not None:
                writer.finish()
            writer = audio.append_group()
            ends_us = totals.media_us + length_us
            totals.groups += 1
        timestamp_us = totals.media_us
        payload = encode_legacy(timestamp_us, chunk.packet)
        trace.frame(
            Moment.CAPTURED,
            timestamp_us=timestamp_us,
            size_bytes=len(chunk.packet),
            ns=chunk.captured_ns,
        )
        writer.write(Frame(payload, timestamp_us))
        trace.frame(Moment.WRITTEN, timestamp_us=timestamp_us, size_bytes=len(chunk.packet))
        totals.frames += 1
        totals.bytes += len(chunk.packet)
        digest.update(chunk.packet)
        totals.media_us += chunk.duration_us
        output.progress(f"{totals.media_us / 1e6:.1f} s published")
    totals.digest = digest.hexdigest()
    if writer is not None:
        writer.finish()


async def _while_connected(legs: Legs, work: Coroutine[object, object, None]) -> None:
    """Run `work`; fail when the session ends before it does."""
    async with scope() as tasks:
        working = tasks.create_task(work, name="publish")
        closing = tasks.create_task(legs.wait_closed(), name="closing")
        await asyncio.wait([working, closing], return_when=asyncio.FIRST_COMPLETED)
        working.cancel()
        closing.cancel()
    if working.cancelled():
        raise await legs.gone()


def _when_asked(audio: track.Producer) -> asyncio.Event:
    """Make an event that is set once somebody reads the track."""
    asked = asyncio.Event()

    def look() -> None:
        if audio.used:
            asked.set()

    audio.wake = look
    return asked


async def _found(legs: Legs, asked: asyncio.Event, until: float) -> None:
    """Give a first reader time to come: a short file is over before anybody could ask."""
    async with scope() as tasks:
        waiting = tasks.create_task(asked.wait(), name="reader")
        closing = tasks.create_task(legs.wait_closed(), name="closing")
        left = max(0.0, until - asyncio.get_running_loop().time())
        await asyncio.wait([waiting, closing], timeout=left, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        closing.cancel()


async def _drained(legs: Legs, patience: float) -> None:
    """Wait until readers have everything: the session is closed only then."""
    try:
        async with asyncio.timeout(patience):
            await legs.wait_served()
    except TimeoutError:
        raise Failed(f"readers had not taken everything {patience:g} s after the end") from None


def _describe(catalog: track.Producer, bitrate: int) -> None:
    writer = catalog.append_group()
    described = Catalog(audio={TRACK: opus_rendition(bitrate=bitrate)})
    writer.write(Frame(described.encode(), 0))
    writer.finish()
