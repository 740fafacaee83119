"""A moq-rs client that reads a broadcast's catalog, parsed by moq-rs and as it is."""

import argparse
import json

import moq

from interop.peers.moqrs.speech import client_parser, connected, emit, main, watched
from interop.peers.moqrs.subscribe import find

CATALOG_TRACK = "catalog.json"


def _options() -> argparse.Namespace:
    made = client_parser("read the first catalog of a broadcast")
    made.add_argument("broadcast")
    made.add_argument("--request", action="store_true", help="ask at once, announced or not")
    return made.parse_args()


def container_kind(container: moq.Container) -> str:
    """Name a container as the catalog spells it."""
    return type(container).__name__.rpartition(".")[2].lower()


def show(catalog: moq.Catalog) -> dict[str, object]:
    """Turn what moq-rs understood into plain JSON."""
    audio = {
        name: {
            "codec": entry.codec,
            "sample_rate": entry.sample_rate,
            "channels": entry.channel_count,
            "bitrate": entry.bitrate,
            "container": container_kind(entry.container),
            "description": entry.description.hex() if entry.description else None,
        }
        for name, entry in catalog.audio.items()
    }
    return {"audio": audio, "video": sorted(catalog.video), "sections": sorted(catalog.sections)}


async def _read(client: moq.Client, args: argparse.Namespace) -> None:
    broadcast = await find(client, args)
    emit("catalog", **show(await broadcast.catalog()))
    track = await broadcast.subscribe_track(CATALOG_TRACK, moq.Subscription(max_age_us=60_000_000))
    frame = await track.read_frame()
    if frame is None:
        raise LookupError("the catalog track ended without a frame")
    emit("raw", text=frame.payload.decode(), catalog=json.loads(frame.payload))
    emit("done")


async def _run(args: argparse.Namespace) -> None:
    async with connected(args) as client:
        await watched(client, _read(client, args))


if __name__ == "__main__":
    options = _options()
    main(options, lambda: _run(options))
