"""The page itself: by keyboard, by phone, and in every state a stranger may meet it in."""

import asyncio
import os
import socket
from pathlib import Path

import numpy as np
import pytest
from tests.aio import run
from tests.browser.chromium import chromium
from tests.browser.site import site
from tests.browser.stage import decoded, microphone_wav, speech_pcm, stage
from tests.browser.tab import Tab

from moqvox import voice
from moqvox_client.fate import Cause
from moqvox_client.speech.recordings import recording

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(90)]

TALK = "document.querySelector('moqvox-talk')"
INSIDE = f"{TALK}.shadowRoot"
GOOD = f"{INSIDE}.querySelector('.badge[data-kind=good]')"
STATUS = f"{INSIDE}.querySelector('.status').textContent"
SAID = "he was not an ill disposed young man"
REPLY = "So you say, and I have heard every word of it."


@pytest.fixture
def shots(tmp_path):
    """Where screenshots go: the folder $MOQVOX_SCREENSHOTS, to be looked at, or a passing one."""
    return Path(os.environ.get("MOQVOX_SCREENSHOTS", tmp_path))


async def agent(session: voice.Session) -> None:
    """Repeats what it hears, with captions; answers what is written with a recorded sentence."""
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(read(session))
        async for utterance in session.utterances():
            await utterance.wait_over()
            if not utterance.ended or session.closed:
                continue
            session.send("transcript", {"utterance": utterance.number, "text": SAID})
            await say(session, [packet.opus for packet in utterance.packets])


async def read(session: voice.Session) -> None:
    async for message in session.messages():
        if isinstance(message, voice.Message) and message.name == "text":
            await say(session, [bytes([0xF8, 0xFF, 0xFE])] * 50)


async def say(session: voice.Session, packets: list[bytes]) -> None:
    response = session.respond()
    for at, word in enumerate(REPLY.split()):
        session.caption(response, word, 250 * at)
    for packet in packets:
        if not await response.write_packet(packet):
            break
    await response.played()


async def ready(page: Tab) -> None:
    await page.until(f"{TALK}.call?.state === 'open'")
    await page.run(f"{INSIDE}.querySelector('.talk').focus()")


def problems(page: Tab) -> list[str]:
    return [line for line in page.console if line.startswith(("uncaught", "error"))]


def test_a_turn_by_keyboard_ends_with_a_badge_captions_and_files(tmp_path, shots):
    async def main():
        microphone = microphone_wav(tmp_path, speech_pcm("amiable-woman"), before=0.3)
        async with stage(agent, microphone=microphone) as (page, _site, _link):
            await page.resize(1100, 900)
            await ready(page)
            assert await page.run(STATUS) == "Ready."
            await page.screenshot(shots / "ready.png")
            await page.press(" ", up=False)
            await page.until(f"{TALK}.turns.last?.speech?.frames > 150")
            assert await page.run(f"{INSIDE}.querySelector('.talk').ariaPressed") == "true"
            await page.screenshot(shots / "talking.png")
            await page.press(" ", down=False)
            badge = await page.until(f"{GOOD}?.textContent")
            word = await page.until(f"{INSIDE}.querySelector('.word.now')?.textContent")
            await page.until(f"{INSIDE}.querySelectorAll('.word')[4]?.className === 'word now'")
            await page.screenshot(shots / "answering.png")
            await page.press("Escape")
            cut = await page.until(f"{INSIDE}.querySelector('.cut').textContent")
            await page.until("!document.getElementById('answer-ogg').hidden")
            files = await page.run("""
                const sizes = [];
                for (const id of ['prompt-ogg', 'answer-ogg']) {
                    const bytes = await (await fetch(document.getElementById(id).href)).bytes();
                    sizes.push([new TextDecoder().decode(bytes.subarray(0, 4)), bytes.length]);
                }
                return sizes;
            """)
            await page.screenshot(shots / "interrupted.png")
            await page.resize(390, 844, mobile=True)
            await page.screenshot(shots / "phone.png")
            wide = await page.run("document.documentElement.scrollWidth")
            return badge, word, cut, files, wide, problems(page)

    badge, word, cut, files, wide, problems_seen = run(main(), virtual=False)
    assert badge.startswith("intact · +")
    assert word in REPLY.split()
    assert "interrupted at" in cut
    assert all(magic == "OggS" and size > 3000 for magic, size in files)
    assert wide <= 390, "the page scrolls sideways on a phone"
    assert not problems_seen


def test_hands_free_takes_the_whole_sentence_and_ends_by_itself(tmp_path):
    source = speech_pcm("ill-disposed")

    async def main():
        microphone = microphone_wav(tmp_path, source, before=3.0)
        heard = []

        async def listen(session):
            async for utterance in session.utterances():
                await utterance.wait_over()
                heard.append(utterance)

        async with stage(listen, microphone=microphone) as (page, _site, _link):
            await ready(page)
            await page.run(f"{INSIDE}.querySelector('.handsfree').click()")
            await page.until(f"{TALK}.turns.last?.speech?.intact", seconds=30)
            label = await page.run(f"{INSIDE}.querySelector('.label').textContent")
            return heard[0], label

    utterance, label = run(main(), virtual=False)
    said = np.frombuffer(source, "<i2").astype(float) / 32768
    got = decoded([packet.opus for packet in utterance.packets])
    loud = [np.flatnonzero(np.abs(pcm) > 0.02) for pcm in (said, got)]
    spoken, arrived = (at[-1] - at[0] for at in loud)
    assert arrived > 0.95 * spoken, "the sentence's beginning or end is missing"
    assert label == "Just speak"


def test_the_demo_agent_understands_and_answers(tmp_path, shots):
    pytest.importorskip("pocketsphinx", reason="extra demo is not installed")
    pytest.importorskip("espeakng_loader", reason="extra demo is not installed")
    from moqvox_client.speech.agent import agent as demo

    async def main():
        microphone = microphone_wav(tmp_path, speech_pcm("amiable-woman"), before=1.0)
        async with stage(demo, microphone=microphone) as (page, _site, _link):
            await page.resize(1100, 900)
            await ready(page)
            await page.press(" ", up=False)
            await page.until(f"{TALK}.turns.last?.speech?.frames > 350", seconds=30)
            await page.press(" ", down=False)
            await page.until(f"{TALK}.turns.last?.text", seconds=30)
            await page.until(f"{INSIDE}.querySelectorAll('.word')[2]?.className === 'word now'")
            await page.screenshot(shots / "demo.png")
            state = f"{TALK}.turns.last.responses[0].heard?.state"
            await page.until(f"{state} && {state} !== 'playing'", seconds=30)
            return await page.run(f"{TALK}.turns.last.text"), await page.run(state)

    text, state = run(main(), virtual=False)
    said = recording("amiable-woman").transcript.lower().replace(",", "").replace(".", "").split()
    assert state == "ended"
    assert len(set(text.lower().split()) & set(said)) > len(set(said)) / 2, text


def test_dark_colours_and_an_outage_are_legible(tmp_path, shots):
    async def main():
        microphone = microphone_wav(tmp_path, speech_pcm("amiable-woman"), before=0.3)
        async with stage(agent, microphone=microphone) as (page, _network, link):
            await page.resize(1100, 900)
            await page.do(
                "Emulation.setEmulatedMedia",
                features=[{"name": "prefers-color-scheme", "value": "dark"}],
            )
            await ready(page)
            await page.press(" ", up=False)
            await page.until(f"{TALK}.turns.last?.speech?.frames > 50")
            await page.run("document.getElementById('outage').click()")
            await page.until("document.getElementById('lab-note').textContent.includes('2 s')")
            behind = await page.until(
                f"{TALK}.turns.last.speech.frames - {TALK}.turns.last.speech.ackedFrames > 50"
            )
            await page.screenshot(shots / "outage-dark.png")
            await page.press(" ", down=False)
            await page.until(f"{TALK}.turns.last.speech.intact")
            return behind, link.stats().up.dropped

    behind, dropped = run(main(), virtual=False)
    assert behind
    assert dropped[Cause.OUTAGE] > 0


def test_without_a_microphone_one_writes_and_hears_the_answer(shots):
    async def main():
        flags = ("--use-fake-ui-for-media-stream=deny",)
        async with stage(agent, flags=flags) as (page, _site, _link):
            await page.resize(1100, 900)
            await ready(page)
            await page.press("Enter")
            await page.until(f"!{INSIDE}.querySelector('form').hidden")
            focused = await page.run(f"{INSIDE}.activeElement.className")
            await page.do("Input.insertText", text="What time is it?")
            await page.press("Enter")
            await page.until(f"{INSIDE}.querySelector('.word')?.textContent")
            await page.screenshot(shots / "no-microphone.png")
            await page.until(f"{TALK}.turns.last.responses[0].heard?.state === 'ended'")
            answer = await page.run(f"{INSIDE}.querySelector('.answer').textContent")
            said = await page.run(f"{INSIDE}.querySelector('.said').textContent")
            return focused, said, answer

    focused, said, answer = run(main(), virtual=False)
    assert answer.strip() == f"Agent: {REPLY}"
    assert focused == "text"
    assert "What time is it?" in said


def test_where_nothing_answers_that_is_told(shots):
    async def main():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as hole:
            hole.bind(("127.0.0.1", 0))
            url = f"https://127.0.0.1:{hole.getsockname()[1]}/"
            async with (
                site({"url": url, "certificateHashes": ["00" * 32]}) as web,
                chromium() as page,
            ):
                await page.resize(1100, 900)
                await page.open(web.url)
                await page.until(f"{STATUS}.includes('Nothing answers')")
                await page.screenshot(shots / "nothing-answers.png")
                return await page.run("document.getElementById('outage').disabled")

    assert run(main(), virtual=False), "there is no network to make worse"


def test_blocked_udp_is_told_and_the_call_goes_over_tcp(tmp_path, shots):
    async def main():
        microphone = microphone_wav(tmp_path, speech_pcm("amiable-woman"), before=0.3)
        async with stage(agent, microphone=microphone, path="blank") as (page, network, _link):
            network.block_udp()
            await page.resize(1100, 900)
            await page.open(network.page)
            await ready(page)
            status = await page.run(STATUS)
            await page.press(" ", up=False)
            await page.until(f"{TALK}.turns.last?.speech?.frames > 50")
            await page.press(" ", down=False)
            await page.until(f"{INSIDE}.querySelectorAll('.word')[1]?.className === 'word now'")
            await page.screenshot(shots / "udp-blocked.png")
            ladder = await page.run("document.getElementById('ladder').textContent")
            first = await page.run(f"{TALK}.call.marks.connected")
            await page.open(network.page)
            await ready(page)
            again = await page.run(f"{TALK}.call.marks.connected")
            return status, ladder, first, again

    status, ladder, first, again = run(main(), virtual=False)
    assert "UDP gets no answer" in status
    assert "WebSocket (TCP)" in ladder
    assert first >= 600, "WebTransport had no head start"
    assert again < 600, "that WebSocket had to stand in was not remembered"


def test_a_browser_without_webtransport_talks_over_a_websocket():
    async def main():
        async with stage(agent, path="blank") as (page, network, _link):
            gone = "delete globalThis.WebTransport"
            await page.do("Page.addScriptToEvaluateOnNewDocument", source=gone)
            await page.open(network.page)
            await ready(page)
            return await page.run(STATUS), await page.run(f"{TALK}.call.session.carrier")

    status, carrier = run(main(), virtual=False)
    assert "no WebTransport" in status
    assert carrier == "websocket"


@pytest.mark.parametrize("lacking", ["AudioWorkletNode", "AudioEncoder"])
def test_a_browser_that_lacks_something_is_told_what_works(lacking, shots):
    async def main():
        async with site({"url": "https://localhost:1/"}) as web, chromium() as page:
            await page.resize(1100, 900)
            await page.do("Page.addScriptToEvaluateOnNewDocument", source=f"delete {lacking}")
            await page.open(web.url)
            await page.until(f"{STATUS}.includes('Chrome')")
            await page.screenshot(shots / f"no-{lacking}.png")
            return await page.run(STATUS), await page.run(
                f"{INSIDE}.querySelector('.talk').disabled"
            )

    status, disabled = run(main(), virtual=False)
    assert lacking.removesuffix("Node") in status
    assert disabled


def test_everything_a_hand_can_press_has_a_name():
    async def main():
        async with stage(agent) as (page, _site, _link):
            await ready(page)
            await page.do("Accessibility.enable")
            tree = (await page.do("Accessibility.getFullAXTree"))["nodes"]
            roles = ("button", "checkbox", "textbox", "link")
            return [
                (node["role"]["value"], node.get("name", {}).get("value", ""))
                for node in tree
                if not node.get("ignored") and node.get("role", {}).get("value") in roles
            ]

    controls = run(main(), virtual=False)
    assert len(controls) >= 5
    assert all(name for _, name in controls), controls
    assert ("button", "Hold to talk") in controls
