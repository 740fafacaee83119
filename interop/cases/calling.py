"""A peer's publisher as the caller of our voice server, and the number it is asked with.

docs/voice-protocol.md, "Speaking first".
"""

import secrets
from typing import Final

from interop import moqrs
from interop.account import check_packets, packets_of
from interop.cases.registry import Direction, case
from interop.failure import Failure
from interop.matrix import Transport
from interop.program import text
from interop.scene import Scene
from interop.stage import Endpoint

AGREED: Final = 0x2000_766F
AGREED_NUMBERS: Final = range(1 << 29, 1 << 30)
CALLER, AUDIO = "caller", "audio"


@case("direct-caller", Direction.TO_MOQVOX)
async def direct_caller(scene: Scene) -> None:
    """A peer's `caller` is heard whole, on raw QUIC under the agreed subscription number."""
    _check_numbers(scene, await _call(scene, CALLER))


@case("named-caller", Direction.TO_MOQVOX)
async def named_caller(scene: Scene) -> None:
    """A peer that turns the agreed number away is heard whole by its call's own name."""
    name = f"{secrets.token_hex(8)}/{CALLER}"
    asked = await _call(scene, name)
    _check_numbers(scene, asked)
    if (name, AUDIO) not in asked:
        raise Failure(f"the peer was not asked by its name: {asked}")


def _check_numbers(scene: Scene, asked: dict[tuple[str, str], int]) -> None:
    """Check that the agreed number was used for what it stands for, and nothing else like it."""
    special = {track: number for track, number in asked.items() if number in AGREED_NUMBERS}
    wanted = {(CALLER, AUDIO): AGREED} if scene.row.transport is Transport.QUIC else {}
    if (CALLER, AUDIO) not in asked or special != wanted:
        raise Failure(f"the peer was asked with the numbers {asked}")


async def _call(scene: Scene, broadcast: str) -> dict[tuple[str, str], int]:
    """Let a peer call and speak; returns the number of each subscription that it was sent."""
    desk = await scene.tool("desk", scene.row.version.value)
    ready = await desk.event("ready")
    endpoint = Endpoint(text(ready, "address"), text(ready, "fingerprint"))
    caller = await scene.peer("call", endpoint, broadcast)
    await caller.event("written")
    heard = await desk.event("utterance")
    caller.leave()
    await caller.finished()
    desk.leave()
    await desk.finished()
    moqrs.check_version(caller, scene.row.version)
    check_packets(packets_of(caller.events), packets_of(desk.events))
    if heard.fields["whole"] is not True or len(desk.all("utterance")) != 1:
        raise Failure("the speech was not taken for one, and whole")
    return moqrs.subscriptions(caller)
