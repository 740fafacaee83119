"""The demo's agent: understands what is said, offline, and answers with synthetic speech.

`moqvox serve` runs it by default; name it with `--agent moqvox_client.speech.agent:agent`.
"""

import functools

from moqvox import voice
from moqvox_client.speech import tts
from moqvox_client.speech.replies import Brain
from moqvox_client.speech.stt import SAMPLE_RATE, Transcriber

__all__ = ["agent"]

TRANSCRIPT = "transcript"
"""Message that tells the caller what was understood: `{"utterance": n, "text": "..."}`."""


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
    async for utterance in session.utterances():
        text = await transcriber.transcribe(utterance.pcm(SAMPLE_RATE))
        if utterance.cancelled:
            continue
        session.send(TRANSCRIPT, {"utterance": utterance.number, "text": text})
        response = session.respond(sample_rate=sample_rate)
        async for piece in tts.speak(brain.reply(text)):
            for word in piece.words:
                session.caption(response, word.text, word.start_ms)
            if not await response.write(piece.pcm):
                break
        await response.played()


@functools.cache
def _transcriber() -> Transcriber:
    """Share the recogniser's processes between the calls."""
    return Transcriber()
