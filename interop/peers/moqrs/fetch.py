"""A moq-rs client that fetches single groups by their number, without subscribing."""

import argparse

import moq

from interop.peers.moqrs.speech import client_parser, connected, emit, explain, main, watched
from interop.peers.moqrs.subscribe import read_group


def _options() -> argparse.Namespace:
    made = client_parser("fetch groups of one track; one that can't be had is reported")
    made.add_argument("broadcast")
    made.add_argument("--track", default="data")
    made.add_argument("--group", type=int, action="append", required=True)
    return made.parse_args()


async def _fetch(client: moq.Client, args: argparse.Namespace) -> None:
    broadcast = await client.announced_broadcast(args.broadcast).available()
    emit("available", broadcast=args.broadcast)
    for sequence in args.group:
        try:
            group = await broadcast.fetch_group(args.track, sequence)
        except moq.Error as exc:
            emit("group_refused", group=sequence, **explain(exc))
        else:
            await read_group(group)
    emit("done", groups=len(args.group))


async def _run(args: argparse.Namespace) -> None:
    async with connected(args) as client:
        await watched(client, _fetch(client, args))


if __name__ == "__main__":
    options = _options()
    main(options, lambda: _run(options))
