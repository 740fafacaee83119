"""What is held up, given up or refused while groups flow, and what must not notice."""

import asyncio

import pytest
from tests.aio import run
from tests.unit.driver.sides import (
    ALL,
    VERSIONS,
    Got,
    gone,
    hub,
    joined,
    published,
    read_group,
    read_track,
    subscribe,
    write,
)

from moqvox.driver.served import BATCH
from moqvox.errors import StreamCode, StreamEnded
from moqvox.frame import Frame, Subscription
from moqvox.model import cache
from moqvox.session import events
from moqvox.session.interface import Limits as SessionLimits
from moqvox.transport.interface import StreamData
from moqvox.transport.memory import Limits, LinkSettings
from moqvox.transport.send_queue import Marks

SLOW = LinkSettings(delay_ms=5, rate_kbps=200)


def served_tracks(side):
    return [s for s in side.driver._publishing.serving.by_request.values() if hasattr(s, "_groups")]


@pytest.mark.parametrize("version", VERSIONS)
def test_publisher_is_never_held_up_and_the_session_holds_little(version):
    async def main():
        marks = Marks(stream_high=20_000, stream_low=5_000)
        async with joined(version, link=SLOW, limits=Limits(marks=marks)) as (sender, receiver):
            _, audio = published(sender.local)
            reader = await subscribe(receiver.remote)
            async with asyncio.TaskGroup() as tasks:
                reading = tasks.create_task(read_track(reader))
                write(audio, *([bytes(1000)] * 500))
                audio.finish()
                await asyncio.sleep(0.5)
                queued = sender.connection.stats().unsent_bytes
            return queued, reading.result()

    queued, got = run(main())
    assert queued < 60_000
    assert len(got.groups[0]) == 500
    assert got.ended


def test_slow_stream_holds_no_other_up():
    async def main():
        async with joined(link=LinkSettings(delay_ms=5, rate_kbps=1000)) as (sender, receiver):
            producer, bulk = published(sender.local)
            voice = producer.create_track("voice")
            wishes = Subscription(priority=200, ordered=True, max_age_ms=86_400_000)
            slow = await subscribe(receiver.remote)
            fast = await subscribe(receiver.remote, name="voice", wishes=wishes)
            async with asyncio.TaskGroup() as tasks:
                reading = tasks.create_task(read_track(slow))
                write(bulk, *([bytes(1000)] * 2000))
                bulk.finish()
                delays = []
                group = voice.append_group()
                incoming = None
                for number in range(20):
                    await asyncio.sleep(0.02)
                    group.write(Frame(b"v", number))
                    sent = asyncio.get_running_loop().time()
                    incoming = incoming or await fast.next_group()
                    await incoming.read()
                    delays.append(asyncio.get_running_loop().time() - sent)
            return max(delays), len(reading.result().payloads)

    worst, count = run(main())
    assert worst < 0.08
    assert count == 2000


def test_slow_reader_of_a_relay_does_not_hold_another_up():
    async def main():
        async with hub() as relay:
            publisher = relay.join()
            _, audio = published(publisher.local)
            slow, fast = relay.join(link=SLOW), relay.join()
            readers = [await subscribe(side.remote) for side in (slow, fast)]
            got = Got()
            async with asyncio.TaskGroup() as tasks:
                late = tasks.create_task(read_track(readers[0]))
                tasks.create_task(read_track(readers[1], got))
                for _ in range(50):
                    write(audio, *([bytes(1000)] * 10))
                    await asyncio.sleep(0.02)
                await asyncio.sleep(0.1)
                in_time = len(got.payloads)
                audio.finish()
            return in_time, len(late.result().payloads)

    assert run(main()) == (500, 500)


@pytest.mark.parametrize("version", VERSIONS)
def test_more_groups_than_the_peer_allows_streams_all_come(version):
    """Those that find no stream wait in the model; the session is not closed for it."""

    async def main():
        few = Limits(max_uni_streams=8, max_blocked_streams=4)
        async with joined(version, link=LinkSettings(delay_ms=30), limits=few) as (
            sender,
            receiver,
        ):
            _, audio = published(sender.local)
            for number in range(100):
                write(audio, b"%d" % number)
            audio.finish()
            got = await read_track(await subscribe(receiver.remote))
            assert not sender.driver._pump.congested
            return got

    got = run(main())
    assert got.payloads == [b"%d" % number for number in range(100)]
    assert got.ended


def test_more_requests_than_the_peer_allows_streams_are_all_answered():
    async def main():
        few = Limits(max_bidi_streams=3, max_blocked_streams=2)
        async with joined(limits=few) as (sender, receiver):
            producer, _ = published(sender.local)
            for number in range(12):
                write(producer.create_track(f"t{number}"), b"%d" % number)
                producer._tracks[f"t{number}"].finish()
            found = await receiver.remote.wait("alice")

            async def read(number):
                got = await read_track(await found.subscribe(f"t{number}", ALL))
                return got.payloads

            async with asyncio.TaskGroup() as tasks:
                reading = [tasks.create_task(read(number)) for number in range(12)]
            return [task.result() for task in reading]

    assert run(main()) == [[b"%d" % number] for number in range(12)]


@pytest.mark.parametrize("version", VERSIONS)
def test_aborted_group_resets_its_stream_at_once_unread_frames_included(version):
    async def main():
        marks = Marks(stream_high=5_000, stream_low=1_000)
        async with joined(version, link=SLOW, limits=Limits(marks=marks)) as (sender, receiver):
            _, audio = published(sender.local)
            reader = await subscribe(receiver.remote)
            group = audio.append_group()
            for _ in range(200):
                group.write(Frame(bytes(1000), 0))
            got = Got()
            async with asyncio.TaskGroup() as tasks:
                reading = tasks.create_task(read_group(got, await reader.next_group()))
                await asyncio.sleep(0.5)
                group.abort(StreamCode.CANCELLED)
                await asyncio.sleep(1)
                over = reading.done()
            audio.finish()
            return over, got.codes, len(got.groups[0])

    over, codes, count = run(main())
    assert over
    assert codes == {0: StreamCode.CANCELLED}
    assert count < 60


def test_group_that_a_reader_expires_is_reset_and_the_next_one_comes():
    async def main():
        async with joined(link=SLOW) as (sender, receiver):
            _, audio = published(sender.local)
            wishes = Subscription(priority=100, ordered=True, max_age_ms=100)
            reader = await subscribe(receiver.remote, wishes=wishes)
            write(audio, *([bytes(1000)] * 300), finish=False)
            got = Got()
            async with asyncio.TaskGroup() as tasks:
                reading = tasks.create_task(read_track(reader, got))
                await asyncio.sleep(0.5)
                write(audio, b"new")
                audio.finish()
                await asyncio.sleep(1)
                receiver.driver.close()
                await reading
            return got

    got = run(main())
    assert got.codes[0] == StreamCode.DELIVERY_TIMEOUT
    assert got.groups[1] == [b"new"]


def test_group_stopped_by_the_peer_is_given_up_and_others_go_on():
    async def main():
        async with joined() as (sender, receiver):
            _, audio = published(sender.local)
            reader = await subscribe(receiver.remote)
            write(audio, b"one", finish=False)
            first = await reader.next_group()
            await first.read()
            (group_id,) = receiver.driver._consuming.asking.groups
            receiver.session.stop_group(group_id, StreamCode.CANCELLED)
            receiver.driver._pump.woken.set()
            await asyncio.sleep(0.1)
            left = len(sender.driver._publishing.serving.by_group)
            write(audio, b"two")
            second = await reader.next_group()
            return left, (await second.read()).payload

    assert run(main()) == (0, b"two")


def test_frame_that_is_too_long_for_the_wire_costs_its_group_only(monkeypatch):
    async def main():
        async with joined() as (sender, receiver):
            small = SessionLimits(max_frame_bytes=1000)
            monkeypatch.setattr(sender.session._streams, "limits", small)
            _, audio = published(sender.local)
            reader = await subscribe(receiver.remote)
            write(audio, b"a", bytes(5000), b"c")
            write(audio, b"next")
            audio.finish()
            before = asyncio.get_running_loop().time()
            got = await read_track(reader)
            return got, reader.poll_drop(), asyncio.get_running_loop().time() - before

    got, _, waited = run(main())
    assert got.groups == {1: [b"next"]}
    assert got.ended
    assert waited < 0.1


@pytest.mark.parametrize("version", ["moq-lite-05", "moq-lite-04", "moq-lite-03"])
def test_group_that_can_only_be_joined_late_is_told_as_dropped_where_groups_are_whole(version):
    """These versions can't say that a group begins in its middle."""

    async def main():
        async with joined(version) as (sender, receiver):
            limits = cache.Limits(max_lag_bytes=20_000)
            _, audio = published(sender.local, limits=limits)
            write(audio, *([bytes(1000)] * 60), finish=False)
            got = Got()
            reader = await subscribe(receiver.remote)
            write(audio, b"next")
            audio.finish()
            async with asyncio.timeout(20):
                await read_track(reader, got)
            return got, sender.driver.closed

    got, closed = run(main())
    assert not closed
    assert got.groups[1] == [b"next"]
    assert 0 not in got.groups


def test_latest_version_joins_a_long_group_late():
    async def main():
        async with joined() as (sender, receiver):
            _, audio = published(sender.local, limits=cache.Limits(max_lag_bytes=20_000))
            write(audio, *([b"%04d" % n + bytes(1000) for n in range(60)]), finish=False)
            reader = await subscribe(receiver.remote)
            group = await reader.next_group()
            return group.frame_start, (await group.read()).payload[:4]

    start, first = run(main())
    assert start > 0
    assert first == b"%04d" % start


def test_groups_dropped_by_the_publisher_are_told_to_readers_behind_a_relay():
    async def main():
        async with hub() as relay:
            publisher, client = relay.join(), relay.join()
            _, audio = published(publisher.local)
            reader = await subscribe(client.remote)
            write(audio, b"zero")
            await asyncio.sleep(0.1)
            audio.drop(1, 3, 66)
            audio.create_group(4).finish()
            audio.finish()
            got = await read_track(reader)
            return sorted(got.groups), got.ended, reader.poll_drop()

    groups, ended, _ = run(main())
    assert groups == [0, 4]
    assert ended


def test_reader_that_leaves_in_mid_group_stops_it_upstream():
    async def main():
        async with joined(linger=0.5) as (sender, receiver):
            _, audio = published(sender.local)
            reader = await subscribe(receiver.remote)
            write(audio, b"one", finish=False)
            group = await reader.next_group()
            await group.read()
            group.close()
            reader.close()
            await asyncio.sleep(1)
            asking = receiver.driver._consuming.asking
            serving = sender.driver._publishing.serving
            return asking.requests, asking.groups, serving.by_group, served_tracks(sender)

    assert run(main()) == ({}, {}, {}, [])


@pytest.mark.parametrize("version", VERSIONS)
def test_nothing_is_kept_of_tracks_that_came_and_went(version):
    async def main():
        async with joined(version, linger=0.1) as (sender, receiver):
            for _ in range(20):
                producer, audio = published(sender.local)
                reader = await subscribe(receiver.remote)
                write(audio, b"x")
                audio.finish()
                await read_track(reader)
                producer.close()
                await gone(receiver.remote)
            await asyncio.sleep(1)
            consuming, pump = receiver.driver._consuming, receiver.driver._pump
            serving = sender.driver._publishing.serving
            return (
                len(consuming.asking.requests),
                len(consuming.asking.groups),
                len(consuming._announced),
                len(consuming._draining),
                len(serving.by_group),
                len(served_tracks(sender)),
                len(pump._by_session) < 10,
                len(receiver.driver._errands) < 5,
            )

    assert run(main()) == (0, 0, 0, 0, 0, 0, True, True)


def test_frames_of_a_bad_peer_for_no_subscription_are_ignored():
    async def main():
        async with joined() as (sender, receiver):
            receiver.driver._consuming.frame(events.FrameReceived(99, Frame(b"x", 0)))
            receiver.driver._consuming.group_over(events.GroupFinished(99))
            receiver.driver._consuming.answer(events.TrackInfoReceived(99, None))
            receiver.driver._consuming.group_opened(events.GroupOpened(99, 98, 0))
            await asyncio.sleep(0.1)
            published(sender.local)
            await receiver.remote.wait("alice")
            return receiver.driver.closed

    assert not run(main())


def test_end_of_a_subscription_is_told_although_its_last_group_was_aborted():
    async def main():
        async with joined() as (sender, receiver):
            _, audio = published(sender.local)
            reader = await subscribe(receiver.remote)
            write(audio, b"x", finish=False)
            group = await reader.next_group()
            await group.read()
            audio.finish()
            await asyncio.sleep(0.1)
            audio.abort(StreamCode.CANCELLED)
            with pytest.raises(StreamEnded):
                await group.read()
            async with asyncio.timeout(5):
                return await reader.next_group()

    assert run(main()) is None


@pytest.mark.parametrize("version", VERSIONS)
def test_a_track_is_not_over_before_its_groups_have_arrived(version):
    """The end goes first in the queue, and what a loss delays comes later still."""

    async def main():
        seen = []
        async with joined(version, link=LinkSettings(delay_ms=20, loss=20), seed=7) as sides:
            sender, receiver = sides
            original = receiver.connection.events

            async def events():
                found = await original()
                seen.extend(e for e in found if isinstance(e, StreamData) and e.fin)
                return found

            receiver.connection.events = events
            _, audio = published(sender.local)
            reader = await subscribe(receiver.remote)
            for _ in range(8):
                write(audio, *([bytes(1000)] * 16))
            audio.finish()
            got = await read_track(reader)
        return len(got.payloads), [bool(e.stream & 2) for e in seen]

    frames, is_group = run(main())
    assert frames == 8 * 16
    # From 05 on SETUP and the track's description have streams of their own, which end.
    more = version in ("moq-lite-05", "moq-lite-06")
    assert is_group.count(True) == 8 + more
    last = len(is_group) - is_group[::-1].index(True)
    assert is_group[:last].count(False) == more


def test_a_group_that_is_stuck_does_not_make_those_behind_it_pile_up(monkeypatch):
    monkeypatch.setattr("moqvox.driver.served.SIFT_AT", 4)

    async def main():
        async with joined() as (sender, receiver):
            settled = sender.connection.settled
            _, audio = published(sender.local)
            reader = await subscribe(receiver.remote)
            stuck = []

            def first_is_stuck(stream):
                stuck.append(stream)
                return stream != stuck[0] and settled(stream)

            sender.connection.settled = first_is_stuck
            longest = 0
            for _ in range(40):
                write(audio, b"x")
                group = await reader.next_group()
                await group.read()
                group.close()
                (served,) = served_tracks(sender)
                longest = max(longest, len(served._late))
            return longest

    assert run(main()) <= 8


def test_long_group_is_written_in_turns_so_that_a_request_gets_in_between():
    async def main():
        async with joined() as (sender, receiver):
            _, audio = published(sender.local)
            write(audio, *([b"frame"] * 100))
            audio.finish()
            turns, pump = [], sender.driver._pump
            take, write_frame = pump.pump_marked, sender.session.write_frame

            def turn():
                turns.append(0)
                take()

            def count(group, frame):
                turns[-1] += 1
                write_frame(group, frame)

            pump.pump_marked, sender.session.write_frame = turn, count
            got = await read_track(await subscribe(receiver.remote))
            return turns, len(got.groups[0])

    turns, count = run(main())
    assert count == sum(turns) == 100
    assert max(turns) <= BATCH
