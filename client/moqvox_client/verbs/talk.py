"""`moqvox talk`: call an agent, speak, hear the answer."""

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Annotated, Final

from moqvox import voice
from moqvox.driver.scope import scope
from moqvox_client import source
from moqvox_client.conversation import Conversation, Turn
from moqvox_client.errors import Failed, UsageError
from moqvox_client.flags import TraceFile
from moqvox_client.kinds import Duration, Url
from moqvox_client.options import Argument, Flag
from moqvox_client.output import Color, Output
from moqvox_client.pieces import check_readable
from moqvox_client.reach import Reaching, verify
from moqvox_client.sink import FileSink, Speaker, open_sink
from moqvox_client.trace import Trace

__all__ = ["EXAMPLES", "Options", "run"]

EXAMPLES: Final = """
moqvox talk https://localhost:4443/ --tls-fingerprint HEX --say "count to five" --out reply.ogg
moqvox talk moqt://localhost:4443 question.wav --speaker
moqvox talk https://relay.example/room --mic --speaker      # Enter ends the sentence
"""


class Options(Reaching, frozen=True, kw_only=True):
    """Whom to call, what to say, where the answer goes."""

    url: Annotated[Url, Argument("the agent or the relay before it")]
    source: Annotated[
        tuple[str, ...], Argument("WAV, Ogg-Opus or raw PCM files, one utterance each; - is stdin")
    ] = ()
    say: Annotated[tuple[str, ...], Flag("speak this text (needs the demo extra)")] = ()
    mic: Annotated[bool, Flag("speak into the default microphone; Enter ends the utterance")] = (
        False
    )
    rate: Annotated[int, Flag("sample rate of raw PCM", at_least=8000)] = 48_000
    channels: Annotated[int, Flag("channels of raw PCM", at_least=1, at_most=2)] = 1
    bitrate: Annotated[int, Flag("Opus bits per second", at_least=6000, at_most=510_000)] = 24_000
    fast: Annotated[bool, Flag("send files as fast as they can be read")] = False
    out: Annotated[str | None, Flag("write what the agent sent (.ogg .opus .wav .pcm)")] = None
    speaker: Annotated[bool, Flag("play the answer on the default output device")] = False
    patience: Annotated[Duration, Flag("how long to wait for an agent and its answer")] = 15.0
    also: Annotated[
        tuple[Url, ...],
        Flag("another way to the same agent, for when this one fails", metavar="URL"),
    ] = ()
    reconnect: Annotated[
        Duration, Flag("how long to try to get back when the connection is lost; 0 ends the call")
    ] = 60.0
    trace: TraceFile = None


async def run(options: Options, output: Output) -> int:
    """Say everything, a turn at a time."""
    if not options.source and not options.say and not options.mic:
        raise UsageError('say something: a file, -, --say "TEXT" or --mic')
    if options.mic and not sys.stdin.isatty():
        raise Failed("--mic needs a terminal: Enter ends the utterance")
    for name in options.source:
        check_readable(name)
    speaker = Speaker() if options.speaker else None
    sink: FileSink | None = open_sink(options.out, None) if options.out is not None else None
    intact = True
    turns = 0
    try:
        with Trace(options.trace) as trace:
            async with (
                voice.call(
                    [options.url, *options.also],
                    verify=verify(options),
                    token=options.token or "",
                    versions=options.versions,
                    timeout=options.timeout,
                    websocket=options.websocket,
                    patience=options.reconnect,
                ) as call,
                scope() as tasks,
            ):
                play = speaker.play if speaker is not None else None
                conversation = Conversation(call, trace, play=play, sink=sink, note=output.note)
                tasks.create_task(conversation.run(), name="playback")
                async for name, chunks in _utterances(options):
                    turn = await conversation.turn(name, chunks, patience=options.patience)
                    turns += 1
                    intact = intact and turn.intact
                    _show(output, name, turn)
                conversation.end()
    finally:
        if sink is not None:
            sink.close()
        if speaker is not None:
            speaker.close()
    output.done(ok=intact, turns=turns, intact=intact)
    return 0 if intact else 1


async def _utterances(
    options: Options,
) -> AsyncIterator[tuple[str, AsyncIterator[source.Chunk]]]:
    for name in options.source:
        chunks = source.from_file(
            name,
            bitrate=options.bitrate,
            raw_rate=options.rate,
            raw_channels=options.channels,
        )
        yield name, chunks if options.fast else source.paced(chunks)
    for text in options.say:
        chunks = source.from_text(text, bitrate=options.bitrate)
        yield f'"{text}"', chunks if options.fast else source.paced(chunks)
    while options.mic:
        yield "microphone", _until_enter(source.from_microphone(bitrate=options.bitrate))


async def _until_enter(chunks: AsyncIterator[source.Chunk]) -> AsyncIterator[source.Chunk]:
    entered = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(sys.stdin.fileno(), entered.set)
    try:
        async for chunk in chunks:
            yield chunk
            if entered.is_set():
                sys.stdin.readline()
                return
    finally:
        loop.remove_reader(sys.stdin.fileno())


def _show(output: Output, name: str, turn: Turn) -> None:
    output.event("turn", source=name, **turn.fields())
    verdict, color = ("intact", Color.GOOD) if turn.intact else ("NOT intact", Color.BAD)
    output.text(
        f"said    {name}: {turn.sent_ms / 1000:.2f} s, {output.paint(verdict, color)}, "
        f"+{turn.added_delay_ms:.0f} ms"
    )
    output.text(
        f"        {turn.frames} frames, sha256 {turn.digest[:16]}, "
        f"latest frame +{turn.worst_delay_ms:.0f} ms"
    )
    for line in turn.troubles():
        output.text(f"        {line}")
    if turn.transcript:
        output.text(f"        heard as: {turn.transcript}")
    if turn.reply:
        output.text(f"answer  {turn.reply}")
    if turn.response_ms is not None and turn.first_audio_ms is not None:
        output.text(
            f"        {turn.heard_ms / 1000:.2f} s heard of {turn.response_ms / 1000:.2f} s, "
            f"first sound after {turn.first_audio_ms:.0f} ms, "
            f"up to {turn.lead_ms / 1000:.1f} s in hand"
        )
    else:
        output.text("        no answer came")
