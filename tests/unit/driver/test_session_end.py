"""A session's beginning and end: SETUP, GOAWAY, probes, offences, closing, and leaving in order."""

import asyncio
import logging

import pytest
from tests.aio import run, settle
from tests.unit.driver.sides import (
    VERSIONS,
    driver_on,
    hub,
    joined,
    published,
    read_track,
    subscribe,
    write,
)

from moqvox.errors import LocalError, SessionCode, StreamCode
from moqvox.frame import Subscription
from moqvox.model import broadcast
from moqvox.session import events
from moqvox.transport.interface import StreamReset, StreamStopped
from moqvox.transport.memory import LinkSettings, pair
from moqvox.wire.lite.streams import UniType
from moqvox.wire.varint import encode_varint

WITH_SETUP = ["moq-lite-06", "moq-lite-05"]
WITHOUT_SETUP = ["moq-lite-04", "moq-lite-03"]


@pytest.mark.parametrize("version", WITH_SETUP)
def test_setup_tells_path_and_hop(version):
    async def main():
        async with joined(version, path="/room?jwt=x") as (client, server):
            setup = await server.driver.wait_setup()
            theirs = await client.driver.wait_setup()
            return setup.path, setup.origin == client.local.id, theirs.path, theirs.origin > 0

    assert run(main()) == ("/room?jwt=x", True, "", True)


@pytest.mark.parametrize("version", WITHOUT_SETUP)
def test_version_without_setup_does_not_wait_for_one(version):
    async def main():
        async with joined(version) as (client, _):
            return await client.driver.wait_setup()

    assert run(main()) is None


def test_setup_that_never_comes_ends_with_the_session():
    async def main():
        async with asyncio.TaskGroup() as tasks:
            client, server = pair()
            driver = driver_on(server, 1)
            driver.start(tasks)
            waiting = tasks.create_task(driver.wait_setup())
            await asyncio.sleep(1)
            assert not waiting.done()
            client.close()
            return await waiting, await driver.wait_closed()

    setup, closed = run(main())
    assert setup is None
    assert closed.code == 0


@pytest.mark.parametrize("version", VERSIONS[:3])
def test_goaway_is_told(version):
    async def main():
        async with joined(version) as (client, server):
            server.driver.send_goaway("https://other/")
            async with asyncio.timeout(1):
                await client.driver.goaway.wait()
            published(server.local)
            await client.remote.wait("alice")
            return client.driver.goaway_uri

    assert run(main()) == "https://other/"


def test_goaway_where_the_version_has_none_does_nothing():
    async def main():
        async with joined("moq-lite-03") as (client, server):
            server.driver.send_goaway()
            await asyncio.sleep(1)
            return client.driver.goaway.is_set(), client.driver.closed

    assert run(main()) == (False, False)


@pytest.mark.parametrize("version", VERSIONS)
def test_probe_is_answered_now_and_then_until_it_is_cancelled(version):
    async def main():
        link = LinkSettings(delay_ms=10, rate_kbps=8000)
        async with joined(version, link=link) as (client, server):
            heard = []
            client.driver._handlers[events.ProbeReceived] = heard.append
            request = client.session.request_probe()
            client.driver._pump.woken.set()
            await asyncio.sleep(62)
            count = len(heard)
            client.session.cancel(request)
            client.driver._pump.woken.set()
            await asyncio.sleep(40)
            probing = [
                task for task in server.driver._errands._running if task.get_name() == "probe"
            ]
            return count, len(heard) - count, probing, heard[0].bitrate_bps > 0

    assert run(main()) == (3, 0, [], True)


def test_flood_of_probe_targets_starts_one_task():
    async def main():
        async with joined() as (client, server):
            for _ in range(50):
                server.driver._probe_asked(events.ProbeRequested(5, 1000))
                server.driver._cancelled(events.RequestCancelled(5, 0))
            server.driver._probe_asked(events.ProbeRequested(6, 1000))
            await asyncio.sleep(0.1)
            names = [task.get_name() for task in server.driver._errands._running]
            assert not client.driver.closed
            return names.count("probe")

    assert run(main()) == 1


def raw_peer(version="moq-lite-06"):
    """A server's driver whose client is a bare connection."""
    client, server = pair(version)
    return client, driver_on(server, 1)


def test_peer_that_breaks_the_protocol_is_closed_with_its_code(caplog):
    async def main():
        async with asyncio.TaskGroup() as tasks:
            client, driver = raw_peer()
            driver.start(tasks)
            for _ in range(2):
                stream = client.open_stream(bidirectional=False)
                client.write(stream, b"\x40\x01\x01\x00", fin=True)
            closed = await driver.wait_closed()
            return closed.code, driver.session.version

    with caplog.at_level(logging.WARNING):
        code, _ = run(main())
    assert code == SessionCode.PROTOCOL_VIOLATION
    assert "broke the protocol" in caplog.text


def test_peer_that_leads_us_into_an_error_of_our_own_is_closed_and_ends_nothing_else(caplog):
    async def main():
        async with joined() as (client, server):

            def fail(_event):
                raise LocalError("over a limit")

            server.driver._handlers[events.WatchRequested] = fail
            client.session.watch("", 0)
            client.driver._pump.woken.set()
            return await client.driver.wait_closed()

    with caplog.at_level(logging.CRITICAL):
        closed = run(main())
    assert closed.code == SessionCode.INTERNAL
    assert closed.reason == "internal error"


def test_half_a_setup_is_waited_for_only_so_long():
    async def main():
        async with asyncio.TaskGroup() as tasks:
            client, driver = raw_peer()
            driver.start(tasks)
            stream = client.open_stream(bidirectional=False)
            client.write(stream, encode_varint(UniType.SETUP) + b"\x09\x00")
            begun = asyncio.get_running_loop().time()
            closed = await driver.wait_closed()
            return closed.code, asyncio.get_running_loop().time() - begun

    code, waited = run(main())
    assert code == SessionCode.CONTROL_TIMEOUT
    assert 10 <= waited < 11


def test_timer_that_fires_a_hair_early_is_set_again():
    async def main():
        async with joined() as (_, server):
            driver = server.driver
            now = asyncio.get_running_loop().time()
            due = now + 0.5
            passed = []
            driver.session.deadline = lambda: None if passed else due
            driver.session.handle_timeout = passed.append
            driver._set_alarm()
            # The loop's clock resolution lets a timer fire before its time.
            driver._alarm.cancel()
            driver._ring()
            await asyncio.sleep(1)
            return [when >= due for when in passed]

    assert run(main()) == [True]


def test_close_tells_code_and_reason_to_the_peer():
    async def main():
        async with joined() as (client, server):
            server.driver.close(SessionCode.UNAUTHORIZED, "no")
            closed = await client.driver.wait_closed()
            own = await server.driver.wait_closed()
            return closed.code, closed.reason, closed.remote, own.remote

    assert run(main()) == (SessionCode.UNAUTHORIZED, "no", True, False)


@pytest.mark.parametrize("version", VERSIONS)
def test_closed_session_takes_every_verb_and_does_nothing(version):
    async def main():
        async with joined(version) as (client, server):
            producer, audio = published(server.local)
            reader = await subscribe(client.remote)
            client.driver.close()
            await client.driver.wait_closed()
            with pytest.raises(LocalError, match="over"):
                client.driver.broadcast("bob")
            client.driver.send_goaway()
            client.driver.close()
            client.driver.attach(client.local, client.remote)
            await client.driver.wait_served()
            got = await read_track(reader)
            await server.driver.wait_closed()
            write(audio, b"x")
            producer.close()
            await settle()
            return (
                got.code,
                len(client.driver._errands._running),
                len(server.driver._errands._running),
            )

    assert run(main()) == (StreamCode.SESSION_CLOSED, 0, 0)


@pytest.mark.parametrize("reset", [False, True])
def test_peer_that_vanishes_leaves_nothing_behind(reset):
    async def main():
        async with hub() as relay:
            publisher, client = relay.join(), relay.join()
            _, audio = published(publisher.local)
            reader = await subscribe(client.remote)
            write(audio, b"x", finish=False)
            relay.connections[1].vanish("gone", reset=reset)
            await asyncio.sleep(60)
            reader.close()
            behind = relay.drivers[3]
            return behind.closed, len(behind._errands), audio.used

    assert run(main()) == (True, 0, False)


def test_wait_served_returns_once_all_is_acknowledged():
    async def main():
        link = LinkSettings(delay_ms=20, rate_kbps=1000)
        async with joined(link=link) as (sender, receiver):
            _, audio = published(sender.local)
            reader = await subscribe(receiver.remote)
            write(audio, *([bytes(1000)] * 100))
            audio.finish()
            await sender.driver.wait_served()
            stats = sender.connection.stats()
            sender.driver.close()
            got = await read_track(reader)
            return stats.unacked_bytes, stats.unsent_bytes, len(got.payloads), got.ended

    assert run(main()) == (0, 0, 100, True)


def test_wait_served_ends_with_the_session():
    async def main():
        async with joined() as (sender, receiver):
            _, audio = published(sender.local)
            await subscribe(receiver.remote)
            write(audio, b"x", finish=False)
            async with asyncio.TaskGroup() as tasks:
                waiting = tasks.create_task(sender.driver.wait_served())
                await asyncio.sleep(0.1)
                assert not waiting.done()
                receiver.driver.close()
            return sender.driver.closed

    assert run(main())


def test_requests_that_came_before_attach_and_were_cancelled_are_forgotten():
    async def main():
        async with joined(attach=False) as (sender, receiver):
            receiver.driver.attach(None, receiver.remote)
            found = receiver.driver.broadcast("alice")
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.5):
                    await found.subscribe("audio")
            await asyncio.sleep(11)
            early = len(sender.driver._publishing._early)
            sender.driver.attach(sender.local, None)
            return early

    assert run(main()) == 1  # the watch


def test_subscriber_that_gives_up_ends_the_publishers_task():
    async def main():
        async with joined() as (sender, receiver):
            producer = broadcast.Producer(dynamic=True)
            sender.local.publish("alice", producer.consume())
            found = await receiver.remote.wait("alice")
            for _ in range(5):
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(1):
                        await found.subscribe("audio")
            await asyncio.sleep(15)
            pending = dict(sender.driver._publishing._pending)
            return pending, len(producer._asked)

    assert run(main()) == ({}, 0)


def test_unknown_streams_of_a_peer_are_refused_and_the_rest_goes_on():
    async def main():
        async with asyncio.TaskGroup() as tasks:
            client, driver = raw_peer()
            driver.start(tasks)
            for kind in (b"\x3f", b"\x20"):
                stream = client.open_stream(bidirectional=True)
                client.write(stream, kind + b"\x00")
            seen = []
            async with asyncio.timeout(5):
                while len(seen) < 2:
                    arrived = await client.events()
                    seen += [e for e in arrived if isinstance(e, StreamReset | StreamStopped)]
            closed = driver.closed
            client.close()
            return closed

    assert run(main()) is False


def test_what_is_accepted_only_once_it_is_over_starts_nothing():
    async def main():
        async with joined(attach=False) as (client, server):
            published(server.local)
            client.session.subscribe("alice", "audio", Subscription())
            client.driver.attach(client.local, client.remote)
            await asyncio.sleep(0.1)
            client.driver.close()
            await server.driver.wait_closed()
            await settle()
            server.driver.attach(server.local, server.remote)
            return len(server.driver._errands), server.driver.closed

    assert run(main()) == (0, True)
