"""Clients from npm, in Chromium, through our relay."""

from typing import Final

from interop import npm
from interop.account import check_frames, check_packets, frames_of, packets_of
from interop.cases.registry import Direction, case
from interop.failure import Failure
from interop.matrix import Transport
from interop.program import Event, number, text
from interop.scene import DURATION_MS, TONE_HZ, Scene
from interop.sound import Heard, listen, read_raw, write_tone
from interop.stage import Endpoint

CALL: Final = "room/alice.hang"
HEARD_S: Final = 2.0
SPOKEN_MS: Final = 20_000
QMUX: Final = ("qmux-02.", "qmux-01.", "qmux-00.")
GROUPS: Final = 6
CHECKS: Final = 16
MAPPED_CODES: Final = (0, 1, 28, 29, 30, 31, 254, 255)
"""Those of `pages/conformance.js`: how WebTransport maps codes to HTTP/3's has gaps."""


@case("npm-publish", Direction.TO_MOQVOX)
async def npm_publish(scene: Scene) -> None:
    """The element of @moq/publish sends a microphone; `pull` hears its tone, without a gap."""
    endpoint = await scene.relay()
    microphone, out = scene.folder / "microphone.wav", scene.folder / "pulled.wav"
    write_tone(microphone, TONE_HZ, seconds=30)
    publisher = await scene.browser("publish", endpoint, CALL, "--microphone", str(microphone))
    await publisher.event("steady")
    pull = await scene.pull(endpoint, CALL, out, seconds=HEARD_S)
    await pull.finished()
    publisher.leave()
    await publisher.finished()
    npm.check_version(publisher, scene.row.version)
    _check_heard(scene.side.sound_pulled(pull, out))


@case("npm-watch", Direction.FROM_MOQVOX)
async def npm_watch(scene: Scene) -> None:
    """The element of @moq/watch plays what `push` sends: bytes, clock and sound go on."""
    endpoint = await scene.relay()
    pcm = scene.folder / "heard.pcm"
    await scene.push(endpoint, CALL, scene.tone(SPOKEN_MS))
    arguments = ["--pcm", str(pcm), "--seconds", f"{HEARD_S:g}"]
    player = await scene.browser("watch", endpoint, CALL, *arguments)
    await player.finished()
    npm.check_version(player, scene.row.version)
    begun, ended = player.all("playing")[0], player.all("played")[0]
    for what in ("bytes", "timestamp_ms"):
        _check_growth(what, begun, ended)
    # A browser plays in real time: on a busy machine it drops a block now and then.
    heard = listen(number(player.all("heard")[0], "rate"), read_raw(pcm))
    _check_heard(heard, purity=0.9)


@case("npm-frames", Direction.THROUGH_MOQVOX)
async def npm_frames(scene: Scene) -> None:
    """Every frame of a publisher on @moq/net reaches a subscriber on it, the last ones too."""
    await _pass(scene, scene.room)


@case("npm-qmux", Direction.THROUGH_MOQVOX)
async def npm_qmux(scene: Scene) -> None:
    """The same over WebSocket, with each version of QMux that @moq/net offers."""
    for qmux in QMUX:
        await _pass(scene, f"{scene.room}/{qmux}", "--qmux", qmux)


@case("page-through-peer", Direction.THROUGH_PEER)
async def page_through_peer(scene: Scene) -> None:
    """Our page's client talks through a peer's relay to an agent of ours that says it again."""
    source, sent = await scene.packets()
    endpoint = await scene.peer_relay()
    url = endpoint.url(scene.row.transport)
    agent = await scene.moqvox(
        *("serve", "--agent", "interop.parrot:agent", "--url", url),
        *("--tls-fingerprint", endpoint.fingerprint, "--versions", scene.row.version.value),
    )
    await agent.event("ready")
    how = ["--recipe", str(source.recipe), "--version", scene.row.version.value]
    page = await scene.browser("page", endpoint, *how)
    await page.finished()
    npm.check_version(page, scene.row.version)
    if page.all("receipt")[0].fields != {"frames": len(sent), "intact": True}:
        raise Failure(f"of {len(sent)} packets: {page.all('receipt')[0].fields}")
    check_packets(sent, packets_of(page.events))


@case("webtransport-conformance", Direction.TO_MOQVOX)
async def webtransport_conformance(scene: Scene) -> None:
    """Chromium finds our WebTransport as it should be: closes, streams, codes, datagrams."""
    server = await scene.tool("echo_server")
    ready = await server.event("ready")
    endpoint = Endpoint(text(ready, "address"), text(ready, "fingerprint"))
    browser = await scene.browser("conformance", endpoint)
    await browser.finished()
    checks = browser.all("check")
    failed = [f"{text(it, 'name')}: {text(it, 'detail')}" for it in checks if not it.fields["ok"]]
    if failed or len(checks) < CHECKS:
        raise Failure(f"{len(failed)} of {len(checks)} checks failed: {'; '.join(failed)}")
    await server.event("closed", path="/echo/close", code=4242, reason="schönen Tag", lost=False)
    await server.event("closed", path="/echo/silent", code=0, reason="", lost=False)
    await server.event("answer", path="/push/both", text="thanks")
    for code in MAPPED_CODES:
        await server.event("reset", path=f"/echo/abort/{code}", code=code)
        await server.event("stopped", path=f"/reset/cancel/{code}", code=code)


async def _pass(scene: Scene, name: str, *arguments: str) -> None:
    endpoint = await scene.relay()
    row = scene.row
    # Over QMux it does not see a stream's end that it does not read up to: before 05 it waits.
    endless = row.transport is Transport.WEBSOCKET and not row.version.has_timestamps
    reading = [*arguments, "--groups", str(GROUPS)] if endless else arguments
    reader = await scene.browser("frames", endpoint, name, *reading, name="npm subscriber")
    await reader.event("ready")
    writer = await scene.browser(
        "frames", endpoint, name, *arguments, "--publish", name="npm publisher"
    )
    await reader.finished()
    writer.leave()
    await writer.finished()
    for program in (reader, writer):
        npm.check_version(program, scene.row.version)
    sent, got = frames_of(writer.events), frames_of(reader.events)
    check_frames(sent, got, timestamps=scene.row.version.has_timestamps)
    if len(reader.all("group")) != GROUPS:
        raise Failure(f"{len(reader.all('group'))} groups ended, of {GROUPS}")


def _check_growth(what: str, begun: Event, ended: Event) -> None:
    before, after = number(begun, what), number(ended, what)
    if after <= before:
        raise Failure(f"{what} did not advance: {before}, then {after}")


def _check_heard(heard: Heard, *, purity: float = 0.97) -> None:
    """Check for the tone, on to the end; its beginning and end are nowhere special."""
    if abs(heard.frequency_hz - TONE_HZ) > 3:
        raise Failure(f"a tone of {heard.frequency_hz:.1f} Hz was heard, not {TONE_HZ:g} Hz")
    if heard.sounding_ms < DURATION_MS:
        raise Failure(f"only {heard.sounding_ms:.0f} ms of tone were heard")
    if heard.purity < purity:
        raise Failure(f"only {heard.purity:.1%} of the energy is the tone: it is torn or noisy")
