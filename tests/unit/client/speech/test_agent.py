import asyncio

import msgspec
import numpy as np
import pytest

from moqvox.media.resample import Resampler
from moqvox.voice import Message
from moqvox_client.speech import agent as room
from moqvox_client.speech import tts
from moqvox_client.speech.recordings import main_recording

pytestmark = pytest.mark.usefixtures("espeak_installed")


class Utterance:
    def __init__(self, number, pcm, *, cancelled=False):
        self.number = number
        self.cancelled = cancelled
        self._pcm = pcm

    async def pcm(self, sample_rate):
        assert sample_rate == 16_000
        for at in range(0, len(self._pcm), 640):
            yield self._pcm[at : at + 640]


class Response:
    def __init__(self, patience):
        self.pcm = b""
        self.was_played = False
        self._patience = patience

    async def write(self, pcm):
        self.pcm += pcm
        return len(self.pcm) < self._patience

    async def played(self):
        self.was_played = True


class Session:
    """A caller who says these utterances and listens for so many bytes."""

    id = "0123456789abcdef"

    def __init__(self, *utterances, written=(), patience=1 << 30):
        self.sent, self.captions, self.responses = [], [], []
        self.interruptions = 0
        self._utterances = utterances
        self._written = written
        self._patience = patience

    async def utterances(self):
        for utterance in self._utterances:
            yield utterance

    async def messages(self):
        for name, data in self._written:
            yield Message(name, msgspec.Raw(data))

    def interrupt(self):
        self.interruptions += 1

    def send(self, name, data):
        self.sent.append((name, data))

    def respond(self, *, sample_rate):
        assert sample_rate == 22_050
        self.responses.append(Response(self._patience))
        return self.responses[-1]

    def caption(self, response, text, start_ms):
        assert response is self.responses[-1]
        self.captions.append((text, start_ms))


@pytest.fixture
def agent(transcriber, monkeypatch):
    monkeypatch.setattr(room, "_transcriber", lambda: transcriber)
    return room.agent


def synthetic(text):
    async def main():
        resampler = Resampler(await tts.voice_rate(), 16_000)
        pcm = b"".join([resampler.push(piece.pcm) async for piece in tts.speak(text)])
        return pcm + resampler.flush()

    return asyncio.run(main())


@pytest.mark.slow
def test_each_utterance_is_transcribed_answered_captioned_and_played(agent):
    session = Session(Utterance(3, synthetic("count to ten")), Utterance(4, bytes(6400)))
    asyncio.run(agent(session))
    assert session.sent == [
        ("transcript", {"utterance": 3, "text": "count to ten"}),
        ("transcript", {"utterance": 4, "text": ""}),
    ]
    captions = " ".join(text for text, _start in session.captions)
    assert captions.startswith("1, 2, 3, 4, 5, 6, 7, 8, 9, 10. I did not catch that.")
    for response in session.responses:
        assert response.was_played
        assert np.sqrt(np.mean(np.frombuffer(response.pcm, "<i2").astype(float) ** 2)) > 500


def test_an_interrupted_answer_is_made_no_further(agent):
    session = Session(Utterance(0, synthetic("count to twenty five")), patience=44_100)
    asyncio.run(agent(session))
    [response] = session.responses
    assert 44_100 <= len(response.pcm) < 50_000
    assert response.was_played


def test_an_utterance_taken_back_is_not_answered(agent):
    session = Session(Utterance(0, main_recording().pcm[:16_000], cancelled=True))
    asyncio.run(agent(session))
    assert session.sent == []
    assert session.responses == []


@pytest.mark.slow
def test_what_is_written_is_answered_aloud_and_nonsense_is_passed_over(agent, caplog):
    written = [("text", b"[1]"), ("mood", b'"sunny"'), ("text", b'{"text": "Count to two!"}')]
    session = Session(written=written)
    asyncio.run(agent(session))
    [response] = session.responses
    assert response.was_played
    assert " ".join(text for text, _start in session.captions) == "1, 2."
    assert session.interruptions == 1, "an answer that still plays is to be cut"
    assert session.sent == []
    assert "malformed text" in caplog.text
