"""What the page makes of a microphone that is late, stops, or that it has no time for."""

import asyncio

import numpy as np
import pytest
from tests.aio import run
from tests.browser.stage import (
    RATE,
    aligned,
    begin_call,
    decoded,
    microphone_wav,
    speech_pcm,
    stage,
)
from tests.browser.test_call import Answering

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(60)]

LATE = """
    const Real = MediaStreamTrackProcessor;
    globalThis.MediaStreamTrackProcessor = class {
      constructor(options) {
        const reader = new Real(options).readable.getReader();
        const late = new Promise((done) => (window.begin = done));
        const read = async () => { await late; return reader.read(); };
        this.readable = { getReader: () => ({ read, cancel: () => reader.cancel() }) };
      }
    };
    return 1;
"""
"""A microphone that gives nothing until `begin()`; then all at once."""

KEEP_TRACK = """
    const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
    navigator.mediaDevices.getUserMedia = async (wanted) => {
      const stream = await ask(wanted);
      [window.track] = stream.getAudioTracks();
      return stream;
    };
    return 1;
"""


def spoken(agent: Answering) -> tuple[np.ndarray, np.ndarray]:
    return np.frombuffer(speech_pcm(), "<i2").astype(float) / 32768, decoded(agent.heard())


def test_the_last_words_are_there_though_the_page_is_held_up_when_they_end(tmp_path):
    agent = Answering(())

    async def main():
        microphone = microphone_wav(tmp_path, speech_pcm(), before=0.5)
        async with stage(agent, microphone=microphone, path="blank") as (page, _network, _link):
            await begin_call(page)
            await page.run("await seen.call.openMicrophone(seen.raw); return 1")
            await page.run(
                "seen.before = 20 * seen.call.microphone.preroll().length;"
                "seen.beganMs = performance.now(); seen.speech = seen.call.speak(); return 1"
            )
            await page.until("seen.speech.frames > 50")
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(page.hold_up(0.8))
                await asyncio.sleep(0.4)  # the button is let go while nobody looks
                tasks.create_task(
                    page.run("seen.endedMs = performance.now(); seen.speech.finish(); return 1")
                )
            await page.run("await seen.speech.receipted; return 1")
            return await page.run(
                "return [seen.speech.intact, seen.speech.durationUs / 1000,"
                " seen.before + seen.endedMs - seen.beganMs]"
            )

    intact, spoken_ms, lasted_ms = run(main(), virtual=False)
    assert intact
    assert lasted_ms - 40 < spoken_ms < lasted_ms + 200


def test_a_microphone_that_begins_late_is_heard_at_its_own_rate(tmp_path):
    agent = Answering(())

    async def main():
        microphone = microphone_wav(tmp_path, speech_pcm(), before=1.0)
        async with stage(agent, microphone=microphone, path="blank") as (page, _network, _link):
            await begin_call(page)
            await page.run(LATE)
            await page.run("window.opening = seen.call.openMicrophone(seen.raw); return 1")
            await page.run("await window.opening; return 1")
            await page.run("seen.speech = seen.call.speak(); begin(); return 1")
            await page.until("seen.speech.frames > 220", seconds=15)
            await page.run("seen.speech.finish(); await seen.speech.receipted; return 1")

    run(main(), virtual=False)
    source, heard = spoken(agent)
    assert aligned(source, heard)[1] > 0.8


def test_behind_a_microphone_that_is_gone_time_goes_on_in_silence(tmp_path):
    agent = Answering(())

    async def main():
        microphone = microphone_wav(tmp_path, speech_pcm(), before=0.0)
        async with stage(agent, microphone=microphone, path="blank") as (page, _network, _link):
            await begin_call(page)
            await page.run(KEEP_TRACK)
            await page.run("await seen.call.openMicrophone(seen.raw); return 1")
            await page.run("seen.speech = seen.call.speak(); return 1")
            await page.until("seen.speech.frames > 50")
            await page.run("track.stop(); window.until = seen.speech.frames + 75; return 1")
            await page.until("seen.speech.frames > window.until")
            level = await page.run("seen.call.microphone.level")
            await page.run("seen.speech.finish(); await seen.speech.receipted; return 1")
            return level, await page.run("seen.speech.intact")

    level, intact = run(main(), virtual=False)
    assert level == 0
    assert intact
    assert np.max(np.abs(decoded(agent.heard())[-RATE // 2 :])) < 0.01
