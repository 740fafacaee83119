"""Relays that drain: their edges move first, and who reads there notices nothing."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import MappingProxyType

import pytest
from tests import aio
from tests.loopback.relays import running, settings, trust, until, url
from tests.unit.driver.sides import ALL, published, write

from moqvox.connect import connect
from moqvox.driver import Driver
from moqvox.errors import MoqError, StreamCode, StreamEnded
from moqvox.frame import Frame
from moqvox.model.origin import Announced, Origin
from moqvox.transport.credentials import Verify
from moqvox_relay.config import Upstream
from moqvox_relay.relay import Relay

pytestmark = pytest.mark.net


@contextlib.asynccontextmanager
async def draining(**options):
    """Run a relay, and give what makes it drain."""
    relay = Relay(settings(drain=20.0, **options))
    async with asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(relay.run())
        await relay.started.wait()
        try:
            yield relay, serving
        finally:
            serving.cancel()


def above(first, *others):
    return Upstream(url(first), insecure=True, also=tuple(url(other) for other in others))


def speech(audio, sent):
    """Begin a group that stays open; give it, and what adds to it and writes a short one."""
    long = audio.create_group(0)
    sent[0] = []

    def say(number):
        sent[0].append(b"long %d" % number)
        long.write(Frame(sent[0][-1]))
        sent[number] = [b"short %d" % number]
        write(audio, *sent[number])

    return long, say


@dataclass
class Edge:
    """An edge above two relays; the first, where somebody publishes, is to drain."""

    relay: Relay
    serving: asyncio.Task
    leaver: Driver
    move: Callable[[], Awaitable[Driver]]


@contextlib.asynccontextmanager
async def edge_of_a_relay_that_drains(near, far, *, edge=MappingProxyType({}), **publishing):
    """Publish `near` at the first relay, and at the second too once it is moved; read `far`."""
    publish = {"publish": near, "verify": Verify.nothing(), **publishing}
    async with (
        running() as second,
        draining() as (first, serving),
        running(upstream=above(first, second), **edge) as relay,
        contextlib.AsyncExitStack() as stack,
    ):
        leaver = await stack.enter_async_context(connect(url(first), **publish))
        await stack.enter_async_context(connect(url(relay), consume=far, verify=trust(relay)))

        async def move():
            return await stack.enter_async_context(connect(url(second), **publish))

        yield Edge(relay, serving, leaver, move)


async def read_all(reader, heard):
    async with asyncio.TaskGroup() as tasks:
        async for group in reader:
            tasks.create_task(read_group(group, heard))


async def read_group(group, heard):
    got = heard.setdefault(group.sequence, [])
    async for frame in group:
        got.append(frame.payload)


@pytest.mark.parametrize("version", ["moq-lite-06", "moq-lite-05", "moq-lite-04"])
def test_readers_at_an_edge_notice_nothing_of_its_upstream_draining(monkeypatch, version):
    """A group that is open all the time and some short ones, before, at and after the move."""
    monkeypatch.setattr("moqvox_relay.upstream.HANDOVER", 0.3)

    async def main():
        near, far, heard, sent = Origin(), Origin(), {}, {}
        versions = {"versions": (version,)}
        _, audio = published(near)
        async with (
            edge_of_a_relay_that_drains(near, far, edge=versions) as edge,
            asyncio.TaskGroup() as tasks,
        ):
            found = await far.wait("alice")
            asking = tasks.create_task(found.subscribe("audio", ALL))
            long, say = speech(audio, sent)
            say(1)
            reading = tasks.create_task(read_all(await asking, heard))
            await until(lambda: heard == sent)
            edge.serving.cancel()
            await edge.leaver.goaway.wait()
            say(2)
            await until(lambda: edge.relay.line.moves == 1)
            say(3)
            await edge.move()
            await until(lambda: len(edge.relay.origin.routes("alice")) == 2)
            for number in range(4, 14):
                say(number)
                await asyncio.sleep(0.05)
            edge.leaver.close()
            await until(edge.serving.done)
            say(14)
            long.finish()
            audio.finish()
            async with asyncio.timeout(5):
                await asyncio.wait([reading])
        return heard, sent

    heard, sent = aio.run(main(), sockets=True)
    assert heard == sent


@pytest.mark.parametrize("anonymous", [{"origin_id": 0}, {"versions": ("moq-lite-03",)}])
def test_an_anonymous_publisher_that_moves_is_there_twice_for_who_reads_both(
    monkeypatch, anonymous
):
    """Nothing tells that it is the same one; what it says meanwhile is there in either place."""
    monkeypatch.setattr("moqvox_relay.upstream.HANDOVER", 0.3)

    async def main():
        near, far, heard, ends = Origin(), Origin(), [{}, {}], []

        async def read(source, into):
            try:
                await read_all(await source.subscribe("audio", ALL), into)
            except* StreamEnded as ended:
                ends.append(ended.exceptions[0].code)
            else:
                ends.append("in order")

        _, audio = published(near)
        async with (
            edge_of_a_relay_that_drains(near, far, **anonymous) as edge,
            asyncio.TaskGroup() as tasks,
        ):
            former = await far.wait("alice")
            watch = far.watch()
            watch.poll()
            reading = [tasks.create_task(read(former, heard[0]))]
            write(audio, b"0")
            await until(lambda: heard[0])
            edge.serving.cancel()
            if "versions" not in anonymous:  # moq-lite-03 has no GOAWAY: who moves does so unasked
                await edge.leaver.goaway.wait()
            await until(lambda: edge.relay.line.moves == 1)
            await edge.move()
            await until(lambda: any(isinstance(news, Announced) for news in watch.poll()))
            reading.append(tasks.create_task(read(far.get("alice"), heard[1])))
            write(audio, b"1")
            await until(lambda: 1 in heard[0] and 1 in heard[1])
            former_goes_on = not former.closed
            edge.leaver.close()
            await until(edge.serving.done)
            await until(lambda: reading[0].done())
            write(audio, b"2")
            audio.finish()
            await asyncio.wait(reading)
        return former_goes_on, heard, ends

    overlapped, (former, latter), ends = aio.run(main(), sockets=True)
    assert overlapped
    assert ends == [StreamCode.SESSION_CLOSED, "in order"]
    assert former == {0: [b"0"], 1: [b"1"]}
    assert {n: latter[n] for n in (1, 2)} == {1: [b"1"], 2: [b"2"]}


@pytest.mark.parametrize("version", ["moq-lite-06", "moq-lite-05", "moq-lite-04"])
def test_readers_above_an_edge_that_drains_go_on_by_the_edge_its_publisher_moves_to(version):
    async def main():
        near, far, heard, sent = Origin(), Origin(), {}, {}
        publish = {"publish": near, "verify": Verify.nothing()}
        async with (
            running() as root,
            running(upstream=above(root), versions=(version,)) as second,
            draining(upstream=above(root), versions=(version,)) as (first, serving),
            contextlib.AsyncExitStack() as stack,
            asyncio.TaskGroup() as tasks,
        ):
            _, audio = published(near)
            leaver = await stack.enter_async_context(connect(url(first), **publish))
            await stack.enter_async_context(connect(url(root), consume=far, verify=trust(root)))
            found = await far.wait("alice")
            asking = tasks.create_task(found.subscribe("audio", ALL))
            long, say = speech(audio, sent)
            say(1)
            reading = tasks.create_task(read_all(await asking, heard))
            await until(lambda: heard == sent)
            (before,) = root.origin.routes("alice")
            serving.cancel()
            await leaver.goaway.wait()
            await until(lambda: before.is_leaving)
            say(2)
            await stack.enter_async_context(connect(url(second), **publish))
            await until(lambda: len(root.origin.routes("alice")) == 2)
            preferred = root.origin.routes("alice")[0] is not before
            for number in range(3, 13):
                say(number)
                await asyncio.sleep(0.05)
            leaver.close()
            await until(serving.done)
            say(13)
            long.finish()
            audio.finish()
            async with asyncio.timeout(5):
                await asyncio.wait([reading])
        return heard, sent, preferred

    heard, sent, preferred = aio.run(main(), sockets=True)
    assert heard == sent
    assert preferred


def test_newcomers_are_not_led_to_an_edge_that_drains():
    """Two agents of one name; the later one is preferred until its relay says that it goes."""

    async def main():
        earlier, later, heard = Origin(), Origin(), {}
        verify = Verify.nothing()
        async with (
            running() as root,
            running(upstream=above(root)) as second,
            draining(upstream=above(root)) as (first, serving),
            connect(url(second), publish=earlier, verify=verify),
            connect(url(first), publish=later, verify=verify) as leaver,
            asyncio.TaskGroup() as tasks,
        ):
            _, staying = published(earlier)
            await until(lambda: root.origin.get("alice") is not None)
            _, going = published(later)
            await until(lambda: len(root.origin.routes("alice")) == 2)
            former = root.origin.get("alice")
            write(going, b"going")
            reader = await former.subscribe("audio", ALL)
            reading = tasks.create_task(read_all(reader, heard))
            await until(lambda: heard)
            serving.cancel()
            await until(lambda: root.origin.get("alice") is not former)
            write(staying, b"staying")
            newcomer = {}
            asked = await root.origin.get("alice").subscribe("audio", ALL)
            tasks.create_task(read_all(asked, newcomer))
            write(going, b"going on")
            await until(lambda: len(heard) == 2 and newcomer)
            going.finish()
            staying.finish()
            await asyncio.wait([reading])
            leaver.close()
            await until(serving.done)
        return heard, newcomer

    heard, newcomer = aio.run(main(), sockets=True)
    assert [*heard.values()] == [[b"going"], [b"going on"]]
    assert [*newcomer.values()] == [[b"staying"]]


@pytest.mark.parametrize("scheme", ["moqt", "https"])
def test_draining_relay_refuses_new_clients_and_keeps_those_it_has(scheme):
    async def main():
        async with (
            draining(websocket=True) as (relay, serving),
            connect(url(relay), verify=trust(relay)) as client,
        ):
            await until(lambda: relay.served == 1)
            serving.cancel()
            await client.goaway.wait()
            async with asyncio.timeout(3):
                with pytest.raises(MoqError) as caught:
                    async with connect(url(relay, "/", scheme), verify=trust(relay)):
                        pytest.fail("let in")
            return str(caught.value), client.closed

    why, closed = aio.run(main(), sockets=True)
    assert "going away" in why or "503" in why
    assert not closed


def test_line_goes_on_with_its_next_url_when_the_first_is_not_reached():
    async def main():
        async with running() as up:
            nowhere = "moqt://127.0.0.1:9/"
            upstream = Upstream(nowhere, insecure=True, also=(url(up),))
            async with running(upstream=upstream) as edge:
                await until(edge.line.up.is_set, 15)

    aio.run(main(), sockets=True)
