"""Frames through a relay: all of them, once, as they were."""

from interop.account import check_frames, frames_of
from interop.cases.registry import Direction, case
from interop.failure import Failure
from interop.matrix import Transport
from interop.program import Program, number
from interop.scene import Scene
from interop.sides import RelayWish
from interop.stage import Endpoint

GROUPS, FRAMES = 6, 16
NO_SUCH_GROUP = 99
SPOKEN, GROUP_MS, PATIENCE_MS = 40, 100, 500


@case("relay", Direction.THROUGH_MOQVOX)
async def relay(scene: Scene) -> None:
    """Every frame of a peer's publisher reaches a peer's subscriber through the relay."""
    endpoint = await scene.relay()
    await _publish_and_subscribe(scene, endpoint, endpoint)


@case("relay-across-transports", Direction.THROUGH_MOQVOX)
async def relay_across_transports(scene: Scene) -> None:
    """A publisher on raw QUIC reaches a subscriber on WebTransport, and the reverse."""
    endpoint = await scene.relay()
    both = [Transport.QUIC, Transport.WEBTRANSPORT]
    for number_, (up, down) in enumerate([both, both[::-1]]):
        name = f"{scene.room}/{number_}"
        subscriber = await scene.peer("subscribe", endpoint, name, transport=down)
        publisher = await scene.peer("publish", endpoint, name, transport=up)
        await _check(scene, publisher, [subscriber])


@case("many-subscribers", Direction.THROUGH_MOQVOX)
async def many_subscribers(scene: Scene) -> None:
    """Several subscribers each get every frame, from one subscription upstream."""
    endpoint = await scene.relay()
    subscribers = [
        await scene.peer("subscribe", endpoint, scene.room, name=f"subscriber {at}")
        for at in range(4)
    ]
    publisher = await scene.peer("publish", endpoint, scene.room)
    await _check(scene, publisher, subscribers)


@case("late-subscriber", Direction.THROUGH_MOQVOX)
async def late_subscriber(scene: Scene) -> None:
    """A subscriber that asks for a minute of age gets all that was published before it came."""
    await _subscribe_late(scene, ["--no-finish"], ["--groups", str(GROUPS)])


@case("ended-track", Direction.THROUGH_MOQVOX)
async def ended_track(scene: Scene) -> None:
    """A subscriber that comes after the end of a track gets all of it, and the end."""
    await _subscribe_late(scene, [], [])


async def _subscribe_late(scene: Scene, publishing: list[str], subscribing: list[str]) -> None:
    """Publish everything, then subscribe twice: from the publisher, and from the relay."""
    endpoint = await scene.relay()
    publisher = await scene.peer("publish", endpoint, scene.room, "--eager", *publishing)
    await publisher.event("written")
    for at in range(2):
        name = f"subscriber {at}"
        subscriber = await scene.peer("subscribe", endpoint, scene.room, *subscribing, name=name)
        await subscriber.finished()
        _check_frames(scene, publisher, subscriber)
    publisher.leave()
    await publisher.finished()


@case("impatient-subscriber", Direction.THROUGH_MOQVOX)
async def impatient_subscriber(scene: Scene) -> None:
    """With a maximum age of 500 ms, as Pipecat's, all comes in time; who is late joins near."""
    endpoint = await scene.relay()
    patience = ["--max-age-ms", str(PATIENCE_MS)]
    first = await scene.peer("subscribe", endpoint, scene.room, *patience, name="first")
    paced = ["--groups", str(SPOKEN), "--frames", "5", "--interval-ms", "20"]
    publisher = await scene.peer("publish", endpoint, scene.room, *paced)
    await publisher.event("group", group=SPOKEN // 2)
    late = await scene.peer("subscribe", endpoint, scene.room, *patience, "--latest", name="late")
    for subscriber in (first, late):
        await subscriber.finished()
    publisher.leave()
    await publisher.finished()
    sent = frames_of(publisher.events)
    timestamps = scene.row.version.has_timestamps
    check_frames(sent, frames_of(first.events), timestamps=timestamps)
    got = frames_of(late.events)
    joined = min(frame.group for frame in got)
    check_frames([frame for frame in sent if frame.group >= joined], got, timestamps=timestamps)
    earliest = SPOKEN // 2 - PATIENCE_MS // GROUP_MS
    if joined < earliest:
        raise Failure(f"the late subscriber was sent group {joined}, from before {earliest}")


@case("certificate-authority", Direction.THROUGH_MOQVOX)
async def certificate_authority(scene: Scene) -> None:
    """A peer that trusts the CA of `moqvox certs` trusts a relay with its certificate."""
    endpoint = await scene.certificate_relay()
    await _publish_and_subscribe(scene, endpoint, endpoint)


@case("edge-downstream", Direction.THROUGH_MOQVOX)
async def edge_downstream(scene: Scene) -> None:
    """What is published at a peer's relay is had at a moqvox edge of it."""
    origin = await scene.peer_relay()
    edge = await scene.relay(RelayWish(upstream=origin))
    await _publish_and_subscribe(scene, origin, edge)


@case("edge-upstream", Direction.THROUGH_MOQVOX)
async def edge_upstream(scene: Scene) -> None:
    """What is published at a moqvox edge is had at the peer's relay it belongs to."""
    origin = await scene.peer_relay()
    edge = await scene.relay(RelayWish(upstream=origin))
    await _publish_and_subscribe(scene, edge, origin)


@case("fetch", Direction.THROUGH_MOQVOX)
async def fetch(scene: Scene) -> None:
    """A peer fetches single groups, before and after the relay has them; a wrong one is refused."""
    endpoint = await scene.relay()
    publisher = await scene.peer("publish", endpoint, scene.room, "--eager")
    await publisher.event("written")
    await _fetch(scene, endpoint, publisher, "fetch from the publisher")
    subscriber = await scene.peer("subscribe", endpoint, scene.room)
    await subscriber.finished()
    await _fetch(scene, endpoint, publisher, "fetch from the relay")


async def _fetch(scene: Scene, endpoint: Endpoint, publisher: Program, name: str) -> None:
    wanted = [0, GROUPS - 2, GROUPS - 1]
    groups = [word for group in [*wanted, NO_SUCH_GROUP] for word in ("--group", str(group))]
    fetcher = await scene.peer("fetch", endpoint, scene.room, *groups, name=name)
    await fetcher.finished()
    sent = [frame for frame in frames_of(publisher.events) if frame.group in wanted]
    timestamps = scene.row.version.has_timestamps
    check_frames(sent, frames_of(fetcher.events), timestamps=timestamps)
    refused = [number(event, "group") for event in fetcher.all("group_refused")]
    refused += [number(event, "group") for event in fetcher.all("group_failed")]
    if refused != [NO_SUCH_GROUP]:
        raise Failure(f"of the fetched groups {refused} were refused, not just {NO_SUCH_GROUP}")


async def _publish_and_subscribe(scene: Scene, up: Endpoint, down: Endpoint) -> None:
    subscriber = await scene.peer("subscribe", down, scene.room)
    publisher = await scene.peer("publish", up, scene.room)
    await _check(scene, publisher, [subscriber])


async def _check(scene: Scene, publisher: Program, subscribers: list[Program]) -> None:
    """Wait for both ends, and compare what they say."""
    for subscriber in subscribers:
        await subscriber.finished()
    publisher.leave()
    await publisher.finished()
    for subscriber in subscribers:
        _check_frames(scene, publisher, subscriber)


def _check_frames(scene: Scene, publisher: Program, subscriber: Program) -> None:
    failed = subscriber.all("group_failed")
    if failed:
        raise Failure(f"{len(failed)} groups were cut off; the first is {dict(failed[0].fields)}")
    timestamps = scene.row.version.has_timestamps
    check_frames(frames_of(publisher.events), frames_of(subscriber.events), timestamps=timestamps)
    if len(subscriber.all("group")) != GROUPS:
        raise Failure(f"{len(subscriber.all('group'))} groups ended, of {GROUPS}")
