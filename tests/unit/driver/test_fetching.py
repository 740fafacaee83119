"""Past groups: from the cache, from the publisher, in part, and refused."""

import asyncio

import pytest
from tests.aio import run
from tests.unit.driver.sides import VERSIONS, hub, joined, published, subscribe, write

from moqvox.errors import NotFound, Refused, StreamCode
from moqvox.model import broadcast
from moqvox.session import events


async def read_all(group):
    return [frame.payload async for frame in group]


@pytest.mark.parametrize("version", VERSIONS)
def test_past_group_is_fetched_through_a_relay(version):
    async def main():
        async with hub() as relay:
            publisher, client = relay.join(version), relay.join(version)
            _, audio = published(publisher.local)
            for number in range(3):
                write(audio, b"%d" % number, b"end")
            found = await client.remote.wait("alice")
            _, group = await found.fetch("audio", 1)
            return await read_all(group), len(publisher.driver._publishing.serving.by_group)

    frames, _ = run(main())
    assert frames == [b"1", b"end"]


@pytest.mark.parametrize("version", VERSIONS)
def test_part_of_a_group_is_fetched_in_every_version(version):
    """Versions without frame ranges send it whole; the rest is left out here."""

    async def main():
        async with joined(version) as (sender, receiver):
            _, audio = published(sender.local)
            write(audio, *(b"%d" % number for number in range(10)))
            found = await receiver.remote.wait("alice")
            _, group = await found.fetch("audio", 0, frame_start=3, frame_end=5)
            start = group.frame_start
            return start, await read_all(group)

    assert run(main()) == (3, [b"3", b"4", b"5"])


@pytest.mark.parametrize("version", VERSIONS)
def test_group_that_nobody_has_is_refused(version):
    async def main():
        async with joined(version) as (sender, receiver):
            _, audio = published(sender.local)
            write(audio, b"x")
            found = await receiver.remote.wait("alice")
            with pytest.raises(NotFound):
                await found.fetch("audio", 7)
            with pytest.raises(NotFound):
                await found.fetch("video", 0)
            await asyncio.sleep(0.1)
            return receiver.driver._consuming.asking.requests

    assert run(main()) == {}


def test_group_in_the_cache_is_not_asked_for_again():
    async def main():
        async with joined() as (sender, receiver):
            _, audio = published(sender.local)
            reader = await subscribe(receiver.remote)
            write(audio, b"x")
            first = await (await reader.next_group()).read()
            await asyncio.sleep(0.1)
            found = receiver.remote.get("alice")
            _, group = await found.fetch("audio", 0)
            return (await group.read()) is first

    assert run(main())


def test_fetch_of_a_group_still_written_follows_it():
    async def main():
        async with joined() as (sender, receiver):
            _, audio = published(sender.local)
            write(audio, b"a", finish=False)
            writer = audio._feed.groups[0]
            found = await receiver.remote.wait("alice")
            _, group = await found.fetch("audio", 0)
            first = (await group.read()).payload
            writer.finish()
            return first, await group.read()

    assert run(main()) == (b"a", None)


def test_reader_that_leaves_ends_its_fetch():
    async def main():
        async with joined() as (sender, receiver):
            _, audio = published(sender.local)
            group = audio.append_group()
            from moqvox.frame import Frame

            group.write(Frame(b"a", 0))
            found = await receiver.remote.wait("alice")
            _, reader = await found.fetch("audio", 0)
            await reader.read()
            reader.close()
            group.write(Frame(b"b", 0))
            await asyncio.sleep(0.2)
            asking = receiver.driver._consuming.asking
            return asking.requests, asking.groups, sender.driver._publishing.serving.by_group

    assert run(main()) == ({}, {}, {})


def test_lost_session_refuses_fetches_that_wait():
    async def main():
        async with joined() as (sender, receiver):
            producer = broadcast.Producer(dynamic=True)
            sender.local.publish("alice", producer.consume())
            found = await receiver.remote.wait("alice")

            async def fetch():
                with pytest.raises(Refused) as refused:
                    await found.fetch("audio", 0)
                return refused.value.code

            async with asyncio.TaskGroup() as tasks:
                fetching = tasks.create_task(fetch())
                await asyncio.sleep(0.1)
                sender.driver.close()
            return fetching.result()

    assert run(main()) == StreamCode.SESSION_CLOSED


def test_fetch_left_unanswered_is_given_up_once_its_reader_has_left():
    async def main():
        async with joined() as (sender, receiver):
            published(sender.local)
            found = await receiver.remote.wait("alice")
            for kind in (events.FetchRequested, events.TrackInfoRequested):
                sender.driver._handlers[kind] = lambda _event: None
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(15):
                    await found.fetch("audio", 3)
            before = len(receiver.driver._consuming.asking.requests)
            await asyncio.sleep(11)
            return before, len(receiver.driver._consuming.asking.requests)

    assert run(main()) == (1, 0)
