"""What the publisher, the subscribers and the callers share: options, orders, connecting."""

import argparse
import asyncio
import contextlib
from collections.abc import AsyncIterator

import moq
from interop.peers.moqrs.speech import commands, emit, parser

__all__ = [
    "TRACK",
    "connected",
    "counted",
    "dialler",
    "evenly",
    "options",
    "order",
    "track_info",
    "wishes",
]

TRACK = "audio"
KEEP_US = 120_000_000
"""Nothing is dropped for its age while a run lasts."""

AT_ONCE = 8
"""Handshakes under way at the same time: a crowd that comes in, not a flood."""


def options(summary: str) -> argparse.ArgumentParser:
    """Start the command line of a load generator."""
    made = parser(summary)
    made.add_argument("url")
    made.add_argument("--frame-ms", type=int, default=20, choices=(20, 60))
    return made


def counted(made: argparse.ArgumentParser, what: str) -> None:
    """Add the options of those who come in numbers."""
    made.add_argument("-n", "--count", type=int, required=True, help=f"how many {what}")
    made.add_argument("--live", type=int, default=10, help="of which so many tell the delay")


def dialler(url: str) -> moq.Client:
    """Prepare a client that dials once. What it reads it does not announce again."""
    return moq.Client(
        url,
        tls_verify=False,
        websocket_enabled=False,
        reconnect=False,
        publish=moq.OriginProducer(),
        subscribe=moq.OriginProducer(),
    )


@contextlib.asynccontextmanager
async def connected(args: argparse.Namespace) -> AsyncIterator[list[moq.Client]]:
    """Hold `args.count` connections, made a few at a time."""
    slots = asyncio.Semaphore(AT_ONCE)
    made = [dialler(args.url) for _ in range(args.count)]

    async def enter(one: moq.Client) -> None:
        async with slots:
            await stack.enter_async_context(one)

    async with contextlib.AsyncExitStack() as stack:
        async with asyncio.TaskGroup() as group:
            for one in made:
                group.create_task(enter(one))
        emit("connected", clients=len(made))
        yield made


def evenly(count: int, wanted: int) -> set[int]:
    """Choose `wanted` of `count`, the first and the last among them: they are served apart."""
    if wanted >= count:
        return set(range(count))
    return {round(i * (count - 1) / max(1, wanted - 1)) for i in range(wanted)}


def track_info() -> moq.TrackInfo:
    """Describe the track that is published."""
    return moq.TrackInfo(max_age_us=KEEP_US)


def wishes() -> moq.Subscription:
    """Ask for everything."""
    return moq.Subscription(max_age_us=KEEP_US)


async def order() -> tuple[int, int]:
    """Wait for `report START END` on stdin, nanoseconds of CLOCK_MONOTONIC.

    Raises:
        EOFError: stdin ended.
    """
    async for line in commands():
        name, start, end = line.split()
        if name == "report":
            return int(start), int(end)
    raise EOFError("no order to report")
