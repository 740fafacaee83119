"""SIGTERM on a relay between others, in mid-word: real sockets, real processes."""

import asyncio

import pytest
from bench.resume import free_port, prompt, stage

from moqvox import voice

pytestmark = [pytest.mark.net, pytest.mark.slow, pytest.mark.timeout(120)]


async def until(condition, patience=30.0):
    """Wait for what another process does; polls, as nothing rings for it."""
    async with asyncio.timeout(patience):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def test_utterance_stays_whole_while_the_relay_above_its_edge_is_drained():
    """The caller is at an edge; edge and agent move from one relay to the other."""

    async def main():
        async with asyncio.timeout(100), stage() as made:
            ports = [free_port() for _ in range(3)]
            urls = [f"moqt://localhost:{port}" for port in ports]
            victim = await made.relay(ports[0], "--drain", "20s")
            await made.relay(ports[1])
            above = ["--upstream", urls[0], "--upstream-also", urls[1], "--upstream-insecure"]
            await made.relay(ports[2], *above)
            agent = await made.agent(urls=",".join(urls[:2]))
            async with voice.call([urls[2]], verify=made.verify) as call:
                playback = voice.Playback(call)
                async with asyncio.TaskGroup() as tasks:
                    playing = tasks.create_task(playback.run())
                    await call.connected()
                    speech = call.speak()
                    for index, packet in enumerate(prompt()):
                        speech.write_packet(packet)
                        await asyncio.sleep(0.02)
                        if index == 150:
                            victim.terminate()
                    speech.finish()
                    receipt = await speech.receipt()
                    await until(lambda: agent.lines[-1].get("event") == "played")
                    playing.cancel()
                heard = [line for line in agent.lines if line.get("event") == "heard"]
                played = [line["complete"] for line in agent.lines if "complete" in line]
                lost = speech.tally.frames - receipt.frames
                await until(lambda: not victim.is_alive)
                legs = call.resumptions
                return speech.intact(receipt), lost, heard, played, call.redial.reconnects, legs

    intact, lost, heard, played, reconnects, legs = asyncio.run(main())
    assert intact
    assert lost == 0
    assert [line["whole"] for line in heard] == [True]
    assert played == [True]
    assert reconnects == 0
    assert legs <= 4
