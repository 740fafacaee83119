"""A call from a real browser: what was said arrives intact, what is answered is heard whole."""

import asyncio

import numpy as np
import pytest
from tests.aio import run
from tests.browser.stage import (
    RATE,
    aligned,
    as_texts,
    begin_call,
    decoded,
    stage,
)

from moqvox import voice
from moqvox.wire.version import LITE_ALPNS
from moqvox_client.speech.recordings import recording

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(90)]

PROMPT = recording("ill-disposed").opus
ANSWER = recording("amiable-woman").opus


class Answering:
    """An agent that answers each utterance with a recording, pushed at once, and keeps notes."""

    def __init__(self, answer: tuple[bytes, ...] = ANSWER) -> None:
        self.answer = answer
        self.utterances: list[voice.Utterance] = []
        self.played: list[voice.Played] = []

    async def __call__(self, session: voice.Session) -> None:
        async with asyncio.TaskGroup() as tasks:
            async for utterance in session.utterances():
                self.utterances.append(utterance)
                tasks.create_task(self.respond(session, utterance))

    async def respond(self, session: voice.Session, utterance: voice.Utterance) -> None:
        await utterance.wait_over()
        if utterance.cancelled or not utterance.ended or session.closed:
            return
        response = session.respond()
        for packet in self.answer:
            if not await response.write_packet(packet):
                break
        self.played.append(await response.played())

    def heard(self) -> list[bytes]:
        return [packet.opus for packet in self.utterances[-1].packets]


def say(packets, pace_ms=20):
    return f"""
        const speech = await seen.say({as_texts(packets)}, {pace_ms});
        await speech.receipted;
        await new Promise((done) => setTimeout(done, 50));
        return {{ intact: speech.intact, receipt: speech.receipt, frames: speech.frames }};
    """


def pieces_of(blocks: list[dict]) -> list[tuple[int, int, int]]:
    """What was put out, as (output frame, media time in samples, samples), joined."""
    pieces: list[tuple[int, int, int]] = []
    for block in blocks:
        at = block["frame"]
        for piece in block["pieces"]:
            media = round(piece["timestampUs"] * RATE / 1e6) + piece["offset"]
            pieces.append((at, media, piece["samples"]))
            at += piece["samples"]
    return pieces


def check_put_out(output: np.ndarray, blocks: list[dict], answer: tuple[bytes, ...]) -> None:
    """What the worklet put out is the agent's audio: no gap, no repeat, timestamps kept."""
    pieces = pieces_of(blocks)
    offsets = {frame - media for frame, media, _ in pieces}
    assert max(offsets) - min(offsets) <= RATE // 50, "timestamps were not kept within 20 ms"
    ends = [media + samples for _, media, samples in pieces]
    starts = [media for _, media, _ in pieces]
    assert starts[1:] == ends[:-1], "something was left out or came twice"
    _, alike = aligned(decoded(list(answer)), output)
    assert alike > 0.99, f"what was put out is {alike:.4f} like what the agent sent"


@pytest.mark.parametrize("version", LITE_ALPNS)
def test_every_version_carries_a_turn(version):
    agent = Answering(ANSWER[:20])

    async def main():
        async with stage(agent, path="blank") as (page, _site, _link):
            await page.run(f"window.options = {{ versions: ['{version}'] }}; return 1")
            await begin_call(page)
            said = await page.run(say(PROMPT[:25], pace_ms=2))
            await page.until("seen.ended.length")
            spoken = await page.run("seen.call.session.version.alpn")
            return said, spoken, await page.run("seen.ended")

    said, spoken, ended = run(main(), virtual=False)
    assert spoken == version
    assert said["intact"]
    assert ended[0]["totals"]["heardSamples"] == 960 * 20


def test_ten_percent_loss_costs_time_and_no_frame():
    agent = Answering()

    async def main():
        async with stage(agent, path="blank") as (page, _site, _link):
            await begin_call(page)
            await page.until("seen.call.state === 'open'")
            await page.run("fetch('/lab/loss/10', { method: 'POST' }).then(({ ok }) => ok)")
            said = await page.run(say(PROMPT))
            await page.until("seen.ended.length")
            return said, await page.run("seen.ended")

    said, ended = run(main(), virtual=False)
    assert said["intact"]
    assert agent.heard() == list(PROMPT)
    assert ended[0]["totals"]["heardSamples"] == 960 * len(ANSWER)


def test_what_is_said_before_the_connection_stands_arrives_too():
    agent = Answering(ANSWER[:5])

    async def main():
        async with stage(agent, path="blank") as (page, _site, link):
            link.outage(1.0)
            await begin_call(page)
            assert await page.run("seen.call.state") == "connecting"
            return await page.run(say(PROMPT))

    assert run(main(), virtual=False)["intact"]
    assert agent.heard() == list(PROMPT)
