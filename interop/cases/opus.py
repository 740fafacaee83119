"""Speech both ways: the packets as they were made, and the sound that comes of them."""

from interop.account import check_packets, packets_of
from interop.cases.registry import Direction, case
from interop.scene import Scene
from interop.sound import check_tone

CALL = "room/alice.hang"


@case("push-pull", Direction.THROUGH_PEER)
async def push_pull(scene: Scene) -> None:
    """Opus packets pushed to a peer's relay are pulled from it unchanged."""
    source, sent = await scene.packets()
    endpoint = await scene.peer_relay()
    out = scene.folder / "pulled.opus"
    pull = await scene.pull(endpoint, CALL, out)
    push = await scene.push(endpoint, CALL, source)
    await pull.finished()
    await scene.side.push_ended(push)
    check_packets(sent, scene.side.packets_pulled(pull, out))


@case("opus-to-moqvox", Direction.TO_MOQVOX)
async def opus_to_moqvox(scene: Scene) -> None:
    """A tone that a peer encodes as it goes is heard by `pull`: its pitch, its length."""
    endpoint = await scene.relay()
    tone = scene.tone()
    out = scene.folder / "pulled.wav"
    pull = await scene.pull(endpoint, CALL, out)
    duration = str(tone.duration_ms)
    arguments = [CALL, "--live", "--tone", str(tone.tone_hz), "--duration-ms", duration]
    publisher = await scene.peer("opus_publish", endpoint, *arguments)
    await pull.finished()
    publisher.leave()
    await publisher.finished()
    heard = scene.side.sound_pulled(pull, out)
    check_tone(heard, frequency_hz=tone.tone_hz, duration_ms=tone.duration_ms)


@case("opus-to-moqvox-intact", Direction.TO_MOQVOX)
async def opus_to_moqvox_intact(scene: Scene) -> None:
    """Every packet of a peer's publisher, one group each, is in the file that `pull` writes."""
    source, sent = await scene.packets()
    endpoint = await scene.relay()
    out = scene.folder / "pulled.opus"
    pull = await scene.pull(endpoint, CALL, out)
    recipe = str(source.recipe)
    publisher = await scene.peer("opus_publish", endpoint, CALL, "--recipe", recipe)
    await pull.finished()
    publisher.leave()
    await publisher.finished()
    check_packets(sent, packets_of(publisher.events))
    check_packets(sent, scene.side.packets_pulled(pull, out))


@case("opus-from-moqvox", Direction.FROM_MOQVOX)
async def opus_from_moqvox(scene: Scene) -> None:
    """A tone that `push` encodes is decoded by a peer: its pitch, its length."""
    endpoint = await scene.relay()
    tone = scene.tone()
    pcm = scene.folder / "heard.pcm"
    listener = await scene.peer("opus_subscribe", endpoint, CALL, "--pcm", str(pcm))
    await listener.event("ready")
    push = await scene.push(endpoint, CALL, tone)
    await listener.finished()
    await scene.side.push_ended(push)
    heard = scene.heard_by_peer(pcm)
    check_tone(heard, frequency_hz=tone.tone_hz, duration_ms=tone.duration_ms)


@case("opus-from-moqvox-intact", Direction.FROM_MOQVOX)
async def opus_from_moqvox_intact(scene: Scene) -> None:
    """Every packet of a file that is pushed reaches a peer as media, unchanged."""
    source, sent = await scene.packets()
    endpoint = await scene.relay()
    listener = await scene.peer("opus_subscribe", endpoint, CALL)
    await listener.event("ready")
    push = await scene.push(endpoint, CALL, source)
    await listener.finished()
    await scene.side.push_ended(push)
    check_packets(sent, packets_of(listener.events))
