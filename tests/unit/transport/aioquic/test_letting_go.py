"""Connections that are over leave no cycles, so that a crowd's end does not stop the loop."""

import asyncio
import contextlib
import datetime
import gc
from collections import Counter

import pytest
from tests.attack.attacker import Attacker, Crowd, crypto_frame
from tests.attack.rows import wt

from moqvox.errors import MoqError
from moqvox.transport.aioquic import listen
from moqvox.transport.aioquic.private import Engine
from moqvox.transport.credentials import ServerCertificate
from moqvox_certs import generate

pytestmark = pytest.mark.net

RAW = "moq-lite-06"
WAIT_SECONDS = 10.0
VISITS = 3


async def serve_one(listener, *, closes: bool):
    connection = await listener.accept()
    with contextlib.suppress(MoqError):
        while True:
            await connection.events()
            if closes:
                connection.close()
    return connection


async def bring(listener, visit, served: int, *, closes: bool) -> list:
    """Let clients of another thread come, until the server has forgotten them all."""
    async with asyncio.timeout(WAIT_SECONDS), asyncio.TaskGroup() as tasks:
        serving = [tasks.create_task(serve_one(listener, closes=closes)) for _ in range(served)]
        for _ in range(VISITS):
            await asyncio.to_thread(visit, listener.addresses[0])
    async with asyncio.timeout(WAIT_SECONDS):
        while len(listener._endpoint):  # noqa: ASYNC110  # nothing tells that they are forgotten
            await asyncio.sleep(0.01)
    await asyncio.sleep(0)
    return [one.result() for one in serving]


def raw_visit(address) -> None:
    with Attacker(address).connect() as client:
        client.open(b"some words")
        client.pump(0.01)


def web_visit(address) -> None:
    client, _ = wt(address)
    with client:
        client.pump(0.01)


def broken_visit(address) -> None:
    with Crowd(address) as crowd:
        crowd.send(crowd.initial(crypto_frame(500_000, b"x")), "127.0.0.1")
        crowd.answers(0.02)


def cycles_of_servers() -> Counter:
    """Count what only the collector could free of servers' connections."""
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        gc.collect()
        found = list(gc.garbage)
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
    mine = Counter(type(one).__name__ for one in found if type(one).__module__.startswith("moqvox"))
    theirs = [one for one in found if isinstance(one, Engine) and not one._is_client]
    return mine + Counter(Engine=len(theirs))


async def come_and_go(visit, served: int, *, closes: bool, ask=lambda _connection: None) -> Counter:
    """Return the cycles that visits have left; the last of them may be asked for something."""
    made = generate(["localhost"], datetime.datetime.now(datetime.UTC))
    identity = ServerCertificate(made.cert_pem, made.key_pem)
    listener = await listen("127.0.0.1", 0, protocols=[RAW], certificate=identity)
    gc.collect()
    gc.disable()
    try:
        connections = await bring(listener, visit, served, closes=closes)
        assert len(connections) == served
        for connection in connections[-1:]:
            ask(connection)
            del connection
        connections.clear()
        listener._endpoint._timers.clear()  # appointments of links that are gone
        return cycles_of_servers()
    finally:
        gc.enable()
        listener._endpoint.close()


@pytest.mark.parametrize(
    ("visit", "served", "closes"),
    [
        pytest.param(raw_visit, VISITS, False, id="raw"),
        pytest.param(raw_visit, VISITS, True, id="raw, closed by the server"),
        pytest.param(web_visit, VISITS, False, id="webtransport"),
        pytest.param(web_visit, VISITS, True, id="webtransport, closed by the server"),
        pytest.param(broken_visit, 0, False, id="no handshake"),
    ],
)
def test_a_connection_that_is_over_leaves_nothing_for_the_collector(visit, served, closes):
    assert asyncio.run(come_and_go(visit, served, closes=closes)) == Counter()


def ask_much(connection) -> None:
    assert connection.stats().received_bytes > 1200
    assert connection.stats().rtt > 0
    assert connection.remote_address.startswith("127.0.0.1:")
    assert connection.max_datagram_size > 0
    assert not connection.settled(0)  # whose end was never sent
    assert not connection._link.table.settled(0)
    assert not connection.send_datagram(b"too late")
    connection.write(0, b"too late")
    connection.set_priority(0, 1)
    connection.reset(0, 1)
    connection.stop(0, 1)
    connection._link.hand_over(0, 10)
    connection._link.release(0)
    connection.close()


def test_a_connection_that_is_over_can_be_asked_as_before():
    found = asyncio.run(come_and_go(raw_visit, VISITS, closes=False, ask=ask_much))
    assert found == Counter()
