"""`moqvox demo`: the main job on one machine, over real sockets.

A recorded human sentence goes from a caller through an edge and an origin relay to an
agent, which transcribes it offline and answers with synthetic speech, pushed faster than
real time and played by its timestamps.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Annotated, Final

import msgspec

from moqvox import voice
from moqvox.driver.scope import scope
from moqvox.transport.credentials import Verify
from moqvox_client import source
from moqvox_client.conversation import Conversation, Turn
from moqvox_client.errors import Failed
from moqvox_client.fate import Burst, Impairment
from moqvox_client.flags import TraceFile
from moqvox_client.kinds import Duration, HostPort, Percent
from moqvox_client.link import Link, LinkStats, Settings
from moqvox_client.options import Flag, Shared
from moqvox_client.output import Color, Output
from moqvox_client.sink import open_sink
from moqvox_client.stage import staged
from moqvox_client.trace import Trace
from moqvox_client.verbs.serve import prepare, take_calls
from moqvox_relay.config import Config, Upstream
from moqvox_relay.relay import Relay

__all__ = ["EXAMPLES", "Options", "run"]

EXAMPLES: Final = """
moqvox demo                                # a clean path
moqvox demo --loss 20 --outage 2s          # a bad one: intact as well, and what it cost
moqvox demo --rtt 80ms --out demo-out      # keep both sides' Ogg files
moqvox demo --page                         # talk to the agent yourself, in a browser
"""

OUTAGE_AT: Final = 1.5
"""Seconds into the prompt at which the outage begins."""

ROOM: Final = "demo"

PAGE_BIND: Final = HostPort("127.0.0.1", 4443)
"""This machine only: who opens the page may make its network worse."""


class Options(Shared, frozen=True, kw_only=True):
    """How bad the path is, and what to keep."""

    loss: Annotated[Percent, Flag("packets lost on the caller's link, each way")] = 0.0
    burst: Annotated[bool, Flag("lose them in bursts of 100 ms on average instead")] = False
    outage: Annotated[Duration, Flag("nothing gets through for this long in mid-prompt")] = 0.0
    rtt: Annotated[Duration, Flag("round trip of the caller's link")] = 0.0
    seed: Annotated[int, Flag("decides which packets are lost")] = 1
    quic: Annotated[bool, Flag("raw QUIC from caller to edge; else WebTransport")] = False
    say: Annotated[str | None, Flag("speak this text instead of the recording")] = None
    out: Annotated[Path | None, Flag("keep prompt.ogg and answer.ogg here", metavar="DIR")] = None
    trace: TraceFile = None
    page: Annotated[
        bool, Flag("stay, with a page to talk from; its buttons make the path worse")
    ] = False
    bind: Annotated[HostPort, Flag("where --page is, over TCP and UDP")] = PAGE_BIND


class Path3(msgspec.Struct):
    """What stands between caller and agent."""

    url: str
    fingerprint: str
    link: Link | None


async def run(options: Options, output: Output) -> int:
    """Play the whole job through once; 0 when the prompt arrived intact and was answered."""
    if options.page:
        return await _stay(options, output)
    from moqvox_client.speech.recordings import main_recording  # demo extra

    recording = main_recording()
    out = _directory(options.out)
    sink = None if out is None else open_sink(str(out / "answer.ogg"), None)
    sent = None if out is None else open_sink(str(out / "prompt.ogg"), None)
    output.note("starting an origin relay, an edge relay and an agent behind them")
    with Trace(options.trace) as trace:
        async with _path(options) as path:
            began = asyncio.get_running_loop().time()
            async with (
                voice.call(path.url, verify=Verify.pinned([path.fingerprint])) as call,
                scope() as tasks,
            ):
                conversation = Conversation(
                    call,
                    trace,
                    sink=sink,
                    on_sent=None if sent is None else sent.write,
                    note=output.note,
                )
                tasks.create_task(conversation.run(), name="playback")
                if options.say is None:
                    chunks = source.from_packets(recording.opus)
                else:
                    chunks = source.from_text(options.say, bitrate=source.BITRATE)
                if path.link is not None and options.outage:
                    path.link.outage(options.outage, after=OUTAGE_AT)
                output.note("speaking" if options.say is None else f'saying "{options.say}"')
                turn = await conversation.turn("the prompt", source.paced(chunks), patience=30.0)
                conversation.end()
                stats = path.link.stats() if path.link is not None else None
                connected_ms = 1000 * call.marks.get("connected", 0.0)
            seconds = asyncio.get_running_loop().time() - began
    for file in (sink, sent):
        if file is not None:
            file.close()
    expected = recording.transcript if options.say is None else options.say
    _show(output, turn, expected, stats, connected_ms, seconds, out)
    answered = turn.response_ms is not None and turn.heard_complete
    return 0 if turn.intact and answered else 1


async def _stay(options: Options, output: Output) -> int:
    """Serve the page and its agent until told to stop."""
    from moqvox_client.speech.agent import agent  # demo extra

    await prepare(agent)
    bind = (options.bind.host, options.bind.port)
    async with staged(bind=bind, settings=_settings(options), seed=options.seed) as stage:
        if options.outage:
            stage.network.link.outage(options.outage, after=OUTAGE_AT)
        output.event("ready", page=stage.page, port=stage.port)
        output.text(f"talk at {stage.page}")
        output.note("Ctrl-C ends it")
        calls = [0]
        try:
            await take_calls(stage.desk, agent, output, calls)
        except asyncio.CancelledError:
            output.done(calls=calls[0])
            raise
    return 0


@asynccontextmanager
async def _path(options: Options) -> AsyncIterator[Path3]:
    """Stand up agent, origin, edge and the link before it."""
    from moqvox_client.speech.agent import agent  # demo extra

    async with AsyncExitStack() as stack:
        tasks = await stack.enter_async_context(scope())
        running: list[asyncio.Task[None]] = []

        async def start(relay: Relay) -> tuple[str, int]:
            running.append(tasks.create_task(relay.run(), name="relay"))
            await relay.started.wait()
            return relay.where.addresses[0]

        try:
            origin = Relay(_relay(None))
            _host, port = await start(origin)
            trusted = (origin.where.fingerprint,)
            up = f"moqt://127.0.0.1:{port}/"
            edge = Relay(_relay(Upstream(up, fingerprints=trusted)))
            _host, edge_port = await start(edge)
            desk = await stack.enter_async_context(
                voice.attend(up + ROOM, verify=Verify.pinned(trusted))
            )
            running.append(tasks.create_task(_answer(desk, agent), name="agent"))
            link = None
            if options.loss or options.outage or options.rtt:
                link = await stack.enter_async_context(
                    Link(("127.0.0.1", edge_port), _settings(options), seed=options.seed)
                )
                edge_port = link.address[1]
            scheme = "moqt" if options.quic else "https"
            url = f"{scheme}://127.0.0.1:{edge_port}/{ROOM}"
            yield Path3(url, edge.where.fingerprint, link)
        finally:
            for task in running:
                task.cancel()


async def _answer(desk: voice.Desk, agent: object) -> None:
    async with asyncio.TaskGroup() as tasks:
        async for session in desk:
            tasks.create_task(agent(session), name=f"call-{session.id}")  # type: ignore[operator]


def _relay(upstream: Upstream | None) -> Config:
    return Config(
        bind="127.0.0.1:0",
        tls_generate=("localhost",),
        public=("",),
        upstream=upstream,
        http=False,
    )


def _settings(options: Options) -> Settings:
    delay_ms = 500 * options.rtt
    if options.burst and options.loss:
        bad_ms = 100.0
        burst = Burst(good_ms=bad_ms * (100 - options.loss) / options.loss, bad_ms=bad_ms)
        return Settings.both(Impairment(burst=burst, delay_ms=delay_ms))
    return Settings.both(Impairment(loss=options.loss, delay_ms=delay_ms))


def _directory(out: Path | None) -> Path | None:
    if out is None:
        return None
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise Failed(f"{out}: {exc.strerror}") from exc
    return out


def _show(
    output: Output,
    turn: Turn,
    expected: str,
    stats: LinkStats | None,
    connected_ms: float,
    seconds: float,
    out: Path | None,
) -> None:
    lost = 0 if stats is None else sum(stats.up.dropped.values()) + sum(stats.down.dropped.values())
    output.event("turn", expected=expected, **turn.fields())
    verdict, color = ("intact", Color.GOOD) if turn.intact else ("NOT intact", Color.BAD)
    rows: list[tuple[str, str]] = [
        ("path", "caller - edge relay - origin relay - agent, and back"),
        ("connected", f"{connected_ms:.0f} ms"),
        (
            "prompt",
            f"{output.paint(verdict, color)}: {turn.frames} frames, {turn.sent_ms / 1000:.2f} s, "
            f"sha256 {turn.digest[:16]}",
        ),
        (
            "cost",
            f"latest frame +{turn.worst_delay_ms:.0f} ms, last one +{turn.added_delay_ms:.0f} ms",
        ),
        *(("trouble", line) for line in turn.troubles()),
        ("said", expected),
        ("understood", turn.transcript or "-"),
        ("answer", turn.reply or "-"),
    ]
    if turn.first_ack_ms is not None:
        rows.append(("first frame", f"acknowledged after {turn.first_ack_ms:.0f} ms"))
    if turn.first_audio_ms is not None and turn.response_ms is not None:
        rows.append(("first sound", f"{turn.first_audio_ms:.0f} ms after the last word"))
        rows.append(
            (
                "heard",
                f"{turn.heard_ms / 1000:.2f} s of {turn.response_ms / 1000:.2f} s, "
                f"{turn.silence_ms:.0f} ms of silence inserted, "
                f"up to {turn.lead_ms / 1000:.1f} s in hand",
            )
        )
    if stats is not None:
        rows.append(("link", f"{lost} packets lost"))
    if out is not None:
        rows.append(("kept", f"{out / 'prompt.ogg'}, {out / 'answer.ogg'}"))
    output.table(rows)
    output.done(
        ok=turn.intact,
        intact=turn.intact,
        frames=turn.frames,
        digest=turn.digest,
        transcript=turn.transcript,
        added_delay_ms=turn.added_delay_ms,
        path_changes=turn.path_changes,
        resumptions=turn.resumptions,
        missing=turn.missing,
        worst_delay_ms=turn.worst_delay_ms,
        first_ack_ms=turn.first_ack_ms,
        connected_ms=connected_ms,
        first_audio_ms=turn.first_audio_ms,
        heard_ms=turn.heard_ms,
        response_ms=turn.response_ms,
        lead_ms=turn.lead_ms,
        silence_ms=turn.silence_ms,
        packets_lost=lost,
        seconds=round(seconds, 3),
    )
