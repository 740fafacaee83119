"""A moq-rs publisher of frames that prove where they belong."""

import argparse
import asyncio

import moq

from interop.payload import digest, frame_payload, frame_timestamp_us
from interop.peers.moqrs.speech import client_parser, commands, connected, emit, main, watched


def _options() -> argparse.Namespace:
    made = client_parser(
        "publish a broadcast; `again` on stdin replaces it by the next generation, "
        "`close` retracts it, the end of stdin closes the session"
    )
    made.add_argument("broadcast")
    made.add_argument("--track", default="data")
    made.add_argument("--groups", type=int, default=6)
    made.add_argument("--frames", type=int, default=16, help="frames in each group")
    made.add_argument("--generation", type=int, default=1)
    made.add_argument("--interval-ms", type=float, default=4.0, help="pause after each frame")
    made.add_argument("--eager", action="store_true", help="write before anyone subscribes")
    made.add_argument("--no-finish", action="store_true", help="leave the track open")
    return made.parse_args()


async def _write_group(track: moq.TrackProducer, generation: int, args: argparse.Namespace) -> None:
    group = track.append_group()
    for index in range(args.frames):
        payload = frame_payload(generation, group.sequence, index)
        at_us = frame_timestamp_us(group.sequence, index, args.frames)
        group.write_frame(payload, at_us)
        emit(
            "frame",
            group=group.sequence,
            index=index,
            size=len(payload),
            sha256=digest(payload),
            timestamp_us=at_us,
        )
        await asyncio.sleep(args.interval_ms / 1000)
    group.finish()
    emit("group", group=group.sequence, frames=args.frames)


async def _publish(
    client: moq.Client, generation: int, args: argparse.Namespace
) -> tuple[moq.BroadcastProducer, moq.TrackProducer]:
    broadcast = client.create_broadcast(args.broadcast)
    track = broadcast.publish_track(args.track, moq.TrackInfo(max_age_us=60_000_000))
    broadcast.announce()
    emit("announced", broadcast=args.broadcast, generation=generation)
    if not args.eager:
        await track.demand().used()
        emit("used", generation=generation)
    for _ in range(args.groups):
        await _write_group(track, generation, args)
    if not args.no_finish:
        track.finish()
    emit("written", generation=generation, groups=args.groups, frames=args.groups * args.frames)
    return broadcast, track


async def _obey(client: moq.Client, args: argparse.Namespace) -> None:
    generation = args.generation
    held = await _publish(client, generation, args)
    async for command in commands():
        held[0].close()
        emit("closed", generation=generation)
        if command == "again":
            generation += 1
            held = await _publish(client, generation, args)
    held[0].close()
    emit("done", generation=generation)


async def _run(args: argparse.Namespace) -> None:
    async with connected(args) as client:
        await watched(client, _obey(client, args))


if __name__ == "__main__":
    options = _options()
    main(options, lambda: _run(options))
