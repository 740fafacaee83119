"""Who may come in, and what those hear who may not."""

from interop.account import check_frames, frames_of
from interop.cases.registry import Direction, case
from interop.failure import Failure
from interop.program import Program, text
from interop.scene import Scene
from interop.sides import RelayWish, Target
from interop.stage import Endpoint

ROOM = "room"
UNAUTHORIZED = 2
"""Session error code of every version; moq-lite-06, section on errors."""

REFUSED = 3
"""Exit code of the peers' programs for it."""


@case("relay-refuses", Direction.TO_MOQVOX)
async def relay_refuses(scene: Scene) -> None:
    """A peer without a good token is told that it is unauthorized; with one it is served."""
    access = await scene.side.access(scene.folder)
    endpoint = await scene.relay(RelayWish(access=access))
    bad = {
        "no token": None,
        "a forged token": access.forged(root=ROOM),
        "an expired token": access.expired(root=ROOM),
        "a token for elsewhere": access.token(root="elsewhere", publish=True, subscribe=True),
    }
    for what, token in bad.items():
        for verb in ("subscribe", "publish"):
            target = Target(endpoint, ROOM, token)
            program = await scene.peer(verb, target, "alice", name=f"{verb} with {what}")
            await _unauthorized(program)
    good = access.token(root=ROOM, publish=True, subscribe=True)
    await _served(scene, Target(endpoint, ROOM, good))


@case("peer-refuses", Direction.FROM_MOQVOX)
async def peer_refuses(scene: Scene) -> None:
    """`push` and `pull` say that they were refused and exit with 1; with the token they work."""
    word = "open-sesame"
    endpoint = await _guarded_peer(scene)
    out = scene.folder / "pulled.opus"
    source, _ = await scene.packets()
    pull = await scene.pull(Target(endpoint, token="wrong"), "alice.hang", out)
    await scene.side.refused(pull)
    push = await scene.push(Target(endpoint), "alice.hang", source)
    await scene.side.refused(push)
    let_in = Target(endpoint, token=word)
    pull = await scene.pull(let_in, "alice.hang", out)
    push = await scene.push(let_in, "alice.hang", source)
    await pull.finished()
    await scene.side.push_ended(push)


async def _guarded_peer(scene: Scene) -> Endpoint:
    return await scene.peer_relay(_Word())


class _Word:
    """The peer's server knows one word, and no JWT."""

    def token(self, *, root: str, publish: bool, subscribe: bool) -> str:
        return "open-sesame"

    def forged(self, *, root: str) -> str:
        return "forged"

    def expired(self, *, root: str) -> str:
        return "expired"


async def _unauthorized(program: Program) -> None:
    await program.finished(REFUSED)
    error = program.all("error")[-1]
    seen = text(error, "kind"), error.fields.get("scope"), error.fields.get("code")
    if seen != ("unauthorized", "session", UNAUTHORIZED):
        raise Failure(f"{program.name} was turned away with {dict(error.fields)}")


async def _served(scene: Scene, target: Target) -> None:
    subscriber = await scene.peer("subscribe", target, "alice")
    publisher = await scene.peer("publish", target, "alice")
    await subscriber.finished()
    publisher.leave()
    await publisher.finished()
    sent, got = frames_of(publisher.events), frames_of(subscriber.events)
    check_frames(sent, got, timestamps=scene.row.version.has_timestamps)
