"""A moq-rs publisher that calls: its broadcast is there before anybody can ask for it."""

import argparse
import asyncio

import moq

from interop.payload import digest
from interop.peers.moqrs.speech import client_parser, connected, emit, main, told_to_leave, watched
from interop.peers.moqrs.tone import PACKET_US, encode_tone


def _options() -> argparse.Namespace:
    made = client_parser("publish one speech, once it is asked for; stay until stdin ends")
    made.add_argument("broadcast")
    made.add_argument("--tone", type=float, default=440.0, metavar="HZ")
    made.add_argument("--duration-ms", type=int, default=1000)
    made.add_argument("--pace", type=float, default=4.0, help="multiple of real time")
    return made.parse_args()


async def _speak(media: moq.MediaProducer, packets: list[bytes], pace: float) -> None:
    await media.demand().used()
    emit("used")
    for index, packet in enumerate(packets):
        media.write_frame(packet, index * PACKET_US)
        emit("packet", index=index, size=len(packet), sha256=digest(packet))
        await asyncio.sleep(PACKET_US / 1e6 / pace)
    media.finish()
    emit("written", packets=len(packets))
    await told_to_leave()


async def _run(args: argparse.Namespace) -> None:
    head, packets = await encode_tone(args.tone, args.duration_ms)
    origin = moq.OriginProducer()
    broadcast = origin.create_broadcast(args.broadcast)
    media = broadcast.publish_audio(moq.AudioFormat.OPUS, head, track="audio")
    broadcast.announce()
    async with connected(args, publish=origin) as client:
        await watched(client, _speak(media, packets, args.pace))
        broadcast.close()
    emit("done")


if __name__ == "__main__":
    options = _options()
    main(options, lambda: _run(options))
