"""A call and the page in Firefox, over WebTransport and over a WebSocket."""

import os
from pathlib import Path

import pytest
from tests.aio import run
from tests.browser.firefox import firefox
from tests.browser.stage import RATE, answering, begin_call, decoded, in_place, put_out, speech_pcm
from tests.browser.test_call import ANSWER as WHOLE_ANSWER
from tests.browser.test_call import PROMPT, Answering, check_put_out, say
from tests.browser.test_page import GOOD, STATUS, TALK, problems, ready

ANSWER = WHOLE_ANSWER[:150]

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(60)]


@pytest.fixture
def shots(tmp_path):
    """Where screenshots go: the folder $MOQVOX_SCREENSHOTS, to be looked at, or a passing one."""
    return Path(os.environ.get("MOQVOX_SCREENSHOTS", tmp_path))


@pytest.mark.parametrize("carrier", ["webtransport", "websocket"])
def test_a_turn_through_an_outage_is_intact_and_its_answer_played_whole(carrier):
    agent = Answering(ANSWER)

    async def main():
        async with answering(agent) as network, firefox() as (tab, _sound):
            await tab.open(network.page + "blank")
            await tab.run(
                f"window.options = {{ carriers: ['{carrier}'], namedProtocol: true }}; return 1"
            )
            await begin_call(tab)
            await tab.until("seen.call.state === 'open'")
            network.outage(1.0)
            said = await tab.run(say(PROMPT, pace_ms=10))
            await tab.until("seen.ended.length")
            _, output = await put_out(tab)
            via = await tab.run("[seen.call.session.carrier, seen.call.session.version.alpn]")
            return said, output, await tab.run("seen.pieces"), via

    said, output, blocks, via = run(main(), virtual=False)
    assert said["intact"]
    assert said["receipt"]["worst_delay_ms"] > 500, "there was no outage"
    assert agent.heard() == list(PROMPT)
    assert via == [carrier, "moq-lite-06"]
    check_put_out(output, blocks, ANSWER)


def test_the_page_takes_a_sentence_from_the_microphone(shots):
    agent, source = Answering(ANSWER[:50]), speech_pcm("amiable-woman")[: 2 * 3 * RATE]

    async def main():
        async with answering(agent) as network, firefox() as (tab, sound):
            await tab.resize(1100, 900)
            await tab.open(network.page)
            await ready(tab)
            status = await tab.run(STATUS)
            await tab.press(" ", up=False)
            await tab.until(f"{TALK}.turns.last?.speech?.frames > 15")
            sound.say(source)
            await tab.until(f"{TALK}.turns.last.speech.frames > {len(source) // 1920 + 60}")
            await tab.press(" ", down=False)
            badge = await tab.until(f"{GOOD}?.textContent")
            await tab.until(f"{TALK}.turns.last.responses[0]?.heard?.state === 'ended'")
            await tab.screenshot(shots / "firefox.png")
            carrier = await tab.run(f"{TALK}.call.session.carrier")
            return status, badge, carrier, problems(tab)

    status, badge, carrier, seen = run(main(), virtual=False)
    assert (status, carrier) == ("Ready.", "webtransport")
    assert badge.startswith("intact")
    assert in_place(source, decoded(agent.heard())) > 0.5, "it is not the sentence that was said"
    assert not seen
