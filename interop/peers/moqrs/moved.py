"""A moq-rs subscriber that tells each frame's text: `python -m interop.peers.moqrs.moved URL`."""

import argparse
import asyncio

import moq


async def _run(url: str) -> None:
    async with moq.Client(url, tls_verify=False, websocket_enabled=False) as client:
        broadcast = await client.announced_broadcast("alice").available()
        track = await broadcast.subscribe_track("audio", moq.Subscription(priority=100))
        while (group := await track.recv_group()) is not None:
            async for frame in group:
                print(bytes(frame.payload).decode(), flush=True)


def main() -> None:
    """Subscribe until the track ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    asyncio.run(_run(parser.parse_args().url))


if __name__ == "__main__":
    main()
