"""A moq-rs listener: reads the catalog, then every packet, and decodes them to PCM."""

import argparse
import asyncio
from pathlib import Path

import moq

from interop.payload import digest
from interop.peers.moqrs.catalog import show
from interop.peers.moqrs.speech import client_parser, connected, emit, main, watched
from interop.peers.moqrs.subscribe import find
from interop.peers.moqrs.tone import SAMPLE_RATE

MAX_AGE_US = 60_000_000


def _options() -> argparse.Namespace:
    made = client_parser("listen to the first audio rendition until it ends")
    made.add_argument("broadcast")
    made.add_argument("--request", action="store_true", help="ask at once, announced or not")
    made.add_argument("--pcm", type=Path, help="write 48 kHz mono s16 here")
    return made.parse_args()


async def _packets(broadcast: moq.BroadcastConsumer, name: str, audio: moq.Audio) -> None:
    wanted = moq.Subscription(max_age_us=MAX_AGE_US)
    media = await broadcast.subscribe_media(name, audio, wanted)
    emit("subscribed", track=name)
    count = 0
    async for frame in media:
        emit(
            "packet",
            index=count,
            size=len(frame.payload),
            sha256=digest(frame.payload),
            timestamp_us=frame.timestamp_us,
        )
        count += 1
    emit("packets", packets=count)


async def _decode(
    broadcast: moq.BroadcastConsumer, name: str, audio: moq.Audio, file: Path
) -> None:
    output = moq.AudioDecoderOutput(
        format=moq.AudioSampleFormat.S16,
        sample_rate=SAMPLE_RATE,
        channels=1,
        max_age_us=MAX_AGE_US,
    )
    decoded = await broadcast.decode_audio(name, audio, output)
    samples = 0
    with file.open("wb") as stream:
        async for frame in decoded:
            stream.write(frame.data)
            samples += len(frame.data) // 2
    emit("decoded", samples=samples, sample_rate=SAMPLE_RATE)


async def _listen(client: moq.Client, args: argparse.Namespace) -> None:
    broadcast = await find(client, args)
    async for catalog in await broadcast.subscribe_catalog():
        emit("catalog", **show(catalog))
        if catalog.audio:
            break
    else:
        raise LookupError("the catalog ended without an audio rendition")
    name, audio = next(iter(catalog.audio.items()))
    async with asyncio.TaskGroup() as group:
        group.create_task(_packets(broadcast, name, audio))
        if args.pcm:
            group.create_task(_decode(broadcast, name, audio, args.pcm))
    emit("done")


async def _run(args: argparse.Namespace) -> None:
    async with connected(args) as client:
        await watched(client, _listen(client, args))


if __name__ == "__main__":
    options = _options()
    main(options, lambda: _run(options))
