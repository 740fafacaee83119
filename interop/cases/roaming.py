"""A client of ours whose address changes again and again, at a peer's server."""

from interop.account import check_frames, frames_of
from interop.cases.registry import Direction, case
from interop.failure import Failure
from interop.program import Program, number
from interop.roamer import FRAMES, GROUPS
from interop.scene import Scene
from interop.stage import Endpoint

LEAST_MOVES = 5


@case("roaming-publisher", Direction.FROM_MOQVOX)
async def roaming_publisher(scene: Scene) -> None:
    """A publisher of ours that roams reaches a peer's subscriber through the peer's relay."""
    endpoint = await scene.peer_relay()
    publisher = await _roamer(scene, endpoint, "publish")
    await publisher.event("announced")
    subscriber = await scene.peer("subscribe", endpoint, scene.room)
    await subscriber.finished()
    await publisher.event("moved")
    publisher.leave()
    await publisher.finished()
    _check(scene, publisher, subscriber, publisher)


@case("roaming-subscriber", Direction.TO_MOQVOX)
async def roaming_subscriber(scene: Scene) -> None:
    """A subscriber of ours that roams hears all of a peer's publisher through its relay."""
    endpoint = await scene.peer_relay()
    arguments = ["--groups", str(GROUPS), "--frames", str(FRAMES), "--interval-ms", "10"]
    publisher = await scene.peer("publish", endpoint, scene.room, *arguments)
    await publisher.event("announced")
    subscriber = await _roamer(scene, endpoint, "subscribe")
    await subscriber.finished()
    publisher.leave()
    await publisher.finished()
    _check(scene, publisher, subscriber, subscriber)


async def _roamer(scene: Scene, endpoint: Endpoint, what: str) -> Program:
    url = endpoint.url(scene.row.transport)
    version = scene.row.version.value
    return await scene.tool("roamer", what, url, endpoint.fingerprint, scene.room, version)


def _check(scene: Scene, publisher: Program, subscriber: Program, roamer: Program) -> None:
    sent, got = frames_of(publisher.events), frames_of(subscriber.events)
    check_frames(sent, got, timestamps=scene.row.version.has_timestamps)
    if len(got) != GROUPS * FRAMES:
        raise Failure(f"{len(got)} frames, of {GROUPS * FRAMES}")
    (moved,) = roamer.all("moved")
    if number(moved, "times") < LEAST_MOVES:
        raise Failure(f"only {number(moved, 'times')} moves: the case shows nothing")
