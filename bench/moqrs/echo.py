"""An echo agent on moq-rs' server, as one writes it in Python: read a frame, write it back."""

import argparse
import asyncio

import moq
from interop.peers.moqrs.speech import emit, main, parser, until_told_to_leave

from bench.moqrs.crowd import TRACK, track_info, wishes


def _options() -> argparse.Namespace:
    made = parser("echo the audio of ID/caller as ID/agent, until stdin ends")
    made.add_argument("--bind", default="127.0.0.1:0")
    made.add_argument("--tls-cert", required=True)
    made.add_argument("--tls-key", required=True)
    return made.parse_args()


async def _echo(source: moq.BroadcastConsumer, track: moq.TrackProducer) -> None:
    async for group in await source.subscribe_track(TRACK, wishes()):
        copy = track.append_group()
        async for frame in group:
            copy.write_frame(frame.payload, frame.timestamp_us)
        copy.finish()


async def _serve(request: moq.Request) -> None:
    """Serve one caller; origins of its own keep the callers apart."""
    theirs, ours = moq.OriginProducer(), moq.OriginProducer()
    request.set_consume(theirs)
    request.set_publish(ours)
    session = await request.accept()
    try:
        async with asyncio.TaskGroup() as group:
            async for update in theirs.consume().announced(""):
                name, _, role = update.prefix.rpartition("/")
                if not update.active or role != "caller":
                    continue
                source = await theirs.consume().request_broadcast(update.prefix)
                broadcast = ours.create_broadcast(f"{name}/agent")
                track = broadcast.publish_track(TRACK, track_info())
                broadcast.announce()
                group.create_task(_echo(source, track))
                await session.closed()
    except* moq.Error as exc:
        emit("closed", reason=str(exc.exceptions[0]))


async def _agent(args: argparse.Namespace) -> None:
    # Both origins are replaced for each session; the server wants some at first.
    server = moq.Server(
        args.bind,
        tls_cert=[args.tls_cert],
        tls_key=[args.tls_key],
        publish=moq.OriginProducer(),
        subscribe=moq.OriginProducer(),
    )
    async with server, until_told_to_leave() as group:
        emit("ready", address=server.local_addr)

        async def accept() -> None:
            async for request in server:
                group.create_task(_serve(request))

        group.create_task(accept())


if __name__ == "__main__":
    given = _options()
    main(given, lambda: _agent(given))
