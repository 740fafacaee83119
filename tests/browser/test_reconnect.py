"""A browser whose agent dies, or whose network is gone for long: the call goes on."""

import asyncio
import datetime
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from tests.aio import run
from tests.browser.chromium import chromium
from tests.browser.site import site
from tests.browser.stage import begin_call, stage
from tests.browser.test_call import ANSWER, PROMPT, Answering, say

from moqvox import voice
from moqvox.driver.scope import scope
from moqvox.transport.credentials import ServerCertificate, Verify
from moqvox_certs import generate
from moqvox_client.link import Impairment, Link, Settings
from moqvox_relay.config import Config
from moqvox_relay.relay import Relay

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(120)]

LONG_WAY_MS = 150.0
"""To a relay, one way."""


async def answer(agent, calls):
    """Take calls until cancelled."""
    async with asyncio.TaskGroup() as tasks:
        async for session in calls:
            tasks.create_task(agent(session))


@asynccontextmanager
async def desk(agent, bind, made):
    """An agent on its own port, which ends with the block."""
    tls = ServerCertificate(made.cert_pem, made.key_pem)
    async with voice.serve(bind, tls=tls) as calls, scope() as tasks:
        answering = tasks.create_task(answer(agent, calls))
        try:
            yield calls.addresses[0]
        finally:
            answering.cancel()


def test_an_agent_that_restarts_in_mid_prompt_gets_all_of_it():
    first, second = Answering(), Answering()
    made = generate(["127.0.0.1"], datetime.datetime.now(datetime.UTC))

    async def main():
        async with AsyncExitStack() as stack:
            running = await stack.enter_async_context(AsyncExitStack())
            host, port = await running.enter_async_context(desk(first, "127.0.0.1:0", made))
            connection = {
                "url": f"https://{host}:{port}/",
                "certificateHashes": [made.fingerprint_hex],
            }
            web = await stack.enter_async_context(site(connection))
            page = await stack.enter_async_context(chromium())
            await page.open(web.url + "blank")
            await begin_call(page)
            await page.until("seen.call.state === 'open'")
            await page.run(f"window.saying = (async () => {{ {say(PROMPT)} }})(); return 1")
            await page.until("seen.speech?.ackedFrames > 40")
            await running.aclose()
            await page.until("seen.call.state !== 'open'")
            await stack.enter_async_context(desk(second, f"{host}:{port}", made))
            said = await page.run("window.saying")
            await page.until("seen.ended.length")
            return said, await page.run("[seen.ended, seen.call.reconnects]")

    said, (ended, reconnects) = run(main(), virtual=False)
    assert said["intact"]
    assert 0 < first.utterances[0].tally.frames < len(PROMPT)
    assert second.heard() == list(PROMPT)
    assert ended[-1]["totals"]["heardSamples"] == 960 * len(ANSWER)
    # A server that closes may take one more connection, and end that too.
    assert 1 <= reconnects <= 3


def test_an_outage_longer_than_the_browser_holds_a_connection_loses_nothing():
    agent = Answering()

    async def main():
        async with stage(agent, path="blank") as (page, _site, link):
            await begin_call(page)
            await page.until("seen.call.state === 'open'")
            link.outage(12.0, after=1.0)
            said = await page.run(say(PROMPT))
            await page.until("seen.ended.length")
            return said, await page.run("seen.ended"), await page.run("seen.states")

    said, ended, states = run(main(), virtual=False)
    assert said["intact"]
    assert agent.heard() == list(PROMPT)
    assert "reconnecting" in states
    assert states[-1] == "open"
    assert ended[-1]["totals"]["heardSamples"] == 960 * len(ANSWER)


def test_a_relay_that_restarts_in_mid_prompt_costs_time_and_no_word(tmp_path):
    agent = Answering()
    made = generate(["127.0.0.1"], datetime.datetime.now(datetime.UTC))

    @asynccontextmanager
    async def relayed(folder, bind):
        """A relay, and the agent behind it, which both end with the block."""
        config = Config(
            bind=bind,
            tls_cert=folder / "cert.pem",
            tls_key=folder / "key.pem",
            public=("",),
            http=False,
        )
        relay = Relay(config)
        async with scope() as tasks:
            running = [tasks.create_task(relay.run())]
            await relay.started.wait()
            host, port = relay.where.addresses[0]
            verify = Verify.pinned([made.fingerprint_hex])
            try:
                async with voice.attend(f"moqt://{host}:{port}/room", verify=verify) as calls:
                    running.append(tasks.create_task(answer(agent, calls)))
                    yield host, port
            finally:
                for task in running:
                    task.cancel()

    async def main(folder):
        (folder / "cert.pem").write_bytes(made.cert_pem)
        (folder / "key.pem").write_bytes(made.key_pem)
        async with AsyncExitStack() as stack:
            running = await stack.enter_async_context(AsyncExitStack())
            host, port = await running.enter_async_context(relayed(folder, "127.0.0.1:0"))
            link = await stack.enter_async_context(Link((host, port)))
            address = link.address
            connection = {
                "url": f"https://{address[0]}:{address[1]}/room",
                "certificateHashes": [made.fingerprint_hex],
            }
            web = await stack.enter_async_context(site(connection))
            page = await stack.enter_async_context(chromium())
            await page.open(web.url + "blank")
            await begin_call(page)
            await page.until("seen.call.marks.agent")
            await page.run(f"window.saying = (async () => {{ {say(PROMPT)} }})(); return 1")
            await page.until("seen.speech?.ackedFrames > 40")
            await running.aclose()
            await stack.enter_async_context(relayed(folder, f"{host}:{port}"))
            said = await page.run("window.saying")
            await page.until("seen.ended.length")
            return said, await page.run("seen.ended")

    said, ended = run(main(tmp_path), virtual=False)
    assert said["intact"]
    assert agent.heard() == list(PROMPT)
    assert ended[-1]["totals"]["heardSamples"] == 960 * len(ANSWER)


def test_no_frame_waits_when_a_relay_that_drains_hands_the_page_over(tmp_path):
    """The agent's way to the second relay is long, and its hello there late."""
    agent, prompt = Answering(ANSWER[:25]), PROMPT[:130]
    made = generate(["127.0.0.1"], datetime.datetime.now(datetime.UTC))
    (tmp_path / "cert.pem").write_bytes(made.cert_pem)
    (tmp_path / "key.pem").write_bytes(made.key_pem)

    async def main():
        async with AsyncExitStack() as stack:
            tasks = await stack.enter_async_context(scope())
            relays = [
                Relay(
                    Config(
                        bind="127.0.0.1:0",
                        tls_cert=tmp_path / "cert.pem",
                        tls_key=tmp_path / "key.pem",
                        public=("",),
                        http=False,
                        drain=drain,
                    )
                )
                for drain in (20.0, 0.0)
            ]
            running = [tasks.create_task(relay.run()) for relay in relays]
            for relay in relays:
                await relay.started.wait()
            near, there = (relay.where.addresses[0] for relay in relays)
            slow = Impairment(delay_ms=LONG_WAY_MS)
            far = await stack.enter_async_context(Link(there, Settings.both(slow)))
            desk = await stack.enter_async_context(
                voice.attend(
                    [f"moqt://{host}:{port}/room" for host, port in (near, far.address)],
                    verify=Verify.pinned([made.fingerprint_hex]),
                )
            )
            running.append(tasks.create_task(answer(agent, desk)))
            urls = [f"https://{host}:{port}/room" for host, port in (near, there)]
            web = await stack.enter_async_context(
                site({"url": urls, "certificateHashes": [made.fingerprint_hex]})
            )
            page = await stack.enter_async_context(chromium())
            await page.open(web.url + "blank")
            await begin_call(page)
            await page.until("seen.call.marks.agent")
            await page.run(f"window.saying = (async () => {{ {say(prompt)} }})(); return 1")
            await page.until("seen.speech?.ackedFrames > 10")
            running[0].cancel()
            said = await page.run("window.saying")
            await page.until("seen.ended.length")
            moved = await page.run("[seen.call.reconnects, seen.states, seen.ended]")
            for task in running:
                task.cancel()
            return said, moved

    said, (reconnects, states, ended) = run(main(), virtual=False)
    assert said["intact"]
    assert agent.heard() == list(prompt)
    assert len(agent.utterances) == 1
    assert reconnects == 1
    assert "reconnecting" not in states
    assert said["receipt"]["resumptions"] == 1
    assert said["receipt"]["worst_delay_ms"] < 3 * LONG_WAY_MS, "a frame waited for the agent"
    assert ended[-1]["totals"]["heardSamples"] == 960 * 25
