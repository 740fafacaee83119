"""A voice call whose worker is killed: it resumes at whoever takes the worker's place."""

import asyncio
import os
import signal

import pytest
from bench.resume import free_port, prompt, stage
from tests.loopback.relays import settings, until

from moqvox import voice
from moqvox.driver.scope import scope
from moqvox.transport.quic import steering
from moqvox_relay.supervisor import Supervisor

pytestmark = [
    pytest.mark.net,
    pytest.mark.slow,
    pytest.mark.timeout(120),
    pytest.mark.skipif(not steering.can_steer(), reason="this system can't steer"),
]

WORKERS = 3
PATIENCE = 100.0
KILLED_AT = 150


def worker_of(driver) -> int:
    return driver.connection._link.engine._peer_cid.cid[1] % WORKERS


def test_a_call_whose_worker_is_killed_resumes_and_loses_no_word():
    """Its caller learns by a stateless reset, and so does the agent if it was there."""

    async def main():
        port = free_port()
        async with asyncio.timeout(PATIENCE), stage() as made, scope() as tasks:
            relay = Supervisor(
                settings(
                    workers=WORKERS,
                    bind=f"127.0.0.1:{port}",
                    tls_generate=(),
                    tls_cert=made.cert,
                    tls_key=made.key,
                )
            )
            serving = tasks.create_task(relay.run())
            await relay.started.wait()
            url = f"moqt://localhost:{port}"
            agent = await made.agent(urls=url)
            async with voice.call([url], verify=made.verify) as call:
                playing = tasks.create_task(voice.Playback(call).run())
                await call.connected()
                await call.wait_answered()
                speech = call.speak()
                for index, packet in enumerate(prompt()):
                    speech.write_packet(packet)
                    await asyncio.sleep(0.02)
                    if index == KILLED_AT:
                        first = call.driver
                        os.kill(relay.pids[worker_of(first)], signal.SIGKILL)
                speech.finish()
                receipt = await speech.receipt()
                why = await first.wait_closed()
                await until(lambda: any("complete" in line for line in agent.lines), 30.0)
                playing.cancel()
                came = speech.intact(receipt), speech.tally.frames - receipt.frames
                legs, lines = call.resumptions, list(agent.lines)
            serving.cancel()
            return came, legs, why, lines

    (intact, lost), legs, why, lines = asyncio.run(main())
    assert intact
    assert lost == 0
    assert legs >= 1
    assert "stateless reset" in why.reason
    assert [line["whole"] for line in lines if line.get("event") == "heard"] == [True]
    assert [line["complete"] for line in lines if "complete" in line] == [True]
