"""The demo's page stands on one port number, and its buttons reach the network."""

import asyncio
import json
import urllib.request

import pytest
from tests import aio

from moqvox.connect import connect
from moqvox.errors import LocalError
from moqvox.transport.credentials import Verify
from moqvox.transport.interface import Kind
from moqvox_client.fate import Cause
from moqvox_client.stage import staged

pytestmark = pytest.mark.net


def fetch(port, name, *, post=False):
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/{name}", method="POST" if post else "GET"
    )
    with urllib.request.urlopen(request, timeout=10) as found:
        return found.read()


@pytest.mark.slow
def test_the_page_tells_where_to_call_and_its_buttons_worsen_the_way_there():
    async def main():
        async with staged() as stage:
            connection = json.loads(await asyncio.to_thread(fetch, stage.port, "connection.json"))
            assert stage.page == f"http://localhost:{stage.port}/"
            assert connection["url"] == f"https://127.0.0.1:{stage.port}/"
            assert connection["lab"] == "lab/"
            assert stage.network.link.address[1] == stage.network.gate.address[1] == stage.port
            link = stage.network.link
            await asyncio.to_thread(fetch, stage.port, "lab/loss/30", post=True)
            assert [link._up.impairment.loss, link._down.impairment.loss] == [30, 30]
            await asyncio.to_thread(fetch, stage.port, "lab/loss/0", post=True)
            assert [link._up.impairment.loss, link._down.impairment.loss] == [0, 0]
            stage.network.block_udp()
            began = asyncio.get_running_loop().time()
            await asyncio.to_thread(fetch, stage.port, "lab/outage", post=True)
            verify = Verify.pinned(connection["certificateHashes"])
            async with connect(connection["url"], verify=verify) as driver:
                assert driver.connection.kind is Kind.WEBSOCKET
            assert asyncio.get_running_loop().time() - began > 1.5, "the outage was not felt"
            assert link.stats().up.dropped[Cause.LOSS] + link.stats().up.dropped[Cause.OUTAGE] > 0

    aio.run(main(), virtual=False)


def test_a_port_that_is_taken_is_one_clear_error():
    async def main():
        async with staged() as stage:
            with pytest.raises(LocalError, match=f"can't bind 127.0.0.1 port {stage.port}"):
                async with staged(bind=("127.0.0.1", stage.port)):
                    pass

    aio.run(main(), virtual=False)
