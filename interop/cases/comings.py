"""Publishers that come, go, and come back."""

from interop.account import check_frames, frames_of
from interop.cases.registry import Direction, case
from interop.failure import Failure
from interop.program import Event, Program
from interop.scene import Scene
from interop.stage import Endpoint

SMALL = ["--groups", "3", "--frames", "8"]
SMALL_FRAMES = 24


@case("gone-and-back", Direction.THROUGH_MOQVOX)
async def gone_and_back(scene: Scene) -> None:
    """A publisher leaves and another comes: the end, the return and its frames are all seen."""
    endpoint = await scene.relay()
    watcher = await _watch(scene, endpoint)
    at = -1
    for generation in ("1", "2"):
        arguments = [scene.room, *SMALL, "--generation", generation]
        publisher = await scene.peer("publish", endpoint, *arguments)
        started = await watcher.event("announce", path=scene.room, active=True, after=at)
        ended = await watcher.event("track_ended", broadcast=scene.room, after=started.at)
        publisher.leave()
        await publisher.finished()
        _check(scene, publisher.events, watcher.events[started.at : ended.at])
        at = (await watcher.event("announce", path=scene.room, active=False, after=started.at)).at


@case("replaced-in-session", Direction.THROUGH_MOQVOX)
async def replaced_in_session(scene: Scene) -> None:
    """A broadcast ends and a new one takes its name, in one session: who comes gets the new.

    Each generation has a subscriber of its own: a moq-rs client that read the first would
    show it again instead of asking for the second.
    """
    endpoint = await scene.relay()
    watcher = await scene.peer("watch", endpoint, "--prefix", scene.room)
    await watcher.event("ready")
    publisher = await scene.peer("publish", endpoint, scene.room, *SMALL)
    at = (await watcher.event("announce", path=scene.room, active=True)).at
    await _read_once(scene, endpoint, publisher, 0)
    replaced_at = len(publisher.events)
    await publisher.say("again")
    await publisher.event("announced", generation=2)
    at = (await watcher.event("announce", path=scene.room, active=False, after=at)).at
    await watcher.event("announce", path=scene.room, active=True, after=at)
    await _read_once(scene, endpoint, publisher, replaced_at)
    publisher.leave()
    await publisher.finished()


@case("killed-and-back", Direction.THROUGH_MOQVOX)
async def killed_and_back(scene: Scene) -> None:
    """A publisher crashes and restarts at once: who watches gets the new one, without waiting."""
    endpoint = await scene.relay()
    watcher = await _watch(scene, endpoint)
    crashed = await scene.peer("publish", endpoint, scene.room, *SMALL, "--no-finish")
    await crashed.event("written")
    await _has_frames(watcher, generation=1)
    crashed.kill()
    publisher = await scene.peer("publish", endpoint, scene.room, *SMALL, "--generation", "2")
    await _has_frames(watcher, generation=2)
    publisher.leave()
    await publisher.finished()


@case("push-gone-and-back", Direction.FROM_MOQVOX)
async def push_gone_and_back(scene: Scene) -> None:
    """A peer sees what `push` publishes come and go, twice."""
    endpoint = await scene.peer_relay()
    watcher = await _watch(scene, endpoint, "audio")
    at = -1
    for _ in range(2):
        push = await scene.push(endpoint, scene.room, scene.tone(400))
        at = (await watcher.event("announce", path=scene.room, active=True, after=at)).at
        await scene.side.push_ended(push)
        at = (await watcher.event("announce", path=scene.room, active=False, after=at)).at


async def _watch(scene: Scene, endpoint: Endpoint, track: str = "data") -> Program:
    watcher = await scene.peer("watch", endpoint, "--prefix", scene.room, "--track", track)
    await watcher.event("ready")
    return watcher


async def _read_once(scene: Scene, endpoint: Endpoint, publisher: Program, since: int) -> None:
    """Compare what a new subscriber gets to what was published since an event."""
    subscriber = await scene.peer("subscribe", endpoint, scene.room)
    await subscriber.finished()
    _check(scene, publisher.events[since:], subscriber.events)


async def _has_frames(watcher: Program, *, generation: int) -> None:
    """Wait until the last frame that names the generation has come."""
    await watcher.event("frame", generation=generation, group=2, index=7)


def _check(scene: Scene, sent: list[Event], got: list[Event]) -> None:
    """Compare one generation at both ends."""
    frames = frames_of(sent)
    if len(frames) != SMALL_FRAMES:
        raise Failure(f"the publisher wrote {len(frames)} frames, not {SMALL_FRAMES}")
    check_frames(frames, frames_of(got), timestamps=scene.row.version.has_timestamps)
