import asyncio
import importlib.util
import sys
import time

import pytest

from moqvox.errors import LocalError
from moqvox.media.resample import Resampler
from moqvox_client.speech import tts
from moqvox_client.speech.errors import SpeechFailed, SpeechUnavailable
from moqvox_client.speech.recordings import main_recording
from moqvox_client.speech.stt import SAMPLE_RATE, Transcriber
from moqvox_client.speech.wer import compare
from moqvox_client.speech.worker import Worker


async def chunks(pcm, size=640):
    for at in range(0, len(pcm), size):
        yield pcm[at : at + size]


async def synthetic(text):
    resampler = Resampler(await tts.voice_rate(), SAMPLE_RATE)
    pcm = b"".join([resampler.push(piece.pcm) async for piece in tts.speak(text)])
    return pcm + resampler.flush()


@pytest.mark.slow
def test_a_recorded_sentence_is_understood_elsewhere_than_in_this_process(transcriber):
    recording = main_recording()
    partials = []
    before = time.process_time()
    text = asyncio.run(transcriber.transcribe(chunks(recording.pcm), partials.append))
    assert time.process_time() - before < 0.5
    assert compare(recording.transcript, text).rate <= 0.25
    assert len(partials) > 5
    assert len(partials[0].split()) < len(partials[-1].split())
    assert len(partials[-1].split()) > 10


@pytest.mark.usefixtures("espeak_installed")
@pytest.mark.parametrize("said", ["count to ten", "what can you do"])
def test_synthetic_commands_are_understood_by_the_grammar(transcriber, said):
    async def main():
        return await transcriber.transcribe(chunks(await synthetic(said), 1234))

    assert asyncio.run(main()) == said


def test_silence_and_nothing_are_no_words(transcriber):
    assert asyncio.run(transcriber.transcribe(chunks(b""))) == ""
    assert asyncio.run(transcriber.transcribe(chunks(bytes(16_000)))) == ""


def test_half_a_sample_at_the_end_is_refused(transcriber):
    with pytest.raises(LocalError, match="half a sample"):
        asyncio.run(transcriber.transcribe(chunks(bytes(641))))


@pytest.mark.slow
@pytest.mark.usefixtures("espeak_installed")
def test_an_utterance_given_up_leaves_no_trace_in_the_next(transcriber):
    async def main():
        begun = asyncio.Event()

        async def endless():
            async for chunk in chunks(main_recording().pcm[:32_000]):
                yield chunk
            begun.set()
            await asyncio.Event().wait()

        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(transcriber.transcribe(endless()))
            await begun.wait()
            task.cancel()
        return await transcriber.transcribe(chunks(await synthetic("what time is it")))

    assert asyncio.run(main()) == "what time is it"


def test_more_utterances_than_workers_wait_their_turn(transcriber):
    async def main():
        gate, begun, order = asyncio.Event(), asyncio.Event(), []

        async def held(name):
            order.append(f"{name} begins")
            begun.set()
            if name == "first":
                await gate.wait()
            yield bytes(640)
            order.append(f"{name} ends")

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(transcriber.transcribe(held("first")))
            tasks.create_task(transcriber.transcribe(held("second")))
            await begun.wait()
            gate.set()
        return order

    assert asyncio.run(main()) == ["first begins", "first ends", "second begins", "second ends"]


def test_a_recogniser_that_dies_tells_its_last_words_and_is_replaced():
    script = "import sys; sys.stdin.buffer.read(1); sys.exit('no model here')"
    worker = Worker((sys.executable, "-S", "-c", script))
    try:
        with pytest.raises(SpeechFailed, match="ended with status 1: no model here"):
            asyncio.run(worker.begin())
        assert not worker.alive
        with pytest.raises(SpeechFailed, match="no model here"):
            asyncio.run(worker.begin())
    finally:
        worker.close()


@pytest.mark.slow
def test_a_transcriber_starts_a_new_process_for_one_that_died():
    with Transcriber(workers=1) as transcriber:

        async def main():
            await transcriber.warm_up()
            [worker] = transcriber._all
            worker._process.kill()
            worker._process.wait()
            text = await transcriber.transcribe(chunks(bytes(640)))
            return text, transcriber._all != [worker]

        assert asyncio.run(main()) == ("", True)


def test_a_closed_transcriber_takes_nothing():
    transcriber = Transcriber()
    transcriber.close()
    transcriber.close()
    with pytest.raises(LocalError, match="this transcriber is closed"):
        asyncio.run(transcriber.transcribe(chunks(b"")))


def test_at_least_one_worker_is_needed():
    with pytest.raises(LocalError, match="at least one worker is needed, not 0"):
        Transcriber(workers=0)


def test_without_the_extra_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(SpeechUnavailable, match=r"pocketsphinx: pip install 'moqvox\[demo\]'"):
        Transcriber()
