"""A moqvox client that changes its port again and again, publishing or reading frames.

Prints a JSON line for each frame, as the peers' programs do, and at the end how often the path
changed. `python -m interop.roamer publish|subscribe URL FINGERPRINT BROADCAST VERSION`.
"""

import argparse
import asyncio
import functools
import itertools
import json
import sys
from collections.abc import Callable
from typing import Final

from interop.payload import digest, frame_payload, frame_timestamp_us
from moqvox.connect import dial, hold
from moqvox.driver import Driver
from moqvox.frame import Frame, Subscription, TrackInfo
from moqvox.model import broadcast, cache, group
from moqvox.model.origin import Origin
from moqvox.transport.aioquic.raw import RawConnection
from moqvox.transport.credentials import Verify
from moqvox.url import parse_url

GROUPS: Final = 6
FRAMES: Final = 16
TRACK: Final = "data"
PATIENCE: Final = 10.0

PAUSE: Final = 0.05
"""Seconds from a move that was made to the next one."""


def emit(event: str, **fields: object) -> None:
    """Print one event."""
    sys.stdout.write(json.dumps({"event": event, **fields}) + "\n")
    sys.stdout.flush()


def show(sequence: int, index: int, payload: bytes, timestamp_us: int) -> None:
    """Print a frame."""
    emit(
        "frame",
        group=sequence,
        index=index,
        size=len(payload),
        sha256=digest(payload),
        timestamp_us=timestamp_us,
    )


async def until(done: Callable[[], bool]) -> None:
    """Wait for something that nobody tells."""
    async with asyncio.timeout(PATIENCE):
        for _ in itertools.repeat(None):
            if done():
                return
            await asyncio.sleep(0.005)


async def roam(connection: RawConnection) -> None:
    """Move, wait until that is done, and again."""
    while True:
        moves = connection.stats().path_changes
        connection.migrate()
        await until(functools.partial(_has_moved, connection, moves))
        await asyncio.sleep(PAUSE)


def _has_moved(connection: RawConnection, moves: int) -> bool:
    return connection.stats().path_changes > moves


async def publish(origin: Origin, name: str) -> None:
    """Publish frames that prove where they belong, once someone asks."""
    limits = cache.Limits(max_groups=64, max_bytes=1 << 26, max_age=60.0)
    producer = broadcast.Producer(limits=limits)
    track = producer.create_track(TRACK, TrackInfo(max_age_ms=60_000))
    origin.publish(name, producer.consume())
    emit("announced")
    await until(lambda: track.used)
    for _ in range(GROUPS):
        writer = track.append_group()
        for index in range(FRAMES):
            payload = frame_payload(1, writer.sequence, index)
            at_us = frame_timestamp_us(writer.sequence, index, FRAMES)
            writer.write(Frame(payload, at_us))
            show(writer.sequence, index, payload, at_us)
            await asyncio.sleep(0.01)
        writer.finish()
    track.finish()


async def subscribe(origin: Origin, name: str) -> None:
    """Read a track to its end."""
    source = await origin.wait(name)
    emit("subscribed")

    async def read(reader: group.Consumer) -> None:
        index = 0
        async for frame in reader:
            show(reader.sequence, index, bytes(frame.payload), frame.timestamp)
            index += 1

    tracks = await source.subscribe(TRACK, Subscription(max_age_ms=60_000))
    try:
        async with asyncio.TaskGroup() as reading:
            async for reader in tracks:
                reading.create_task(read(reader))
    finally:
        tracks.close()


async def work(driver: Driver, args: argparse.Namespace, origin: Origin) -> None:
    """Do what is asked while roaming."""
    connection = driver.connection
    if not isinstance(connection, RawConnection):
        raise TypeError(f"{connection.kind} does not roam")
    async with asyncio.TaskGroup() as tasks:
        roaming = tasks.create_task(roam(connection))
        await (publish if args.what == "publish" else subscribe)(origin, args.broadcast)
        roaming.cancel()
    stats = connection.stats()
    emit("moved", times=stats.path_changes, lost_packets=stats.lost_packets)
    if args.what == "publish":
        await asyncio.to_thread(sys.stdin.read)


async def run(args: argparse.Namespace) -> None:
    """Dial, then work."""
    address = parse_url(args.url)
    verify = Verify.pinned([args.fingerprint])
    connection = await dial(address, verify=verify, versions=[args.version], websocket=False)
    here, there = Origin(), Origin()
    async with hold(connection, path=address.path, publish=here, consume=there) as driver:
        await work(driver, args, here if args.what == "publish" else there)
    emit("done")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("publish", "subscribe"))
    for name in ("url", "fingerprint", "broadcast", "version"):
        parser.add_argument(name)
    asyncio.run(run(parser.parse_args()))
