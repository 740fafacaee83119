"""Every engine that can carry a session, as `test_conformance.py` and `test_contract.py` use it.

A new engine gets an entry in `ENGINES` (and in `pairs.pair`), and then has to pass both.
"""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass

from tests.loopback.pairs import (
    HASTY,
    PATIENCE,
    PROTOCOL,
    certificate,
    dial,
    dial_websocket,
    open_listener,
    open_websocket_listener,
    same_limits,
)
from tests.loopback.test_restart import kill
from tests.loopback.test_resumption import Purse, visit

from moqvox.transport import memory, websocket
from moqvox.transport.credentials import Verify
from moqvox.transport.interface import Connection, Listener
from moqvox.transport.quic import Keys

__all__ = ["ENGINES", "Engine", "World"]


@dataclass
class World:
    """A listener, and how to reach it.

    Attributes:
        listener: takes connections.
        dial: opens one, offering the given protocols, ours if none are.
        kill: ends the server without a word, and lets another take its place: a client whose
            next packet meets that one must hear of it.
        resume: dials as one who was there before, with nobody's answer where the engine can;
            whether it was so, beside the connection.
    """

    listener: Listener
    dial: Callable[..., Awaitable[Connection]]
    kill: Callable[[], Awaitable[None]]
    resume: Callable[[], Awaitable[tuple[Connection, bool]]]


@dataclass(frozen=True)
class Engine:
    """One engine; on a virtual clock, unless threads of its libraries take part."""

    name: str
    open: Callable[[], "contextlib.AbstractAsyncContextManager[World]"]
    is_virtual: bool = True


@contextlib.asynccontextmanager
async def in_memory() -> AsyncIterator[World]:
    network = memory.Network(limits=same_limits(HASTY, memory.Limits))
    listener = network.listen("server", [PROTOCOL])

    async def call(protocols: Sequence[str] = (PROTOCOL,)) -> Connection:
        return await network.connect("server", protocols, timeout=PATIENCE)

    async def die() -> None:
        network.restart("server")

    async def resume() -> tuple[Connection, bool]:
        return await network.connect("server", [PROTOCOL], timeout=PATIENCE, early=True), True

    yield World(listener, call, die, resume)
    await listener.close()


@contextlib.asynccontextmanager
async def on_aioquic(*, webtransport: bool) -> AsyncIterator[World]:
    keys = Keys.generate()
    world: World
    lives = [await open_listener(limits=HASTY, keys=keys)]

    async def call(protocols: Sequence[str] = (PROTOCOL,)) -> Connection:
        options = {"protocols": list(protocols), "webtransport": webtransport, "limits": HASTY}
        return await dial(lives[-1], **options)

    async def die() -> None:
        port = lives[-1].addresses[0][1]
        kill(lives[-1])
        lives.append(await open_listener(port=port, limits=HASTY, keys=keys))
        world.listener = lives[-1]

    async def resume() -> tuple[Connection, bool]:
        wallet = Purse()
        await visit(lives[-1], wallet, webtransport=webtransport)
        connection = await dial(lives[-1], wallet=wallet, webtransport=webtransport, limits=HASTY)
        return connection, connection._link.engine.is_early

    world = World(lives[-1], call, die, resume)
    try:
        yield world
    finally:
        await lives[-1].close()


@contextlib.asynccontextmanager
async def on_websocket() -> AsyncIterator[World]:
    limits = same_limits(HASTY, websocket.Limits)
    listener = await open_websocket_listener(limits=limits)

    async def call(protocols: Sequence[str] = (PROTOCOL,)) -> Connection:
        options = {"protocols": list(protocols), "limits": limits}
        return await dial_websocket(
            listener, verify=Verify.authority(certificate().ca_pem), **options
        )

    async def die() -> None:
        for connection in list(listener._connections):
            connection._wire.pipe.abort()

    async def resume() -> tuple[Connection, bool]:
        return await call(), False

    try:
        yield World(listener, call, die, resume)
    finally:
        await listener.close()


ENGINES = {
    engine.name: engine
    for engine in (
        Engine("memory", in_memory),
        Engine("quic", lambda: on_aioquic(webtransport=False)),
        Engine("webtransport", lambda: on_aioquic(webtransport=True)),
        Engine("websocket", on_websocket, is_virtual=False),
    )
}
