"""Tracks from a publisher to readers, over each version: what comes, once, and how it ends."""

import asyncio

import pytest
from tests.aio import run, settle
from tests.unit.driver.sides import (
    ALL,
    LATEST,
    VERSIONS,
    Got,
    Hub,
    gone,
    hub,
    joined,
    published,
    read_track,
    subscribe,
    write,
)

from moqvox.errors import NotFound, Refused, StreamCode
from moqvox.frame import Frame, Subscription, TrackInfo
from moqvox.model import broadcast
from moqvox.session import events
from moqvox.transport.memory import LinkSettings

BOTH_WAYS = ["from the client", "from the server"]


def asked(side, kind=events.SubscribeRequested):
    """Count what this side is asked for from now on."""
    seen = []
    before = side.driver._handlers[kind]

    def count(event):
        seen.append(event)
        before(event)

    side.driver._handlers[kind] = count
    return seen


async def refused(found, name="audio"):
    with pytest.raises(Refused) as caught:
        await found.subscribe(name, ALL)
    return caught.value.code


@pytest.mark.parametrize("way", BOTH_WAYS)
@pytest.mark.parametrize("version", VERSIONS)
def test_track_arrives_whole_in_order_and_ends(version, way):
    async def main():
        async with joined(version) as sides:
            sender, receiver = sides if way == BOTH_WAYS[0] else reversed(sides)
            _, audio = published(sender.local)
            write(audio, b"one", b"two")
            reader = await subscribe(receiver.remote)
            write(audio, b"three")
            late = audio.append_group()
            audio.finish()
            late.write(Frame(b"four", 5000))
            late.finish()
            return await read_track(reader)

    got = run(main())
    assert got.groups == {0: [b"one", b"two"], 1: [b"three"], 2: [b"four"]}
    assert got.ended
    assert not got.codes


@pytest.mark.parametrize("version", VERSIONS)
def test_facts_of_a_track_cross_the_wire(version):
    async def main():
        async with joined(version) as (sender, receiver):
            producer = broadcast.Producer()
            info = TrackInfo(priority=7, ordered=version != LATEST, max_age_ms=12_345)
            producer.create_track("audio", info)
            sender.local.publish("alice", producer.consume())
            reader = await subscribe(receiver.remote)
            return info, reader.info

    sent, received = run(main())
    assert received == sent


@pytest.mark.parametrize("version", ["moq-lite-06", "moq-lite-05"])
def test_timestamps_cross_the_wire_where_the_version_carries_them(version):
    async def main():
        async with joined(version) as (sender, receiver):
            _, audio = published(sender.local)
            write(audio, b"a", b"b", start=7)
            reader = await subscribe(receiver.remote)
            group = await reader.next_group()
            return [(await group.read()).timestamp for _ in range(2)]

    assert run(main()) == [7000, 8000]


@pytest.mark.parametrize("version", ["moq-lite-04", "moq-lite-03"])
def test_frames_without_time_are_stamped_on_arrival(version):
    async def main():
        async with joined(version) as (sender, receiver):
            _, audio = published(sender.local)
            reader = await subscribe(receiver.remote)
            await asyncio.sleep(2)
            write(audio, b"a")
            frame = await (await reader.next_group()).read()
            return frame.timestamp, asyncio.get_running_loop().time()

    timestamp, now = run(main())
    assert 2_000_000 < timestamp <= 1e6 * now


@pytest.mark.parametrize("version", VERSIONS)
def test_many_readers_behind_a_relay_cost_one_subscription(version):
    async def main():
        async with hub() as relay:
            publisher = relay.join(version)
            requests = asked(publisher)
            _, audio = published(publisher.local)
            clients = [relay.join(version) for _ in range(5)]
            readers = [await subscribe(client.remote) for client in clients]
            write(audio, b"x", b"y")
            audio.finish()
            async with asyncio.TaskGroup() as tasks:
                reading = [tasks.create_task(read_track(reader)) for reader in readers]
            return len(requests), [task.result() for task in reading]

    count, got = run(main())
    assert count == 1
    assert [each.groups for each in got] == 5 * [{0: [b"x", b"y"]}]
    assert all(each.ended for each in got)


def test_readers_who_ask_at_once_share_one_request():
    async def main():
        async with joined() as (sender, receiver):
            requests = asked(sender), asked(sender, events.TrackInfoRequested)
            _, audio = published(sender.local)
            found = await receiver.remote.wait("alice")
            async with asyncio.TaskGroup() as tasks:
                waiting = [tasks.create_task(found.subscribe("audio", ALL)) for _ in range(10)]
            write(audio, b"x")
            group = [await task.result().next_group() for task in waiting]
            return [len(seen) for seen in requests], [await each.read() for each in group]

    counts, frames = run(main())
    assert counts == [1, 1]
    assert len({id(frame) for frame in frames}) == 1


def test_reader_who_returns_within_linger_finds_the_subscription_alive():
    async def main():
        async with joined(linger=2.0) as (sender, receiver):
            requests = asked(sender)
            published(sender.local)
            first = await subscribe(receiver.remote)
            first.close()
            await asyncio.sleep(1.5)
            await subscribe(receiver.remote)
            await asyncio.sleep(60)
            return len(requests), sender.driver._publishing.serving.idle.is_set()

    assert run(main()) == (1, False)


@pytest.mark.parametrize("version", VERSIONS)
def test_subscription_without_readers_ends_after_linger(version):
    async def main():
        async with joined(version, linger=2.0) as (sender, receiver):
            _, audio = published(sender.local)
            reader = await subscribe(receiver.remote)
            reader.close()
            await asyncio.sleep(1.9)
            before = audio.used
            await asyncio.sleep(0.2)
            again = await subscribe(receiver.remote)
            write(audio, b"x")
            frame = await (await again.next_group()).read()
            return before, frame.payload

    assert run(main()) == (True, b"x")


def test_wishes_follow_the_readers():
    async def main():
        async with joined() as (sender, receiver):
            _, audio = published(sender.local)
            low = await subscribe(receiver.remote, wishes=Subscription(priority=10))
            wishes = [audio.demand().priority]
            high = await subscribe(receiver.remote, wishes=Subscription(priority=200))
            await asyncio.sleep(0.05)
            wishes.append(audio.demand().priority)
            high.close()
            await asyncio.sleep(0.05)
            wishes.append(audio.demand().priority)
            low.update(Subscription(priority=33))
            await asyncio.sleep(0.05)
            wishes.append(audio.demand().priority)
            return wishes

    assert run(main()) == [10, 200, 10, 33]


@pytest.mark.parametrize("version", VERSIONS)
def test_unknown_track_is_not_found(version):
    async def main():
        async with joined(version) as (sender, receiver):
            published(sender.local)
            found = await receiver.remote.wait("alice")
            with pytest.raises(NotFound):
                await found.subscribe("video", ALL)
            assert not receiver.driver._consuming.asking.requests
            return await found.subscribe("audio", ALL)

    assert run(main()).name == "audio"


@pytest.mark.parametrize("version", VERSIONS)
def test_unannounced_broadcast_can_be_asked_for_and_refused(version):
    async def main():
        async with joined(version) as (sender, receiver):
            hidden = broadcast.Producer()
            track = hidden.create_track("audio")
            route = sender.local.publish("alice", hidden.consume())
            reader = await receiver.driver.broadcast("alice").subscribe("audio", ALL)
            write(track, b"x")
            frame = await (await reader.next_group()).read()
            route.close()
            with pytest.raises(NotFound):
                await receiver.driver.broadcast("bob").subscribe("audio", ALL)
            return frame.payload

    assert run(main()) == b"x"


def test_publisher_that_refuses_decides_the_code():
    async def main():
        async with joined() as (sender, receiver):
            producer = broadcast.Producer(dynamic=True)
            sender.local.publish("alice", producer.consume())

            async def refuse():
                async for request in producer.requests():
                    request.reject(77, "no")

            async with asyncio.TaskGroup() as tasks:
                refusing = tasks.create_task(refuse())
                with pytest.raises(Refused) as failed:
                    await subscribe(receiver.remote)
                refusing.cancel()
            return failed.value.code

    assert run(main()) == 77


@pytest.mark.parametrize("version", VERSIONS)
def test_broadcast_that_goes_is_unannounced_and_its_tracks_end(version):
    async def main():
        async with joined(version) as (sender, receiver):
            producer, audio = published(sender.local)
            reader = await subscribe(receiver.remote)
            write(audio, b"x", finish=False)
            group = await reader.next_group()
            await group.read()
            producer.close(StreamCode.CANCELLED)
            got = Got()
            async with asyncio.timeout(5):
                await read_track(reader, got)
            await asyncio.sleep(0.1)
            draining = receiver.driver._consuming._draining
            return receiver.remote.get("alice"), got.code, len(draining)

    assert run(main()) == (None, StreamCode.CANCELLED, 0)


@pytest.mark.parametrize("version", VERSIONS)
def test_track_asked_for_when_its_broadcast_has_gone_is_not_said_to_be_unknown(version):
    """Who hears `not found` believes that the publisher never had it."""

    async def main():
        async with joined(version) as (sender, receiver):
            _, audio = published(sender.local)
            reader = await subscribe(receiver.remote)
            write(audio, b"x", finish=False)
            await (await reader.next_group()).read()
            source = receiver.remote.get("alice")
            sender.local.routes("alice")[0].close()
            await gone(receiver.remote)
            with pytest.raises(Refused) as refused:
                await source.subscribe("other")
            return refused.value.code, source.closed

    assert run(main()) == (StreamCode.CANCELLED, False)


@pytest.mark.parametrize("version", VERSIONS)
def test_publisher_that_comes_back_is_read_anew(version):
    async def main():
        async with joined(version) as (sender, receiver):
            heard = []
            for round_ in range(3):
                producer, audio = published(sender.local)
                reader = await subscribe(receiver.remote)
                write(audio, b"%d" % round_)
                audio.finish()
                heard += (await read_track(reader)).payloads
                producer.close()
                await gone(receiver.remote)
            return heard

    assert run(main()) == [b"0", b"1", b"2"]


@pytest.mark.parametrize("version", VERSIONS)
def test_publisher_that_comes_back_before_it_is_found_dead_is_read_anew_behind_two_relays(version):
    """Its former session stands: nobody has noticed that nothing comes of it any more."""

    async def main():
        async with asyncio.TaskGroup() as tasks:
            first, second = Hub(tasks), Hub(tasks)
            first.join(version, shared=second.origin)
            client = second.join(version)
            dead = first.join(version)
            published(dead.local)
            await client.remote.wait("alice")
            watch = client.remote.watch()
            watch.poll()
            again = first.join(version, hop=dead.local.id)
            _, audio = published(again.local)
            await asyncio.sleep(0.2)
            news = [type(change).__name__ for change in watch.poll()]
            reader = await subscribe(client.remote)
            write(audio, b"new")
            frame = await (await reader.next_group()).read()
            for side in (client, dead, again):
                side.driver.close()
            for driver in (*first.drivers, *second.drivers):
                driver.close()
        return news, frame.payload

    assert run(main()) == (["Unannounced", "Announced"], b"new")


def test_replaced_broadcast_is_told_as_gone_and_come():
    async def main():
        async with joined() as (sender, receiver):
            first, _ = published(sender.local)
            await receiver.remote.wait("alice")
            watch = receiver.remote.watch()
            watch.poll()
            first.close()
            _, second = published(sender.local)
            await asyncio.sleep(0.1)
            reader = await subscribe(receiver.remote)
            write(second, b"new")
            frame = await (await reader.next_group()).read()
            return [type(news).__name__ for news in watch.poll()], frame.payload

    assert run(main()) == (["Unannounced", "Announced"], b"new")


@pytest.mark.parametrize("version", VERSIONS)
def test_lost_session_ends_what_was_read_from_it_and_withdraws_its_broadcasts(version):
    async def main():
        async with hub() as relay:
            publisher, client = relay.join(version), relay.join(version)
            _, audio = published(publisher.local)
            reader = await subscribe(client.remote)
            write(audio, b"x", finish=False)
            group = await reader.next_group()
            await group.read()
            publisher.driver.close()
            got = await read_track(reader)
            await asyncio.sleep(0.1)
            return got.code, client.remote.get("alice"), relay.origin.get("alice")

    assert run(main()) == (StreamCode.SESSION_CLOSED, None, None)


@pytest.mark.parametrize("version", VERSIONS)
def test_slow_reader_gets_all_of_a_publisher_that_finished_and_left(version):
    """The end of a track is the publisher's word; that its session ends later changes nothing."""

    async def main():
        async with hub() as relay:
            publisher = relay.join(version)
            client = relay.join(version, link=LinkSettings(delay_ms=5, rate_kbps=100))
            _, audio = published(publisher.local)
            reader = await subscribe(client.remote)
            async with asyncio.TaskGroup() as tasks:
                reading = tasks.create_task(read_track(reader))
                for _ in range(20):
                    write(audio, bytes(2000))
                audio.finish()
                await publisher.driver.wait_served()
                publisher.driver.close()
            return reading.result()

    got = run(main())
    assert len(got.payloads) == 20
    assert got.ended


@pytest.mark.parametrize("version", VERSIONS)
def test_end_of_track_that_overtakes_its_groups_loses_none(version):
    """Loss holds the groups' streams up, while the end travels on a stream of its own."""

    async def main():
        link = LinkSettings(delay_ms=20, loss=25, jitter_ms=10)
        async with joined(version, link=link, seed=5) as (sender, receiver):
            _, audio = published(sender.local)
            reader = await subscribe(receiver.remote)
            for number in range(40):
                write(audio, b"%d" % number, bytes(1500))
            audio.finish()
            return await read_track(reader)

    got = run(main())
    assert sorted(got.groups) == list(range(40))
    assert not got.codes
    assert got.ended


def test_end_of_track_waits_through_an_outage_for_groups_that_it_counts():
    async def main():
        async with joined(linger=2.0) as (sender, receiver):
            _, audio = published(sender.local)
            reader = await subscribe(receiver.remote)
            upstream = next(iter(receiver.driver._consuming.asking.requests.values()))
            async with asyncio.TaskGroup() as tasks:
                reading = tasks.create_task(read_track(reader))
                await settle()
                # The end comes, and then the network goes, before the group it counts.
                upstream.receive(events.Subscribed(0, None, 0))
                upstream.receive(events.SubscriptionEnded(0, 1))
                receiver.connection.link.outage(6.0)
                write(audio, b"late")
            return reading.result()

    assert run(main()).groups == {0: [b"late"]}


def test_track_ends_although_a_group_that_was_counted_never_comes():
    async def main():
        async with joined(linger=1.0) as (sender, receiver):
            published(sender.local)
            reader = await subscribe(receiver.remote)
            upstream = next(iter(receiver.driver._consuming.asking.requests.values()))
            upstream.receive(events.Subscribed(0, None, 0))
            upstream.receive(events.SubscriptionEnded(0, 3))
            before = asyncio.get_running_loop().time()
            got = await read_track(reader)
            return got.ended, asyncio.get_running_loop().time() - before

    ended, waited = run(main())
    assert ended
    assert 4 < waited < 10


@pytest.mark.parametrize("version", ["moq-lite-04", "moq-lite-03"])
def test_end_that_counts_nothing_is_believed_soon_on_a_network_that_works(version):
    async def main():
        async with joined(version) as (sender, receiver):
            _, audio = published(sender.local)
            reader = await subscribe(receiver.remote)
            write(audio, b"x")
            audio.finish()
            await asyncio.sleep(0.02)
            before = asyncio.get_running_loop().time()
            got = await read_track(reader)
            return got.payloads, asyncio.get_running_loop().time() - before

    payloads, waited = run(main())
    assert payloads == [b"x"]
    assert waited < 1.1


@pytest.mark.parametrize("version", ["moq-lite-04", "moq-lite-03"])
def test_end_that_counts_nothing_waits_through_an_outage(version):
    async def main():
        async with joined(version) as (sender, receiver):
            _, audio = published(sender.local)
            reader = await subscribe(receiver.remote)
            subscription = max(receiver.driver._consuming.asking.requests)
            upstream = receiver.driver._consuming.asking.requests[subscription]
            async with asyncio.TaskGroup() as tasks:
                reading = tasks.create_task(read_track(reader))
                await settle()
                receiver.connection.link.outage(3.0)
                upstream.receive(events.SubscriptionEnded(subscription, None))
                receiver.session.update(subscription, ALL)  # an answer that is not acknowledged
                receiver.driver._pump.woken.set()
                write(audio, b"late")
            return reading.result()

    assert run(main()).groups == {0: [b"late"]}


def test_groups_before_the_facts_are_held_and_bounded(monkeypatch):
    async def main():
        async with joined() as (sender, receiver):
            monkeypatch.setattr(
                sender.driver._publishing.pump.session, "accept_track", lambda *_: None
            )
            _, audio = published(sender.local)
            write(audio, *([bytes(100_000)] * 20))
            with pytest.raises(Refused) as refused:
                await subscribe(receiver.remote)
            asking = receiver.driver._consuming.asking
            return refused.value.code, dict(asking.requests), dict(asking.groups)

    assert run(main()) == (StreamCode.TOO_FAR_BEHIND, {}, {})


def test_datagrams_held_before_the_facts_count_their_payload(monkeypatch):
    async def main():
        async with joined() as (sender, receiver):
            monkeypatch.setattr(
                sender.driver._publishing.pump.session, "accept_track", lambda *_: None
            )
            published(sender.local)
            found = await receiver.remote.wait("alice")
            async with asyncio.TaskGroup() as tasks:
                asking = tasks.create_task(refused(found))
                await asyncio.sleep(0.05)
                upstream = next(iter(receiver.driver._consuming.asking.requests.values()))
                for sequence in range(2000):
                    if upstream._ended:
                        break
                    frame = Frame(bytes(1100), 0)
                    upstream.receive(events.DatagramReceived(0, sequence, frame))
            return asking.result(), upstream._early_bytes

    code, held_bytes = run(main())
    assert code == StreamCode.TOO_FAR_BEHIND
    assert held_bytes < 1.1 * 1024 * 1024


def test_datagram_is_a_group_of_one_frame():
    async def main():
        async with joined() as (sender, receiver):
            published(sender.local)
            reader = await subscribe(receiver.remote)
            served = [
                request
                for request, each in sender.driver._publishing.serving.by_request.items()
                if hasattr(each, "consumer")
            ]
            sender.session.send_datagram(served[0], 4, Frame(b"quick", 9))
            sender.driver._pump.woken.set()
            group = await reader.next_group()
            return group.sequence, (await group.read()).payload, await group.read()

    assert run(main()) == (4, b"quick", None)


def test_request_left_unanswered_is_given_up_once_nobody_waits(monkeypatch):
    async def main():
        async with joined() as (sender, receiver):
            published(sender.local)
            found = await receiver.remote.wait("alice")
            monkeypatch.setattr(sender.driver._publishing, "request", lambda _event: None)
            for table in (events.SubscribeRequested, events.TrackInfoRequested):
                sender.driver._handlers[table] = lambda _event: None
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(15):
                    await found.subscribe("audio", ALL)
            pending = len(receiver.driver._consuming.asking.requests)
            await asyncio.sleep(11)
            return pending, len(receiver.driver._consuming.asking.requests)

    assert run(main()) == (2, 0)


def test_name_that_cannot_be_asked_for_is_refused_and_ends_nothing_else():
    async def main():
        async with joined() as (sender, receiver):
            published(sender.local)
            with pytest.raises(Refused):
                await receiver.driver.broadcast("a\0b").subscribe("audio", ALL)
            return await subscribe(receiver.remote)

    assert run(main()).name == "audio"


def test_wishes_changed_while_the_answer_is_on_its_way_are_kept():
    async def main():
        async with joined() as (sender, receiver):
            producer = broadcast.Producer(dynamic=True)
            sender.local.publish("alice", producer.consume())
            found = await receiver.remote.wait("alice")
            async with asyncio.TaskGroup() as tasks:
                asking = tasks.create_task(found.subscribe("audio", Subscription(priority=1)))
                request = await anext(producer.requests())
                await asyncio.sleep(0.05)
                owner = receiver.driver._consuming.asking.requests
                subscription = max(owner)
                receiver.session.update(subscription, Subscription(priority=99))
                receiver.driver._pump.woken.set()
                await asyncio.sleep(0.05)
                made = request.accept(TrackInfo())
                await asking
                await asyncio.sleep(0)
                return made.demand().priority

    assert run(main()) == 99
