"""Peers whose network lets no UDP through: QMux over WebSocket."""

from interop import moqrs
from interop.account import check_frames, frames_of
from interop.cases.registry import Direction, case
from interop.failure import Failure
from interop.program import text
from interop.scene import Scene
from interop.stage import Endpoint

GROUPS = 6


@case("websocket", Direction.THROUGH_MOQVOX)
async def websocket(scene: Scene) -> None:
    """Without UDP, a peer's publisher reaches a peer's subscriber over WebSocket."""
    _, tcp = await _serve(scene)
    await _pass(scene, tcp, tcp)


@case("websocket-to-webtransport", Direction.THROUGH_MOQVOX)
async def websocket_to_webtransport(scene: Scene) -> None:
    """A publisher on WebSocket reaches a subscriber on WebTransport, and the reverse."""
    udp, tcp = await _serve(scene)
    for up, down in ((tcp, udp), (udp, tcp)):
        await _pass(scene, up, down)


async def _serve(scene: Scene) -> tuple[Endpoint, Endpoint]:
    """Start a server; the endpoints that have only UDP and only TCP."""
    program = await scene.tool("two_ports", scene.row.version.value)
    ready = await program.event("ready")
    fingerprint = text(ready, "fingerprint")
    return Endpoint(text(ready, "udp"), fingerprint), Endpoint(text(ready, "tcp"), fingerprint)


async def _pass(scene: Scene, up: Endpoint, down: Endpoint) -> None:
    name = f"{scene.room}/{up.address.rpartition(':')[2]}"
    subscriber = await scene.peer("subscribe", down, name, "--websocket")
    publisher = await scene.peer("publish", up, name, "--websocket")
    await subscriber.finished()
    publisher.leave()
    await publisher.finished()
    for program in (publisher, subscriber):
        moqrs.check_version(program, scene.row.version)
    sent, got = frames_of(publisher.events), frames_of(subscriber.events)
    check_frames(sent, got, timestamps=scene.row.version.has_timestamps)
    if len(subscriber.all("group")) != GROUPS:
        raise Failure(f"{len(subscriber.all('group'))} groups ended, of {GROUPS}")
