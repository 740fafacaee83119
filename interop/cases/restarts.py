"""A relay of ours that dies and comes back, and what a peer's clients make of it."""

import asyncio

from interop.cases.registry import Direction, case
from interop.failure import Failure
from interop.program import text
from interop.scene import Scene
from interop.stage import Endpoint

MANY = ("--groups", "500", "--interval-ms", "20")

AT_ONCE = 2.0
"""Seconds: many times a round trip, and a fraction of every idle time-out."""


@case("restarted-relay", Direction.TO_MOQVOX)
async def restarted_relay(scene: Scene) -> None:
    """A peer's publisher learns of a relay's restart with its next packet: a stateless reset."""
    relay = await scene.tool("restarter", scene.row.version.value)
    ready = await relay.event("ready")
    endpoint = Endpoint(text(ready, "address"), text(ready, "fingerprint"))
    subscriber = await scene.peer("subscribe", endpoint, scene.room)
    publisher = await scene.peer("publish", endpoint, scene.room, *MANY)
    await subscriber.event("frame")
    await relay.say("restart")
    await relay.event("again")
    try:
        async with asyncio.timeout(AT_ONCE):
            await publisher.finished(1)
    except TimeoutError:
        raise Failure(f"the publisher had not noticed within {AT_ONCE:g} s") from None
    subscriber.kill()
    relay.leave()
