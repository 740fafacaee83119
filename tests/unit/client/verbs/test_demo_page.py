"""`demo --page`: it stays, and says where to talk."""

import asyncio
import json
import urllib.request

import pytest

pytestmark = [pytest.mark.net, pytest.mark.slow]


def test_the_demo_stays_with_a_page_whose_network_can_be_worsened(aside, backstage):
    pytest.importorskip("pocketsphinx", reason="extra demo is not installed")
    pytest.importorskip("espeakng_loader", reason="extra demo is not installed")
    running = aside("demo", "--page", "--bind", "127.0.0.1:0", "--rtt", "20ms")

    async def ready():
        async with asyncio.timeout(20):
            while not running.said():
                if running.done():
                    running.result()
                await asyncio.sleep(0.02)
        return running.said()[0]

    found = backstage.call(ready(), patience=25)
    assert found["page"] == f"http://localhost:{found['port']}/"

    def fetch(name, method="GET"):
        url = f"http://127.0.0.1:{found['port']}/{name}"
        with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=10) as got:
            return got.read()

    assert b"<moqvox-talk" in fetch("")
    assert json.loads(fetch("connection.json"))["lab"] == "lab/"
    fetch("lab/outage", "POST")
    running.cancel()
