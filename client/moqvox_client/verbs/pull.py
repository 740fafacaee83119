"""`moqvox pull`: subscribe to a broadcast's audio."""

import asyncio
import contextlib
import hashlib
from collections.abc import Callable
from contextlib import ExitStack, closing
from typing import Annotated, Final

import msgspec

from moqvox.driver.scope import scope
from moqvox.errors import NotFound, Refused, StreamCode, StreamEnded
from moqvox.frame import Subscription
from moqvox.media.catalog import CATALOG_TRACK, AudioRendition, Catalog, CatalogReader
from moqvox.media.container import ContainerKind, MediaFrame, decode_frame
from moqvox.media.opus import packet_duration_us
from moqvox.model import broadcast, group
from moqvox.model.in_order import InOrder
from moqvox.model.origin import Origin
from moqvox_client.errors import Failed, UsageError
from moqvox_client.flags import Also, TraceFile
from moqvox_client.kinds import Duration, Url
from moqvox_client.legs import Legs, standing
from moqvox_client.listening import Speaking
from moqvox_client.options import Argument, Flag
from moqvox_client.output import Output
from moqvox_client.reach import Reaching
from moqvox_client.sink import Container, FileSink, check_sink, open_sink
from moqvox_client.trace import Moment, Trace

__all__ = ["EXAMPLES", "Options", "run"]

EXAMPLES: Final = """
moqvox pull https://localhost:4443/ alice.hang --out alice.ogg
moqvox pull moqt://localhost:4443 alice.hang --out - | ffplay -
moqvox pull moqt://localhost:4443 alice.hang --speaker
"""

BREATHER: Final = 0.1
"""Seconds between two looks at a broadcast that begins anew."""


class Options(Reaching, frozen=True, kw_only=True):
    """What to read, and where it goes."""

    url: Annotated[Url, Argument("the relay or server")]
    broadcast: Annotated[str, Argument("name of the broadcast")]
    out: Annotated[str | None, Flag("file (.ogg .opus .wav .pcm), or - for stdout")] = None
    format: Annotated[Container | None, Flag("what to write, if the file's name does not say")] = (
        None
    )
    speaker: Annotated[bool, Flag("play it, by its timestamps")] = False
    track: Annotated[str | None, Flag("track to read; the catalog's first Opus if not given")] = (
        None
    )
    max_age: Annotated[Duration, Flag("how old audio may be, and how much history to ask for")] = (
        600.0
    )
    duration: Annotated[Duration | None, Flag("stop after this much audio")] = None
    also: Also = ()
    trace: TraceFile = None


class Totals(msgspec.Struct):
    """What came."""

    frames: int = 0
    bytes: int = 0
    groups: int = 0
    media_us: int = 0
    lost_groups: int = 0
    digest: str = ""


class Reading:
    """Puts groups in order and their frames into the sinks."""

    def __init__(
        self, options: Options, output: Output, trace: Trace, speaker: Speaking | None
    ) -> None:
        self.totals = Totals()
        self._limit_us = None if options.duration is None else int(1e6 * options.duration)
        self._output = output
        self._trace = trace
        self._sink: FileSink | None = None
        self._options = options
        self._speaker = speaker
        self._digest = hashlib.sha256()

    def open(self) -> None:
        """Make the file, now that there is something to write; once is enough."""
        if self._options.out is not None and self._sink is None:
            self._sink = open_sink(self._options.out, self._options.format)

    @property
    def full(self) -> bool:
        """Whether the asked-for duration is reached."""
        return self._limit_us is not None and self.totals.media_us >= self._limit_us

    async def read(self, reader: group.Consumer, kind: ContainerKind) -> None:
        """Take one group, whole or as far as it goes."""
        self.totals.groups += 1
        try:
            async for frame in reader:
                if self.full:
                    return
                media = decode_frame(kind, frame.payload)
                if not media.is_end:
                    self._take(media, reader.sequence)
        except StreamEnded:
            self.totals.lost_groups += 1
        finally:
            reader.close()

    def _take(self, media: MediaFrame, sequence: int) -> None:
        totals, size = self.totals, len(media.payload)
        self._trace.frame(
            Moment.RECEIVED, timestamp_us=media.timestamp_us, size_bytes=size, group=sequence
        )
        totals.frames += 1
        totals.bytes += size
        totals.media_us += packet_duration_us(media.payload)
        self._digest.update(media.payload)
        if self._sink is not None:
            self._sink.write(media.payload)
        if self._speaker is not None:
            self._speaker.push(media)
        self._output.progress(f"{totals.media_us / 1e6:.1f} s received")

    def close(self) -> None:
        """Complete the file; the speaker plays the rest."""
        self.totals.digest = self._digest.hexdigest()
        if self._speaker is not None:
            self._speaker.end()
        if self._sink is not None:
            self._sink.close()


async def run(options: Options, output: Output) -> int:
    """Read until the broadcast ends."""
    if options.out is None and not options.speaker:
        raise UsageError("say where the audio goes: --out FILE, --out - or --speaker")
    if options.out == "-" and output.json:
        raise UsageError("--json and --out - both want stdout; write to a file")
    if options.out is not None:
        check_sink(options.out, options.format)
    with ExitStack() as held:
        speaker = held.enter_context(closing(Speaking())) if options.speaker else None
        trace = held.enter_context(Trace(options.trace))
        reading = Reading(options, output, trace, speaker)
        async with scope() as tasks:
            if speaker is not None:
                tasks.create_task(speaker.play(), name="speaker")
            try:
                await _connected(options, reading, output)
            finally:
                reading.close()
    totals = reading.totals
    output.clear_progress()
    if options.out != "-":
        output.text(
            f"received {totals.media_us / 1e6:.2f} s in {totals.frames} frames, "
            f"sha256 {totals.digest[:16]}"
        )
        if totals.lost_groups:
            output.text(f"{totals.lost_groups} groups did not come whole")
    output.done(**msgspec.structs.asdict(totals))
    return 0


async def _connected(options: Options, reading: Reading, output: Output) -> None:
    origin = Origin()
    async with standing((options.url, *options.also), options, output, consume=origin) as legs:
        try:
            await _follow(options, origin, legs, reading, output)
        except (StreamEnded, Refused) as exc:
            if legs.driver.closed:
                raise await legs.gone() from exc
            if legs.moves and exc.code == StreamCode.SESSION_CLOSED:
                raise Failed("the broadcast did not go on where its server asked to move") from exc
            if isinstance(exc, StreamEnded):
                raise Failed(f"the track ended early: {exc}") from exc
            raise


async def _follow(
    options: Options, origin: Origin, legs: Legs, reading: Reading, output: Output
) -> None:
    """Read the broadcast; one that begins anew before anything was heard of it is met again.

    Browsers do that: they announce, ask for the microphone, and start over when they have it.
    """
    now = asyncio.get_running_loop().time
    deadline = now() + options.timeout
    while True:
        source = await _find(options, origin, legs)
        try:
            await _read(options, source, reading, output)
        except (StreamEnded, Refused) as exc:
            is_gone = origin.get(options.broadcast) is not source
            begins_anew = is_gone or exc.code == StreamCode.INTERNAL
            if reading.totals.frames or legs.driver.closed or not begins_anew or now() > deadline:
                raise
            await asyncio.sleep(BREATHER)
        else:
            return


async def _read(
    options: Options, source: broadcast.Consumer, reading: Reading, output: Output
) -> None:
    name, kind = await _choose(options, source, output)
    tracks = await source.subscribe(
        name, Subscription(priority=80, ordered=True, max_age_ms=int(1000 * options.max_age))
    )
    output.event("subscribed", track=name, container=kind.value)
    reading.open()
    groups = InOrder(tracks)
    try:
        async for reader in groups:
            await reading.read(reader, kind)
            if reading.full:
                break
    finally:
        tracks.close()
        reading.totals.lost_groups += groups.lost


async def _find(options: Options, origin: Origin, legs: Legs) -> broadcast.Consumer:
    """Wait for the broadcast to be announced, or the session to end."""
    async with scope() as tasks:
        finding = tasks.create_task(origin.wait(options.broadcast), name="find")
        ending = tasks.create_task(legs.wait_closed(), name="ending")
        await asyncio.wait(
            [finding, ending], timeout=options.timeout, return_when=asyncio.FIRST_COMPLETED
        )
        finding.cancel()
        ending.cancel()
    if finding.done() and not finding.cancelled():
        return finding.result()
    if legs.closed:
        raise await legs.gone()
    raise NotFound(f"no broadcast {options.broadcast!r} was announced in {options.timeout:g} s")


async def _choose(
    options: Options, source: broadcast.Consumer, output: Output
) -> tuple[str, ContainerKind]:
    """Pick the track, from the catalog unless it was named."""
    named = options.track is not None
    catalog = await _catalog(source, options.timeout, lambda it: named or it.first_opus())
    if catalog is None:
        if options.track is None:
            raise Failed("the broadcast has no catalog.json; name a track with --track")
        return options.track, ContainerKind.LEGACY
    rendition: AudioRendition | None
    if options.track is None:
        first = catalog.first_opus()
        if first is None:
            raise Failed("the catalog has no Opus audio that can be read")
        name, rendition = first
    else:
        name = options.track
        rendition = catalog.audio.get(name)
    kind = (rendition.container_kind if rendition is not None else None) or ContainerKind.LEGACY
    facts: dict[str, object] = {}
    if rendition is not None:
        facts = {
            "codec": rendition.codec,
            "sample_rate": rendition.sample_rate,
            "channels": rendition.number_of_channels,
        }
    output.event("catalog", track=name, **facts, renditions=sorted(catalog.audio))
    return name, kind


async def _catalog(
    source: broadcast.Consumer, patience: float, enough: Callable[[Catalog], object]
) -> Catalog | None:
    """Read catalogs until one is enough; then that, or the last, and None if there is no track.

    A publisher may announce itself before its microphone is open: its first catalog is empty.
    """
    last: Catalog | None = None
    try:
        async with asyncio.timeout(patience):
            tracks = await source.subscribe(CATALOG_TRACK, Subscription(priority=100))
            try:
                async for reader in tracks:
                    catalogs = CatalogReader()
                    catalogs.start()
                    with contextlib.suppress(StreamEnded):  # the next one replaces it
                        async for frame in reader:
                            last = catalogs.push(frame.payload)
                            if enough(last):
                                return last
            finally:
                tracks.close()
    except NotFound:
        if source.closed:
            raise
        return None
    except TimeoutError:
        if last is None:
            raise Failed(f"no catalog came within {patience:g} s") from None
    return last
