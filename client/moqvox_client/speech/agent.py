"""The demo's agent: understands what is said, offline, and answers with synthetic speech.

`moqvox serve` runs it by default; name it with `--agent moqvox_client.speech.agent:agent`.
What is written to it, in a message `text`, it answers aloud as well.
"""

import asyncio
import functools
import logging
from typing import Final

import msgspec

from moqvox import voice
from moqvox_client.speech import tts
from moqvox_client.speech.replies import Brain
from moqvox_client.speech.stt import SAMPLE_RATE, Transcriber

__all__ = ["agent", "warm_up"]

log = logging.getLogger("moqvox.client")

TRANSCRIPT = "transcript"
"""Message that tells the caller what was understood: `{"utterance": n, "text": "..."}`."""

TEXT = "text"
"""Message from a caller who writes, for want of a microphone: `{"text": "..."}`."""

MAX_TEXT: Final = 4_000


class _Text(msgspec.Struct):
    text: str


async def warm_up() -> None:
    """Load the models and make a first sound, so that the first caller waits for neither.

    Raises:
        SpeechFailed: recognition or synthesis broke.
    """
    await _transcriber().warm_up()
    async for _piece in tts.speak("Ready."):
        pass


async def agent(session: voice.Session) -> None:
    """Take one call.

    Raises:
        SpeechUnavailable: the extra `demo` is not installed.
        SpeechFailed: recognition or synthesis broke.
    """
    transcriber = _transcriber()
    sample_rate = await tts.voice_rate()
    await transcriber.warm_up()
    brain = Brain()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_read(session, brain, sample_rate), name="read")
        async for utterance in session.utterances():
            text = await transcriber.transcribe(utterance.pcm(SAMPLE_RATE))
            if utterance.cancelled:
                continue
            session.send(TRANSCRIPT, {"utterance": utterance.number, "text": text})
            await _say(session, brain.reply(text), sample_rate)


async def _read(session: voice.Session, brain: Brain, sample_rate: int) -> None:
    """Answer what is written; a new text cuts the answer before it, as a new word does."""
    async for message in session.messages():
        if not isinstance(message, voice.Message) or message.name != TEXT:
            continue
        try:
            text = msgspec.json.decode(message.data, type=_Text).text[:MAX_TEXT]
        except msgspec.DecodeError as exc:
            log.warning("call %s: a malformed text: %s", session.id, exc)
            continue
        session.interrupt()
        await _say(session, brain.reply(text), sample_rate)


async def _say(session: voice.Session, text: str, sample_rate: int) -> None:
    """Answer aloud, as far as the caller wants to hear it."""
    response = session.respond(sample_rate=sample_rate)
    async for piece in tts.speak(text):
        for word in piece.words:
            session.caption(response, word.text, word.start_ms)
        if not await response.write(piece.pcm):
            break
    await response.played()


@functools.cache
def _transcriber() -> Transcriber:
    """Share the recogniser's processes between the calls."""
    return Transcriber()
