import asyncio

import pytest
from tests.aio import run, settle
from tests.unit.model.samples import HISTORY, drain, ended_with, frame, publish, sequences

from moqvox.errors import LocalError, NotFound, Refused, StreamCode, StreamEnded, Unauthorized
from moqvox.frame import Subscription, TrackInfo
from moqvox.model import broadcast, cache


class Publisher:
    """Collects the requests of a dynamic broadcast for a test to answer."""

    def __init__(self, tasks: asyncio.TaskGroup, **options) -> None:
        self.producer = broadcast.Producer(dynamic=True, **options)
        self.consumer = self.producer.consume()
        self.requests = []
        tasks.create_task(self._collect())

    async def _collect(self):
        async for request in self.producer.requests():
            self.requests.append(request)


def with_publisher(test, **options):
    async def main():
        async with asyncio.TaskGroup() as tasks:
            publisher = Publisher(tasks, **options)
            await test(publisher, tasks)
            publisher.producer.close()

    run(main())


def test_a_published_track_is_found_by_name():
    async def main():
        made = broadcast.Producer()
        track = made.create_track("audio", TrackInfo(priority=9))
        publish(track, "a")
        reader = made.consume()
        assert (await reader.info("audio")).priority == 9
        subscribed = await reader.subscribe("audio")
        assert subscribed.info.priority == 9
        assert drain(subscribed.poll_group()) == ["a"]
        with pytest.raises(NotFound, match="video"):
            await reader.subscribe("video")
        with pytest.raises(NotFound):
            await reader.info("video")

    run(main())


def test_a_live_name_is_taken_until_it_ends():
    async def main():
        made = broadcast.Producer()
        first = made.create_track("audio")
        with pytest.raises(LocalError, match="live"):
            made.create_track("audio")
        first.finish()
        second = made.create_track("audio")
        publish(second, "b")
        assert sequences(await made.consume().subscribe("audio")) == [0]

    run(main())


def test_tracks_are_bounded_in_number():
    async def main():
        made = broadcast.Producer(limits=cache.Limits(max_tracks=2))
        for n in range(2):
            made.create_track(str(n))
        with pytest.raises(LocalError, match="more than 2"):
            made.create_track("2")

    run(main())


def test_an_aborted_published_track_stays_refused():
    async def main():
        made = broadcast.Producer()
        made.create_track("audio").abort(StreamCode.UNAUTHORIZED, "no")
        for ask in (made.consume().info, made.consume().subscribe, lambda n: fetch(made, n)):
            with pytest.raises(Unauthorized, match="no"):
                await ask("audio")

    async def fetch(made, name):
        await made.consume().fetch(name, 0)

    run(main())


def test_a_finished_published_track_still_serves_what_it_keeps():
    async def main():
        made = broadcast.Producer()
        track = made.create_track("audio")
        publish(track, "a")
        track.finish()
        assert sequences(await made.consume().subscribe("audio")) == [0]

    run(main())


def test_many_who_ask_for_a_track_make_one_request():
    async def test(publisher, tasks):
        asks = [tasks.create_task(publisher.consumer.info("audio"))]
        asks += [tasks.create_task(publisher.consumer.subscribe("audio")) for _ in range(100)]
        await settle()
        (request,) = publisher.requests
        assert request.name == "audio"
        assert request.wanted
        track = request.accept(TrackInfo(priority=7))
        assert track.used
        await settle()
        assert asks[0].result() == TrackInfo(priority=7)
        publish(track, "a")
        assert all(drain(ask.result().poll_group()) == ["a"] for ask in asks[1:])
        await publisher.consumer.subscribe("audio")
        assert len(publisher.requests) == 1

    with_publisher(test)


def test_a_request_tells_what_those_who_wait_want_together():
    async def test(publisher, tasks):
        tasks.create_task(publisher.consumer.info("audio"))
        await settle()
        (request,) = publisher.requests
        assert request.subscription is None
        first = Subscription(priority=5, max_age_ms=100)
        tasks.create_task(publisher.consumer.subscribe("audio", first))
        await settle()
        assert request.subscription == first
        tasks.create_task(publisher.consumer.subscribe("audio", Subscription(priority=1)))
        await settle()
        assert request.subscription == first
        request.accept(TrackInfo())

    with_publisher(test)


def test_a_refusal_reaches_all_who_wait_and_the_next_is_asked_for_anew():
    async def test(publisher, tasks):
        async def refused():
            with pytest.raises(Refused, match="busy") as caught:
                await publisher.consumer.subscribe("audio")
            return caught.value.code

        asks = [tasks.create_task(refused()) for _ in range(3)]
        await settle()
        (request,) = publisher.requests
        request.reject(StreamCode.EXCESSIVE_LOAD, "busy")
        request.reject(0, "twice")
        with pytest.raises(LocalError, match="answered"):
            request.accept(TrackInfo())
        await settle()
        assert [ask.result() for ask in asks] == [StreamCode.EXCESSIVE_LOAD] * 3
        again = tasks.create_task(publisher.consumer.info("audio"))
        await settle()
        publisher.requests[1].accept(TrackInfo())
        assert await again == TrackInfo()

    with_publisher(test)


def test_askers_who_gave_up_leak_nothing():
    async def main():
        made = broadcast.Producer(dynamic=True, limits=cache.Limits(max_requests=2))
        reader = made.consume()
        for n in range(10):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1):
                    await reader.subscribe(f"t{n}")
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1):
                    await reader.fetch(f"t{n}", 0)
        assert not made._queue
        assert not made._asked
        assert not made._fetches

    run(main())


def test_an_asker_who_gives_up_after_the_answer_leaves_no_reader():
    async def test(publisher, tasks):
        async def give_up(ask):
            with pytest.raises(asyncio.CancelledError):
                await ask

        subscribing = asyncio.get_running_loop().create_task(publisher.consumer.subscribe("audio"))
        fetching = asyncio.get_running_loop().create_task(publisher.consumer.fetch("audio", 3))
        await settle()
        track = publisher.requests[0].accept(TrackInfo())
        fetched = publisher.requests[1].accept(TrackInfo())
        assert track.used
        assert fetched.used
        subscribing.cancel()
        fetching.cancel()
        await give_up(subscribing)
        await give_up(fetching)
        assert not track.used
        assert not fetched.used

    with_publisher(test)


def test_a_request_that_nobody_waits_for_any_more_can_still_be_answered():
    async def test(publisher, tasks):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await publisher.consumer.subscribe("audio")
        (request,) = publisher.requests
        assert not request.wanted
        joined = tasks.create_task(publisher.consumer.subscribe("audio"))
        await settle()
        assert len(publisher.requests) == 1
        request.accept(TrackInfo())
        assert (await joined).name == "audio"

    with_publisher(test)


def test_unanswered_requests_are_bounded():
    async def test(publisher, tasks):
        async def refused(ask):
            with pytest.raises(Refused) as caught:
                await ask
            return caught.value.code

        waiting = [tasks.create_task(refused(publisher.consumer.info(str(n)))) for n in range(2)]
        waiting.append(tasks.create_task(refused(publisher.consumer.fetch("x", 1))))
        await settle()
        for ask in (publisher.consumer.subscribe("3"), publisher.consumer.fetch("x", 2)):
            assert await refused(ask) == StreamCode.EXCESSIVE_LOAD
        assert len(publisher.requests) == 3
        publisher.producer.close(StreamCode.GOING_AWAY)
        await settle()
        assert [one.result() for one in waiting] == [StreamCode.GOING_AWAY] * 3

    with_publisher(test, limits=cache.Limits(max_requests=3))


def test_requested_tracks_are_bounded_in_number():
    async def test(publisher, tasks):
        asked = tasks.create_task(publisher.consumer.info("a"))
        await settle()
        publisher.requests[0].accept(TrackInfo())
        await asked
        with pytest.raises(Refused, match="too many tracks"):
            await publisher.consumer.subscribe("b")

    with_publisher(test, limits=cache.Limits(max_tracks=1))


@pytest.mark.parametrize("end", ["abort", "finish", "remove"])
def test_a_requested_track_that_ended_is_requested_again(end):
    async def test(publisher, tasks):
        async def subscribe():
            return await publisher.consumer.subscribe("audio", HISTORY)

        first = tasks.create_task(subscribe())
        await settle()
        track = publisher.requests[0].accept(TrackInfo())
        reader = await first
        publish(track, "a")
        if end == "abort":
            track.abort(StreamCode.SESSION_CLOSED)
            with pytest.raises(StreamEnded):
                reader.poll_group()
        else:
            track.finish() if end == "finish" else publisher.producer.remove_track("audio")
            assert sequences(reader) == [0]
        second = tasks.create_task(subscribe())
        await settle()
        assert len(publisher.requests) == 2
        publisher.requests[1].accept(TrackInfo())
        assert sequences(await second) == []

    with_publisher(test)


def test_a_forgotten_track_gives_its_memory_back_when_it_is_read():
    async def test(publisher, tasks):
        budget = publisher.producer._budget
        asked = tasks.create_task(publisher.consumer.subscribe("audio", HISTORY))
        await settle()
        track = publisher.requests[0].accept(TrackInfo())
        reader = await asked
        publish(track, "a")
        publish(track, "b")
        track.finish()
        readers = [reader.poll_group(), reader.poll_group()]
        assert [drain(one) for one in readers] == [["a"], ["b"]]
        assert budget.size_bytes == 0

    with_publisher(test)


def test_creating_a_track_answers_those_who_wait_for_it():
    async def test(publisher, tasks):
        asked = tasks.create_task(publisher.consumer.subscribe("audio"))
        await settle()
        track = publisher.producer.create_track("audio", TrackInfo(priority=1))
        assert (await asked).info == TrackInfo(priority=1)
        with pytest.raises(LocalError, match="answered"):
            publisher.requests[0].accept(TrackInfo())
        track.abort(5)
        with pytest.raises(Refused):
            await publisher.consumer.subscribe("audio")

    with_publisher(test)


def test_requests_have_one_reader_and_need_a_dynamic_broadcast():
    async def test(publisher, tasks):
        await settle()
        for made in (publisher.producer, broadcast.Producer()):
            with pytest.raises(LocalError, match="one reader"):
                await anext(made.requests())

    with_publisher(test)


def test_closing_ends_everything():
    async def test(publisher, tasks):
        async def refused(ask):
            with pytest.raises(Refused, match="over") as caught:
                await ask
            return caught.value.code

        track = publisher.producer.create_track("audio")
        opened = track.append_group()
        opened.write(frame("unread"))
        reader = await publisher.consumer.subscribe("audio")
        taken = reader.poll_group()
        waiting = tasks.create_task(refused(publisher.consumer.subscribe("other")))
        closing = tasks.create_task(publisher.consumer.wait_closed())
        calls = []
        publisher.consumer.call_when_closed(lambda: calls.append(1))
        take_back = publisher.consumer.call_when_closed(lambda: calls.append(2))
        take_back()
        await settle()
        assert not publisher.consumer.closed
        publisher.producer.close(77, "over")
        publisher.producer.close(78, "again")
        await closing
        assert publisher.consumer.closed
        assert publisher.producer.closed
        assert calls == [1]
        assert ended_with(taken) == 77
        with pytest.raises(StreamEnded):
            reader.poll_group()
        assert await waiting == 77
        assert await refused(publisher.consumer.info("audio")) == 77
        with pytest.raises(LocalError, match="closed"):
            publisher.producer.create_track("late")

    with_publisher(test)


def test_a_kept_group_is_fetched_from_the_cache():
    async def main():
        made = broadcast.Producer()
        track = made.create_track("audio", TrackInfo(timescale=48_000))
        for n in range(3):
            publish(track, *(f"{n}{letter}" for letter in "abcd"))
        reader = made.consume()
        info, whole = await reader.fetch("audio", 1)
        assert info.timescale == 48_000
        assert drain(whole) == ["1a", "1b", "1c", "1d"]
        assert whole.ended
        _, part = await reader.fetch("audio", 0, frame_start=1, frame_end=2)
        assert drain(part) == ["0b", "0c"]
        assert part.ended
        assert not track.used
        for name, group in (("audio", 9), ("video", 0)):
            with pytest.raises(NotFound):
                await reader.fetch(name, group)

    run(main())


def test_a_fetch_of_a_live_group_follows_it_to_its_end():
    async def main():
        made = broadcast.Producer()
        writer = made.create_track("audio").append_group()
        writer.write(frame("a"))
        _, reader = await made.consume().fetch("audio", 0)
        assert drain(reader) == ["a"]
        writer.write(frame("b"))
        writer.finish()
        assert drain(reader) == ["b"]
        assert reader.ended

    run(main())


def test_frames_that_are_trimmed_away_are_not_found():
    async def main():
        made = broadcast.Producer(limits=cache.Limits(max_bytes=20_000))
        writer = made.create_track("audio").append_group()
        for n in range(100):
            writer.write(frame(n))
        with pytest.raises(NotFound):
            await made.consume().fetch("audio", 0)
        _, reader = await made.consume().fetch("audio", 0, frame_start=99)
        assert drain(reader) == ["99"]

    run(main())


def test_a_group_that_is_not_kept_is_requested():
    async def test(publisher, tasks):
        asked = tasks.create_task(
            publisher.consumer.fetch("audio", 7, frame_start=2, frame_end=3, priority=4)
        )
        await settle()
        (request,) = publisher.requests
        assert isinstance(request, broadcast.FetchRequest)
        wish = (request.name, request.group, request.frame_start, request.frame_end)
        assert (*wish, request.priority) == ("audio", 7, 2, 3, 4)
        assert request.wanted
        writer = request.accept(TrackInfo(priority=3))
        assert writer.frame_start == 2
        with pytest.raises(LocalError, match="answered"):
            request.accept(TrackInfo())
        info, reader = await asked
        assert (info.priority, reader.sequence, reader.frame_start) == (3, 7, 2)
        for text in "cde":
            writer.write(frame(text))
        assert drain(reader) == ["c", "d"]
        assert reader.ended
        writer.finish()
        reader.close()
        assert publisher.producer._budget.size_bytes == 0

    with_publisher(test)


def test_a_refused_fetch_raises():
    async def test(publisher, tasks):
        async def refused():
            with pytest.raises(NotFound, match="long gone"):
                await publisher.consumer.fetch("audio", 7)

        asked = tasks.create_task(refused())
        await settle()
        publisher.requests[0].reject(StreamCode.NOT_FOUND, "long gone")
        publisher.requests[0].reject(0)
        await asked

    with_publisher(test)


def test_a_fetch_nobody_waits_for_takes_no_memory():
    async def test(publisher, tasks):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await publisher.consumer.fetch("audio", 7)
        (request,) = publisher.requests
        assert not request.wanted
        writer = request.accept(TrackInfo())
        writer.write(frame("x"))
        writer.finish()
        assert publisher.producer._budget.size_bytes == 0

    with_publisher(test)


def test_a_fetched_group_is_bounded_like_a_track():
    async def test(publisher, tasks):
        asked = tasks.create_task(publisher.consumer.fetch("audio", 7))
        await settle()
        writer = publisher.requests[0].accept(TrackInfo())
        _, reader = await asked
        for n in range(500):
            writer.write(frame(n))
            assert publisher.producer._budget.size_bytes <= 20_000
        assert ended_with(reader) == StreamCode.TOO_FAR_BEHIND
        assert publisher.producer._budget.size_bytes == 0

    with_publisher(test, limits=cache.Limits(max_bytes=20_000))
