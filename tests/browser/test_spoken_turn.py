"""A sentence into the microphone, a spoken answer out of the loudspeaker: whole both ways.

On a clean path, through outages, over TCP where UDP is blocked, on a machine that has no time for
the page, and through a relay that restarts in mid-sentence and in mid-answer.
"""

import asyncio
import datetime
import difflib
import functools
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
from tests.aio import run
from tests.browser.chromium import Page, chromium
from tests.browser.site import site
from tests.browser.stage import (
    RATE,
    aligned,
    begin_call,
    decoded,
    microphone_wav,
    put_out,
    speech_pcm,
    stage,
)
from tests.browser.test_call import Answering, check_put_out

from moqvox import voice
from moqvox.driver.scope import scope
from moqvox.media.codec import Encoder, StreamEncoder
from moqvox.media.resample import Resampler
from moqvox.transport.credentials import Verify
from moqvox_certs import Certificate, generate
from moqvox_client.link import Link
from moqvox_client.speech import tts
from moqvox_client.speech.recordings import TRANSCRIPTS
from moqvox_client.speech.stt import Transcriber
from moqvox_client.speech.wer import normalise
from moqvox_relay.config import Config
from moqvox_relay.relay import Relay

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(120)]

SENTENCE = "ill-disposed"
REPLY = (
    "A connection carries many streams, and each stream is delivered whole and in order. "
    "When a packet is lost, only the streams that had data in it wait for it."
)

SPEAK = """
    await seen.call.openMicrophone(seen.raw);
    const speech = seen.speech = seen.call.speak();
    await new Promise((done) => setTimeout(done, 5000));
    speech.finish();
    await speech.receipted;
    await new Promise((done) => setTimeout(done, 50));
    return { intact: speech.intact, frames: speech.frames, receipt: speech.receipt };
"""

Disturb = Callable[[], object]


async def synthesised(text: str) -> tuple[bytes, ...]:
    """What a TTS answer is on the wire: Opus packets of 20 ms."""
    pcm = b"".join([piece.pcm async for piece in tts.speak(text)])
    resampler = Resampler(await tts.voice_rate(), RATE, 1)
    encoder = StreamEncoder(Encoder(RATE, 1, 24_000, 20))
    pcm48 = resampler.push(pcm) + resampler.flush()
    return (*encoder.push(pcm48), *encoder.flush()[0])


async def spoken_turn(page: Page, in_prompt: Disturb | None, in_answer: Disturb | None):
    """Speak, and hear the answer; `in_prompt` and `in_answer` happen in the middle of each."""

    async def happen(disturb: Disturb | None) -> None:
        if disturb is not None:
            done = disturb()
            if asyncio.iscoroutine(done):
                await done

    await begin_call(page)
    await page.until("seen.call.marks.agent")
    await page.run(f"window.saying = (async () => {{ {SPEAK} }})(); return 1")
    await page.until("seen.speech?.ackedFrames > 100")
    await happen(in_prompt)
    said = await page.run("window.saying")
    await page.until("seen.call.playback.stats.state === 'playing'")
    await happen(in_answer)
    await page.until("seen.ended.length")
    frame, output = await put_out(page)
    # The answer may be in hand, and heard, before the page has found back.
    await page.until("seen.call.session")
    ended, blocks, carrier = await page.run("[seen.ended, seen.pieces, seen.call.session.carrier]")
    return said, ended, blocks, (frame, output), carrier


async def understood(pcm: bytes) -> frozenset[tuple[int, str]]:
    """Words of the sentence that the recogniser gets right, each with its place."""
    resampler = Resampler(RATE, 16_000, 1)

    async def chunks() -> AsyncIterator[bytes]:
        yield resampler.push(pcm) + resampler.flush()

    with Transcriber(1) as transcriber:
        text = await transcriber.transcribe(chunks())
    said = normalise(TRANSCRIPTS[SENTENCE])
    alike = difflib.SequenceMatcher(None, said, normalise(text), autojunk=False)
    places = [at for block in alike.get_matching_blocks() for at in range(block.a, sum(block[::2]))]
    return frozenset((at, said[at]) for at in places)


@functools.cache
def understood_directly() -> frozenset[tuple[int, str]]:
    """Words that are understood when the file itself is fed, wherever its frames begin.

    The recogniser cuts sound into frames of its own, so that a quarter of one in silence ahead of
    the same file makes a weak word right or wrong. A microphone begins anywhere.
    """
    source, quarter = speech_pcm(SENTENCE), bytes(2 * RATE // 400)
    fed = [asyncio.run(understood(quarter * lead + source)) for lead in range(4)]
    return frozenset.intersection(*fed)


def check_turn(agent: Answering, said, ended, blocks, output) -> None:
    """Prompt and answer are what they were, to the sample, and each was there once."""
    source = speech_pcm(SENTENCE)
    assert said["intact"]
    assert len(agent.utterances) == 1, "the agent heard something twice"
    assert said["frames"] == len(agent.heard())
    wanted = np.frombuffer(source, "<i2").astype(float) / 32768
    heard = decoded(agent.heard())
    _, alike = aligned(wanted, heard)
    encoder = StreamEncoder(Encoder(RATE, 1, 24_000, 20))
    _, at_best = aligned(wanted, decoded(encoder.push(source) + encoder.flush()[0]))
    assert alike > at_best - 0.02, f"{alike:.3f} like what was said; the codec alone: {at_best:.3f}"
    arrived = (np.clip(heard, -1, 1) * 32767).astype("<i2").tobytes()
    lost = understood_directly() - asyncio.run(understood(arrived))
    assert not lost, "understood from the file, and not after the way"

    [answer] = ended
    assert answer["how"] == "played"
    assert answer["totals"]["heardSamples"] == 960 * len(agent.answer)
    assert not answer["totals"]["underruns"]
    check_put_out(output, blocks, agent.answer)
    assert agent.played[0].complete


@pytest.fixture(scope="module")
def answer() -> tuple[bytes, ...]:
    pytest.importorskip("espeakng_loader", reason="extra demo is not installed")
    return asyncio.run(synthesised(REPLY))


@pytest.mark.parametrize("case", ["clean", "outages", "websocket"])
def test_a_spoken_turn_is_whole(tmp_path, answer, case):
    agent = Answering(answer)

    async def main():
        microphone = microphone_wav(tmp_path, speech_pcm(SENTENCE), before=1.5)
        async with stage(agent, microphone=microphone, path="blank") as (page, network, _link):
            if case == "websocket":
                network.block_udp()
            disturb = None if case == "clean" else lambda: network.outage(2.0)
            return await spoken_turn(page, disturb, disturb)

    said, ended, blocks, (_, output), carrier = run(main(), virtual=False)
    assert carrier == ("websocket" if case == "websocket" else "webtransport")
    if case != "clean":
        assert said["receipt"]["worst_delay_ms"] > 1000, "the outage was not felt"
    check_turn(agent, said, ended, blocks, output)


def test_a_sentence_is_whole_though_the_page_is_held_up(tmp_path, answer):
    agent = Answering(answer)

    async def main():
        microphone = microphone_wav(tmp_path, speech_pcm(SENTENCE), before=1.5)
        async with stage(agent, microphone=microphone, path="blank") as (page, _network, _link):
            # More than WebAudio's own buffer for a microphone holds.
            return await spoken_turn(page, lambda: page.hold_up(0.3), None)

    said, ended, blocks, (_, output), _ = run(main(), virtual=False)
    check_turn(agent, said, ended, blocks, output)


@asynccontextmanager
async def relayed(folder: Path, bind: str) -> AsyncIterator[tuple[str, int]]:
    """A relay that ends, all at once, with the block."""
    config = Config(
        bind=bind,
        tls_cert=folder / "cert.pem",
        tls_key=folder / "key.pem",
        public=("",),
        http=False,
    )
    relay = Relay(config)
    async with scope() as tasks:
        running = tasks.create_task(relay.run())
        await relay.started.wait()
        try:
            yield relay.where.addresses[0]
        finally:
            running.cancel()


def certified(folder: Path) -> Certificate:
    made = generate(["127.0.0.1"], datetime.datetime.now(datetime.UTC))
    (folder / "cert.pem").write_bytes(made.cert_pem)
    (folder / "key.pem").write_bytes(made.key_pem)
    return made


def test_a_spoken_turn_is_whole_through_a_relay_that_restarts_twice(tmp_path, answer):
    agent = Answering(answer)
    made = certified(tmp_path)

    async def main():
        async with AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
            relay = [await stack.enter_async_context(AsyncExitStack())]
            host, port = await relay[0].enter_async_context(relayed(tmp_path, "127.0.0.1:0"))

            async def restart() -> None:
                await relay[0].aclose()
                relay[0] = await stack.enter_async_context(AsyncExitStack())
                await relay[0].enter_async_context(relayed(tmp_path, f"{host}:{port}"))

            verify = Verify.pinned([made.fingerprint_hex])
            desk = await stack.enter_async_context(
                voice.attend(f"moqt://{host}:{port}/room", verify=verify)
            )
            calls: list[asyncio.Task] = []

            async def take_calls() -> None:
                async for session in desk:
                    task = tasks.create_task(agent(session))
                    calls.append(task)

            calls.append(tasks.create_task(take_calls()))
            link = await stack.enter_async_context(Link((host, port)))
            connection = {
                "url": f"https://{link.address[0]}:{link.address[1]}/room",
                "certificateHashes": [made.fingerprint_hex],
            }
            web = await stack.enter_async_context(site(connection))
            microphone = microphone_wav(tmp_path, speech_pcm(SENTENCE), before=1.5)
            page = await stack.enter_async_context(chromium(microphone=microphone))
            await page.open(web.url + "blank")
            found = await spoken_turn(page, restart, restart)
            reconnects = await page.run("seen.call.reconnects")
            for task in calls:
                task.cancel()
            return found, reconnects

    (said, ended, blocks, (_, output), _), reconnects = run(main(), virtual=False)
    assert reconnects >= 2, "the restarts were not felt"
    check_turn(agent, said, ended, blocks, output)
