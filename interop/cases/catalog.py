"""The catalog, written by one and read by the other."""

from collections.abc import Mapping

from interop.cases.registry import Direction, case
from interop.failure import Failure
from interop.scene import Scene

CALL = "room/alice.hang"


@case("catalog-to-moqvox", Direction.TO_MOQVOX)
async def catalog_to_moqvox(scene: Scene) -> None:
    """`pull` finds the audio in the catalog that a peer writes, and says what it is."""
    endpoint = await scene.relay()
    out = scene.folder / "pulled.wav"
    pull = await scene.pull(endpoint, CALL, out)
    track = ["--track", "voice", "--duration-ms", "300"]
    publisher = await scene.peer("opus_publish", endpoint, CALL, *track)
    await pull.finished()
    publisher.leave()
    await publisher.finished()
    fields = scene.side.catalog_pulled(pull).fields
    _expect(fields, {"track": "voice", "codec": "opus", "sample_rate": 48_000, "channels": 1})


@case("catalog-from-moqvox", Direction.FROM_MOQVOX)
async def catalog_from_moqvox(scene: Scene) -> None:
    """A peer finds the audio in the catalog that `push` writes, by its own parser."""
    endpoint = await scene.relay()
    reader = await scene.peer("catalog", endpoint, CALL)
    listener = await scene.peer("opus_subscribe", endpoint, CALL)
    await reader.event("ready")
    await listener.event("ready")
    push = await scene.push(endpoint, CALL, scene.tone(600))
    await reader.finished()
    await listener.finished()
    await scene.side.push_ended(push)
    audio = reader.all("catalog")[0].fields["audio"]
    if not isinstance(audio, dict) or len(audio) != 1:
        raise Failure(f"the peer found {audio!r}, not one audio rendition")
    expected = {"codec": "opus", "sample_rate": 48_000, "channels": 1, "container": "legacy"}
    _expect(next(iter(audio.values())), expected)


def _expect(found: Mapping[str, object], expected: Mapping[str, object]) -> None:
    for key, value in expected.items():
        if found.get(key) != value:
            raise Failure(f"the catalog says {key} is {found.get(key)!r}, not {value!r}")
