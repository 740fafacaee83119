"""A server's sessions over a WebSocket that are over leave no cycles."""

import asyncio
import gc
from collections import Counter

import pytest
from tests.loopback.relays import running, trust, until, url
from websockets.server import ServerProtocol

from moqvox.connect import connect
from moqvox.driver import Driver
from moqvox.model.origin import Origin
from moqvox.transport.websocket.connection import WebSocketConnection
from moqvox.transport.websocket.greeting import Greeting

pytestmark = pytest.mark.net

VISITS = 3


def is_servers(one: object) -> bool:
    """Whether an object is of a server; a client holds one connection, and is left as it is."""
    if isinstance(one, Driver):
        one = one.connection
    if isinstance(one, WebSocketConnection):
        return not one.is_client
    return isinstance(one, Greeting | ServerProtocol)


def cycles() -> Counter:
    """Count what only the collector could free."""
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        gc.collect()
        return Counter(type(one).__qualname__ for one in gc.garbage if is_servers(one))
    finally:
        gc.set_debug(0)
        gc.garbage.clear()


def leave(session, _relay) -> None:
    session.close()


def dismiss(_session, relay) -> None:
    for driver in relay._server.drivers:
        driver.close(1, "no more")


def vanish(_session, relay) -> None:
    for driver in relay._server.drivers:
        driver.connection._wire.pipe.abort()


@pytest.mark.parametrize("end", [leave, dismiss, vanish])
def test_a_websocket_that_is_over_leaves_nothing_for_the_collector(end):
    async def visit(relay) -> None:
        where = url(relay, scheme="wss")
        async with connect(
            where, verify=trust(relay), publish=Origin(), consume=Origin()
        ) as session:
            await until(lambda: relay._server.sessions == 1)
            end(session, relay)
            await session.wait_closed()
        await until(lambda: relay._server.sessions == 0)
        await asyncio.sleep(0)

    async def main() -> Counter:
        async with running(websocket=True) as relay:
            gc.collect()
            gc.disable()
            try:
                for _ in range(VISITS):
                    await visit(relay)
                return cycles()
            finally:
                gc.enable()

    assert asyncio.run(main()) == Counter()
