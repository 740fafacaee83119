"""Two hundred interruptions: silent at once, no stale sample after, and told to the sample."""

import asyncio
import logging
import math

import numpy as np
import pytest
from tests.aio import run
from tests.browser.stage import RATE, as_texts, begin_call, put_out, stage
from tests.browser.test_call import ANSWER, PROMPT

from moqvox import voice

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(240)]

ROUNDS = 200

QUANTUM = 128
"""Samples that a worklet puts out at a time."""

MAX_MS = 50.0
MAX_APART_US = 20_000

INTERRUPT = """
    // A small generator with a seed (mulberry32): which moments are chosen can be repeated.
    let state = %(seed)d;
    const random = () => {
        state = (state + 0x6d2b79f5) | 0;
        let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
        mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
        return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
    };
    const pause = (ms) => new Promise((done) => setTimeout(done, ms));
    const playback = seen.call.playback;
    const cuts = [];
    const flushed = [];
    playback.addEventListener("ended", ({ detail: { response, totals } }) =>
        flushed.push({ item: response.item, heardUs: totals.heardUs }));
    let sounded;
    playback.addEventListener("began", ({ detail }) => sounded?.(detail));
    const speak = async (over) => {
        const began = new Promise((done) => (sounded = done));
        const time = playback.time;
        const speech = seen.call.speak({ source: "packets" });   // barges in, if something plays
        for (const text of %(packets)s) speech.write(seen.bytes(text));
        speech.finish();
        return { response: await began, time };
    };
    let { response } = await speak();
    for (let at = 0; at < %(rounds)d; at++) {
        await pause(20 + 250 * random());
        const cut = { item: response.item, how: at %% 2 ? "speaking" : "button" };
        if (at %% 2) {
            const next = await speak();
            cut.time = next.time;
            response = next.response;
        } else {
            cut.time = playback.time;
            await seen.call.interrupt();
            await pause(50);   // so that there is a silence to look at
            ({ response } = await speak());
        }
        cuts.push(cut);
    }
    await seen.call.interrupt();
    await pause(100);
    for (const cut of cuts) {
        cut.heardUs = flushed.find(({ item }) => item === cut.item).heardUs;
    }
    return cuts;
"""


class Answers:
    """An agent that answers each utterance as it begins, and notes what was heard of it."""

    def __init__(self) -> None:
        self.played: list[voice.Played] = []

    async def __call__(self, session: voice.Session) -> None:
        async with asyncio.TaskGroup() as tasks:
            async for _utterance in session.utterances():
                tasks.create_task(self.respond(session))

    async def respond(self, session: voice.Session) -> None:
        response = session.respond()
        for packet in ANSWER:
            if not await response.write_packet(packet):
                break
        self.played.append(await response.played())


def percentile(values: list[float], share: float) -> float:
    """The nearest rank."""
    return sorted(values)[math.ceil(share * len(values)) - 1]


def silences(cuts: list[dict], blocks: list[dict], first_frame: int, output: np.ndarray):
    """For each interruption: ms to silence, heard apart in us, and whether a silence was seen."""
    begun = sorted({block["frame"] for block in blocks if block["pieces"]})
    by_item: dict[int, list[tuple[int, dict]]] = {}
    for block in blocks:
        for piece in block["pieces"]:
            by_item.setdefault(piece["item"], []).append((block["frame"], piece))
    for cut in cuts:
        played = by_item[cut["item"]]
        heard = sum(piece["samples"] for _, piece in played)
        assert played[-1][1]["kind"] == "fade", "it ended without a fade"
        silent = played[-1][0] + QUANTUM
        following = next((frame for frame in begun if frame >= silent), silent + RATE // 20)
        stale = output[silent - first_frame : following - first_frame]
        assert not stale.any(), f"a stale sample was heard after item {cut['item']}"
        apart = abs(heard * 1e6 / RATE - cut["heardUs"])
        yield 1000 * (silent / RATE - cut["time"]), apart, len(stale)


def test_two_hundred_interruptions_are_silent_at_once_and_told_exactly():
    agent = Answers()

    async def main():
        async with stage(agent, path="blank") as (page, _network, _link):
            await begin_call(page)
            script = INTERRUPT % {
                "seed": 1,
                "rounds": ROUNDS,
                "packets": as_texts(PROMPT[:10]),
            }
            cuts = await page.run(script)
            frame, output = await put_out(page)
            blocks = await page.run("seen.pieces")
            async with asyncio.timeout(10):
                while len(agent.played) <= ROUNDS:  # noqa: ASYNC110 - the agent's own time
                    await asyncio.sleep(0.02)
            return cuts, frame, output, blocks

    cuts, frame, output, blocks = run(main(), virtual=False)
    found = list(silences(cuts, blocks, frame, output))
    to_silence = [ms for ms, _, _ in found]
    p50, p99, worst = (percentile(to_silence, share) for share in (0.5, 0.99, 1.0))
    logging.getLogger(__name__).info("to silence: %.1f %.1f %.1f ms", p50, p99, worst)
    assert len(cuts) == ROUNDS
    assert p99 <= MAX_MS
    assert max(apart for _, apart, _ in found) <= MAX_APART_US
    assert sum(size > 0 for *_, size in found) >= ROUNDS / 2, "no silence to look at"
    agents = [round(1000 * played.ms) for played in agent.played]
    assert all(played.interrupted and played.reported for played in agent.played)
    told = zip((cut["heardUs"] for cut in cuts), agents, strict=False)
    assert max(abs(here - there) for here, there in told) <= MAX_APART_US
