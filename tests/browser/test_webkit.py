"""The page in WebKitGTK, which has no WebTransport: the call goes over a WebSocket."""

import os
from pathlib import Path

import pytest
from tests.aio import run
from tests.browser.stage import RATE, answering, decoded, in_place, speech_pcm
from tests.browser.test_call import ANSWER, Answering
from tests.browser.test_page import GOOD, STATUS, TALK, ready
from tests.browser.webkit import webkit

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(60)]


@pytest.fixture
def shots(tmp_path):
    """Where screenshots go: the folder $MOQVOX_SCREENSHOTS, to be looked at, or a passing one."""
    return Path(os.environ.get("MOQVOX_SCREENSHOTS", tmp_path))


def test_the_page_takes_a_sentence_from_the_microphone_and_plays_the_answer(shots):
    agent, source = Answering(ANSWER[:50]), speech_pcm("amiable-woman")[: 2 * 3 * RATE]
    heard = f"{TALK}.turns.last.responses[0]?.heard"

    async def main():
        async with answering(agent) as network, webkit() as (tab, sound):
            await tab.open(network.page)
            await ready(tab)
            status = await tab.run(STATUS)
            await tab.press(" ", up=False)
            await tab.until(f"{TALK}.turns.last?.speech?.frames > 15")
            sound.say(source)
            await tab.until(f"{TALK}.turns.last.speech.frames > {len(source) // 1920 + 60}")
            await tab.press(" ", down=False)
            badge = await tab.until(f"{GOOD}?.textContent")
            await tab.until(f"{heard}?.state === 'ended'")
            await tab.screenshot(shots / "webkit.png")
            return (
                status,
                badge,
                await tab.run(f"{TALK}.call.session.carrier"),
                await tab.run(heard),
            )

    status, badge, carrier, played = run(main(), virtual=False)
    assert "no WebTransport" in status
    assert carrier == "websocket"
    assert badge.startswith("intact")
    assert in_place(source, decoded(agent.heard())) > 0.5, "it is not the sentence that was said"
    assert played["heardUs"] == 20_000 * len(agent.answer)
