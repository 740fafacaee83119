"""Sessions that are over leave no cycles, whatever ended them: a crowd's end stops no loop."""

import asyncio
import gc
from collections import Counter

import pytest
from tests.aio import run
from tests.unit.driver.sides import joined, published, read_track, subscribe, write

VISITS = 3
OURS = ("moqvox.driver", "moqvox.session", "moqvox.model", "moqvox.wire")


def cycles() -> Counter:
    """Count what only the collector could free."""
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        gc.collect()
        found = [type(one) for one in gc.garbage]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
    return Counter(kind.__qualname__ for kind in found if kind.__module__.startswith(OURS))


def goodbye(client, _server) -> None:
    client.driver.close()


def dismissal(_client, server) -> None:
    server.driver.close(0x15, "no more")


def breach(client, _server) -> None:
    stream = client.connection.open_stream(bidirectional=False)
    client.connection.write(stream, b"\x00\x02\xff\xff", fin=True)


def silence(client, server) -> None:
    for side in (client, server):
        side.connection.vanish("silent for too long", reset=False)


def restart(_client, server) -> None:
    server.connection.vanish("killed", reset=True)


async def visit(end, version: str) -> None:
    """Talk in both directions and about the past; then `end` it in the middle of that."""
    async with joined(version) as (client, server), asyncio.TaskGroup() as tasks:
        readers, made = [], []
        for here, there in ((client, server), (server, client)):
            broadcast, live = published(here.local)
            made.append(broadcast)
            write(live, b"a whole group")
            write(live, b"and half of one", finish=False)
            broadcast, old = published(here.local, "bob")
            made.append(broadcast)
            write(old, b"past")
            readers.append(await subscribe(there.remote))
            found = await there.remote.wait("bob")
            _, past = await found.fetch("audio", 0)
            assert await past.read() is not None
            past.close()
        reading = [tasks.create_task(read_track(reader)) for reader in readers]
        await asyncio.sleep(0.2)
        end(client, server)
        await client.driver.wait_closed()
        await server.driver.wait_closed()
        for broadcast in made:
            broadcast.close()
        assert [(await one).ended for one in reading] == [False, False]


@pytest.mark.parametrize("version", ["moq-lite-03", "moq-lite-06"])
@pytest.mark.parametrize("end", [goodbye, dismissal, breach, silence, restart])
def test_a_session_that_is_over_leaves_nothing_for_the_collector(end, version):
    async def main():
        gc.collect()
        gc.disable()
        try:
            for _ in range(VISITS):
                await visit(end, version)
            return cycles()
        finally:
            gc.enable()

    assert run(main()) == Counter()
