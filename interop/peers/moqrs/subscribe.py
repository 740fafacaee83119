"""A moq-rs subscriber that accounts for every frame of one track."""

import argparse
import asyncio

import moq

from interop.payload import digest, generation_of
from interop.peers.moqrs.speech import client_parser, connected, emit, explain, main, watched


def _options() -> argparse.Namespace:
    made = client_parser("subscribe to one track until it ends")
    made.add_argument("broadcast")
    made.add_argument("--track", default="data")
    made.add_argument("--max-age-ms", type=int, default=60_000)
    # From 0, not from the latest: a moq-rs publisher is told that it is used when its track's
    # facts are asked for, so that its second group may be there before the subscription is.
    made.add_argument("--from-group", type=int, default=0)
    made.add_argument("--latest", dest="from_group", action="store_const", const=None)
    made.add_argument("--groups", type=int, help="stop after so many, not at the track's end")
    made.add_argument("--request", action="store_true", help="ask at once, announced or not")
    return made.parse_args()


async def read_group(group: moq.GroupConsumer) -> None:
    """Report each frame of a group, then whether the group was complete."""
    count = 0
    try:
        async for frame in group:
            emit(
                "frame",
                group=group.sequence,
                index=count,
                size=len(frame.payload),
                sha256=digest(frame.payload),
                timestamp_us=frame.timestamp_us,
                generation=generation_of(frame.payload),
            )
            count += 1
    except moq.Error as exc:
        emit("group_failed", group=group.sequence, frames=count, **explain(exc))
    else:
        emit("group", group=group.sequence, frames=count)


async def read_track(track: moq.TrackConsumer, limit: int | None = None) -> int:
    """Read all groups, or `limit` of them, each as it comes; returns how many there were."""
    groups = 0
    async with asyncio.TaskGroup() as reading:
        while groups != limit and (group := await track.recv_group()) is not None:
            groups += 1
            reading.create_task(read_group(group))
    return groups


async def find(client: moq.Client, args: argparse.Namespace) -> moq.BroadcastConsumer:
    """Wait for the broadcast to be announced, or demand it at once."""
    if args.request:
        return await client.request_broadcast(args.broadcast)
    broadcast = await client.announced_broadcast(args.broadcast).available()
    emit("available", broadcast=args.broadcast)
    return broadcast


async def _subscribe(client: moq.Client, args: argparse.Namespace) -> None:
    broadcast = await find(client, args)
    wanted = moq.Subscription(max_age_us=args.max_age_ms * 1000, group_start=args.from_group)
    track = await broadcast.subscribe_track(args.track, wanted)
    info = track.info()
    emit("subscribed", priority=info.priority, timescale=info.timescale, max_age_us=info.max_age_us)
    groups = await read_track(track, args.groups)
    emit("done", groups=groups)


async def _run(args: argparse.Namespace) -> None:
    async with connected(args) as client:
        await watched(client, _subscribe(client, args))


if __name__ == "__main__":
    options = _options()
    main(options, lambda: _run(options))
