import asyncio
import importlib.util

import numpy as np
import pytest

from moqvox.errors import LocalError
from moqvox_client.speech import tts
from moqvox_client.speech.errors import SpeechFailed, SpeechUnavailable
from moqvox_client.speech.espeak import Espeak
from moqvox_client.speech.replies import ABOUT_QUIC

pytestmark = pytest.mark.usefixtures("espeak_installed")


async def spoken(text, **how):
    return [piece async for piece in tts.speak(text, **how)]


def pcm_of(pieces):
    return b"".join(piece.pcm for piece in pieces)


def loudness(pieces):
    return np.sqrt(np.mean(np.frombuffer(pcm_of(pieces), "<i2").astype(float) ** 2))


def test_a_sentence_becomes_sound_of_plausible_length_without_noise_on_stderr(capfd):
    pieces = asyncio.run(spoken("Count to ten, and then tell me what time it is."))
    assert 2.0 < len(pcm_of(pieces)) / 2 / pieces[0].sample_rate < 5.0
    assert loudness(pieces) > 500
    assert capfd.readouterr() == ("", "")


def test_pieces_follow_each_other_without_a_gap():
    pieces = asyncio.run(spoken("First this. Then that, and 25 others!"))
    position = 0
    for piece in pieces:
        assert piece.start_ms == 1000 * position / piece.sample_rate
        position += len(piece.pcm) // 2


@pytest.mark.parametrize(
    "text",
    [
        "Hello there, count to ten.",
        "It's 5 o'clock \u2014 naïve café! Mr. Smith can't.",
        "25 of the 100,000 in 1984 (I was there) - ... ok?",
        "all at once",
        "\u2026 \u2014",
    ],
)
def test_words_come_as_written_in_order_and_within_the_sound(text):
    pieces = asyncio.run(spoken(text))
    words = [word for piece in pieces for word in piece.words]
    assert " ".join(word.text for word in words) == text
    starts = [word.start_ms for word in words]
    assert starts == sorted(starts)
    assert starts[-1] <= 1000 * len(pcm_of(pieces)) / 2 / pieces[0].sample_rate


def test_words_of_a_second_phrase_are_timed_from_the_start_of_the_speech():
    first = asyncio.run(spoken("Hello there."))
    both = asyncio.run(spoken("Hello there. Goodbye."))
    goodbye = next(w for piece in both for w in piece.words if w.text == "Goodbye.")
    assert goodbye.start_ms == pytest.approx(1000 * len(pcm_of(first)) / 2 / 22050, abs=20)


def test_faster_speech_is_shorter():
    normal, fast = (len(pcm_of(asyncio.run(spoken("a joke", speed=n)))) for n in (165, 300))
    assert fast < 0.8 * normal


def test_blank_text_is_silent():
    assert asyncio.run(spoken(" \n\0 ")) == []


def test_speakers_at_the_same_time_do_not_mix():
    speeches = [
        ("one two three. four five.", "en"),
        ("go forward ten meters. Stop!", "en-us+f3"),
        ("what time is it? Tell me.", "en-gb-x-rp"),
    ]

    async def together():
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(spoken(text, voice=voice)) for text, voice in speeches]
        return [task.result() for task in running]

    for (text, voice), pieces in zip(speeches, asyncio.run(together()), strict=True):
        alone = asyncio.run(spoken(text, voice=voice))
        assert " ".join(word.text for piece in pieces for word in piece.words) == text
        # espeak-ng adds chance to a voice: no two runs are the same to the sample.
        assert len(pcm_of(pieces)) == pytest.approx(len(pcm_of(alone)), rel=0.02)
        assert loudness(pieces) == pytest.approx(loudness(alone), rel=0.1)


def test_synthesis_stops_when_its_taker_has_enough():
    taken = []

    def take(pcm, _marks):
        taken.append(pcm)
        return len(taken) < 3

    Espeak().synthesise(ABOUT_QUIC, "en", 165, take)
    assert len(taken) == 3


def test_closing_the_iterator_ends_the_synthesis_and_leaves_the_voice_usable():
    async def main():
        speech = tts.speak(ABOUT_QUIC)
        first = await anext(speech)
        await speech.aclose()
        return first, await spoken("goodbye")

    first, after = asyncio.run(main())
    assert first.pcm
    assert len(pcm_of(after)) == pytest.approx(
        len(pcm_of(asyncio.run(spoken("goodbye")))), rel=0.02
    )


def test_a_cancelled_speaker_stops():
    async def main():
        begun = asyncio.Event()

        async def speak():
            async for _piece in tts.speak(ABOUT_QUIC):
                begun.set()
                await asyncio.Event().wait()

        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(speak())
            await begun.wait()
            task.cancel()
        return task.cancelled()

    assert asyncio.run(main())


def test_a_slow_reader_holds_nobody_up():
    async def main():
        slow = tts.speak(ABOUT_QUIC)
        await anext(slow)
        other = await spoken("hello there")
        await slow.aclose()
        return other

    assert pcm_of(asyncio.run(main()))


def test_phrases_are_bounded_and_lose_nothing():
    long = "word " * 500 + "x" * 1000 + ". Mr. Smith and Dr. No came. And went: away"
    cut = list(tts.phrases(long))
    assert max(map(len, cut)) <= tts.PHRASE_CHARS
    assert "".join("".join(cut).split()) == "".join(long.split())
    assert cut[-2:] == ["Mr. Smith and Dr. No came.", "And went: away"]


def test_an_unknown_voice_and_a_bad_speed_are_refused():
    with pytest.raises(SpeechFailed, match="espeak-ng has no voice 'klingon-x'"):
        asyncio.run(spoken("hello", voice="klingon-x"))
    with pytest.raises(LocalError, match="speed 20 is not between 80 and 450"):
        asyncio.run(spoken("hello", speed=20))


def test_without_the_extra_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(SpeechUnavailable, match=r"espeakng_loader: pip install 'moqvox\[demo\]'"):
        Espeak()
