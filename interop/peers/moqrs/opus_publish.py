"""A moq-rs publisher of an Opus tone, with the catalog that moq-rs writes."""

import argparse
import asyncio
import base64
import json
from pathlib import Path

import moq

from interop.payload import digest
from interop.peers.moqrs.speech import client_parser, connected, emit, main, told_to_leave, watched
from interop.peers.moqrs.tone import PACKET_US, encode_tone, open_encoder, write_tone


def _options() -> argparse.Namespace:
    made = client_parser("publish a tone, once somebody listens; stay until stdin ends")
    made.add_argument("broadcast")
    made.add_argument("--track", default="audio")
    made.add_argument("--tone", type=float, default=440.0, metavar="HZ")
    made.add_argument("--duration-ms", type=int, default=2000)
    made.add_argument("--group-packets", type=int, default=1, help="packets in each group")
    made.add_argument("--pace", type=float, default=1.0, help="multiple of real time")
    made.add_argument("--recipe", type=Path, help="what opus_encode printed, instead of a tone")
    made.add_argument("--live", action="store_true", help="let moq-rs encode as it goes")
    return made.parse_args()


async def _write_packets(
    broadcast: moq.BroadcastProducer, head: bytes, packets: list[bytes], args: argparse.Namespace
) -> None:
    media = broadcast.publish_audio(moq.AudioFormat.OPUS, head, track=args.track)
    broadcast.announce()
    emit("announced", broadcast=args.broadcast, track=media.name)
    await media.demand().used()
    emit("used")
    for index, packet in enumerate(packets):
        media.write_frame(packet, index * PACKET_US)
        emit(
            "packet",
            index=index,
            size=len(packet),
            sha256=digest(packet),
            timestamp_us=index * PACKET_US,
        )
        if (index + 1) % args.group_packets == 0:
            media.cut()
        await asyncio.sleep(PACKET_US / 1e6 / args.pace)
    media.finish()
    emit("written", packets=len(packets), duration_ms=len(packets) * PACKET_US // 1000)


async def _write_live(broadcast: moq.BroadcastProducer, args: argparse.Namespace) -> None:
    encoder = open_encoder(broadcast, args.track)
    broadcast.announce()
    emit("announced", broadcast=args.broadcast, track=encoder.name)
    await encoder.used()
    emit("used")
    for packet in range(args.duration_ms * 1000 // PACKET_US):
        write_tone(encoder, args.tone, packet)
        await asyncio.sleep(PACKET_US / 1e6 / args.pace)
    encoder.finish()
    emit("written", duration_ms=args.duration_ms)


def _read_recipe(file: Path) -> tuple[bytes, list[bytes]]:
    events = [json.loads(line) for line in file.read_text().splitlines()]

    def data(name: str) -> list[bytes]:
        return [base64.b64decode(event["data"]) for event in events if event["event"] == name]

    return data("head")[0], data("packet")


async def _publish(client: moq.Client, args: argparse.Namespace) -> None:
    broadcast = client.create_broadcast(args.broadcast)
    if args.live:
        await _write_live(broadcast, args)
    else:
        if args.recipe:
            head, packets = _read_recipe(args.recipe)
        else:
            head, packets = await encode_tone(args.tone, args.duration_ms)
        await _write_packets(broadcast, head, packets, args)
    await told_to_leave()
    broadcast.close()
    emit("done")


async def _run(args: argparse.Namespace) -> None:
    async with connected(args) as client:
        await watched(client, _publish(client, args))


if __name__ == "__main__":
    options = _options()
    main(options, lambda: _run(options))
