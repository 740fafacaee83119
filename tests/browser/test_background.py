"""A call in a tab that nobody looks at, where browsers slow a page's timers."""

import pytest
from tests.aio import run
from tests.browser.stage import begin_call, microphone_wav, speech_pcm, stage
from tests.browser.test_call import ANSWER, Answering

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(90)]

SLOWED = "--enable-features=IntensiveWakeUpThrottling:grace_period_seconds/1"
"""One ring a minute for timers that ring again and again, after 1 s instead of 5 minutes."""

MEASURE = """
    const { pause } = await import("/clock.js");
    const own = () => new Promise((done) => setTimeout(done, 10));
    const times = [];
    for (const wait of [own, () => pause(10)]) {
        const began = performance.now();
        for (let ring = 0; ring < 3; ring++) await wait();
        times.push(performance.now() - began);
    }
    return times;
"""
"""How long three waits of 10 ms take, by the tab's own timers and by ours."""


def test_speech_goes_on_a_dead_path_is_noticed_and_the_answer_is_played(tmp_path):
    agent = Answering(ANSWER[:100])

    async def main():
        microphone = microphone_wav(tmp_path, speech_pcm())
        async with stage(agent, path="blank", microphone=microphone, flags=(SLOWED,)) as (
            page,
            network,
            _link,
        ):
            await begin_call(page)
            await page.until("seen.call.state === 'open'")
            await page.run("await seen.call.openMicrophone(seen.raw); return 1")
            await page.do("Target.createTarget", url="about:blank")
            await page.until("document.visibilityState === 'hidden'")
            slowed, kept = await page.run(MEASURE)
            await page.run("seen.speech = seen.call.speak(); return 1")
            await page.until("seen.speech.ackedFrames > 50")
            network.block_udp()
            await page.until("seen.states.includes('reconnecting')", seconds=15)
            network.lose(0)
            await page.until("seen.call.state === 'open'")
            await page.run("seen.speech.finish(); await seen.speech.receipted; return 1")
            await page.until("seen.ended.length")
            hidden = await page.run("document.visibilityState")
            intact = await page.run("seen.speech.intact")
            return slowed, kept, hidden, intact, await page.run("seen.ended[0]")

    slowed, kept, hidden, intact, ended = run(main(), virtual=False)
    assert hidden == "hidden"
    assert slowed > 1000, "the tab's timers were not slowed: this shows nothing"
    assert kept < slowed / 2, "our timers are slowed as well"
    assert intact
    assert ended["totals"]["heardSamples"] == 960 * len(agent.answer)
    assert ended["totals"]["underruns"] == 0
