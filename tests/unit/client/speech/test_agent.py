import asyncio

import numpy as np
import pytest

from moqvox.media.resample import Resampler
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

    def __init__(self, *utterances, patience=1 << 30):
        self.messages, self.captions, self.responses = [], [], []
        self._utterances = utterances
        self._patience = patience

    async def utterances(self):
        for utterance in self._utterances:
            yield utterance

    def send(self, name, data):
        self.messages.append((name, data))

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
    assert session.messages == [
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
    assert session.messages == []
    assert session.responses == []
