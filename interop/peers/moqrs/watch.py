"""A moq-rs client that watches broadcasts come and go, and reads each as it comes."""

import argparse

import moq

from interop.peers.moqrs.speech import (
    client_parser,
    connected,
    emit,
    explain,
    main,
    until_told_to_leave,
    watched,
)
from interop.peers.moqrs.subscribe import read_track


def _options() -> argparse.Namespace:
    made = client_parser("report announcements under a prefix until stdin ends")
    made.add_argument("--prefix", default="")
    made.add_argument("--track", help="read this track of every broadcast that appears")
    return made.parse_args()


async def _read(client: moq.Client, path: str, track: str) -> None:
    wanted = moq.Subscription(max_age_us=60_000_000)
    try:
        broadcast = await client.request_broadcast(path)
        groups = await read_track(await broadcast.subscribe_track(track, wanted))
    except (moq.Error, ExceptionGroup) as exc:
        emit("track_failed", broadcast=path, **explain(exc))
    else:
        emit("track_ended", broadcast=path, groups=groups)


async def _watch(client: moq.Client, args: argparse.Namespace) -> None:
    async with until_told_to_leave() as reading:

        async def follow() -> None:
            async for update in client.announced(args.prefix):
                hops, cost = update.route.hops, update.route.cost
                emit("announce", path=update.prefix, active=update.active, hops=hops, cost=cost)
                if update.active and args.track:
                    reading.create_task(_read(client, update.prefix, args.track))

        reading.create_task(follow())
    emit("done")


async def _run(args: argparse.Namespace) -> None:
    async with connected(args) as client:
        await watched(client, _watch(client, args))


if __name__ == "__main__":
    options = _options()
    main(options, lambda: _run(options))
