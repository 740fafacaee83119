"""The examples of docs/browser.md, as they stand there, in a page of another origin."""

import asyncio
import contextlib
import re
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.aio import run
from tests.browser.chromium import chromium
from tests.browser.stage import answering, microphone_wav, speech_pcm
from tests.browser.test_call import ANSWER, Answering
from tests.browser.test_page import GOOD, TALK, problems, ready

from moqvox_client.stage import Network

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(60)]

DOCUMENT = (Path(__file__).parents[2] / "docs" / "browser.md").read_text()


def example(language: str) -> str:
    """The document's only block in a language."""
    [found] = re.findall(rf"```{language}\n(.*?)```", DOCUMENT, re.DOTALL)
    return found


@asynccontextmanager
async def foreign(body: str):
    """A page on an origin of its own; its address."""

    async def answer(reader, writer):
        # Chromium opens connections ahead, and closes those that it does not need.
        with contextlib.suppress(asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            head = f"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {len(body)}"
            writer.write(f"{head}\r\nConnection: close\r\n\r\n{body}".encode())
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "localhost", 0)
    async with server:
        yield f"http://localhost:{server.sockets[0].getsockname()[1]}/"


def local(text: str, network: Network, fingerprint: str) -> str:
    """The example with the addresses and the hash of an agent that runs here."""
    agent = f"https://127.0.0.1:{network.link.address[1]}/"
    text = text.replace("https://agent.example:4443/talk.js", f"{network.page}talk.js")
    text = text.replace('"/moqvox.js"', f'"{network.page}moqvox.js"')
    text = text.replace("https://agent.example:4443/", agent).replace("ab12…", fingerprint)
    return text.replace("https://localhost:4443/", agent)


async def fingerprint_of(network: Network) -> str:
    """What the agent's server tells of its certificate."""
    reader, writer = await asyncio.open_connection("127.0.0.1", network.link.address[1])
    writer.write(b"GET /certificate.sha256 HTTP/1.1\r\nHost: x\r\n\r\n")
    answer = await reader.read()
    writer.close()
    return answer.partition(b"\r\n\r\n")[2].decode()


def test_one_line_of_html_makes_a_button_to_talk_with(tmp_path):
    agent = Answering(ANSWER[:25])

    async def main():
        microphone = microphone_wav(tmp_path, speech_pcm(), before=0.3)
        async with answering(agent) as network, chromium(microphone=microphone) as page:
            pin = await fingerprint_of(network)
            body = local(example("html"), network, pin)
            body = body.replace("<moqvox-talk ", f'<moqvox-talk hashes="{pin}" ')
            async with foreign(f"<!doctype html><title>a shop</title>{body}") as url:
                await page.open(url)
                await page.until(f"{TALK}.call")
                await ready(page)
                await page.press(" ", up=False)
                await page.until(f"{TALK}.turns.last?.speech?.frames > 50")
                await page.press(" ", down=False)
                await page.until(f"{GOOD}?.textContent")
                await page.until(f"{TALK}.turns.last.responses[0]?.heard?.state === 'ended'")
                return await page.run(f"{TALK}.call.session.carrier"), problems(page)

    assert run(main(), virtual=False) == ("webtransport", [])


def test_the_lines_of_javascript_speak_and_hear_the_answer_begin(tmp_path):
    agent = Answering(ANSWER[:25])

    async def main():
        microphone = microphone_wav(tmp_path, speech_pcm(), before=0.1)
        async with answering(agent) as network, chromium(microphone=microphone) as page:
            script = local(example("js"), network, await fingerprint_of(network))
            module = f"<script type=module>{script}; window.intact = utterance.intact</script>"
            async with foreign(f"<!doctype html><title>mine</title>{module}") as url:
                await page.open(url)
                intact = await page.until("window.intact")
                return intact, page.console

    intact, console = run(main(), virtual=False)
    assert intact is True
    assert "log: answer 0 begins" in console
