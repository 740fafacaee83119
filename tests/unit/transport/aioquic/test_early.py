"""What leaves before the server has answered, and what waits for it: on links, without a socket."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from tests.aio import run
from tests.unit.transport.aioquic.links import Desk
from tests.unit.transport.aioquic.test_handshake import a_ticket, office
from tests.unit.transport.aioquic.wires import CLIENT, SERVER, configuration
from tests.unit.transport.ends import Ear

from moqvox.transport.aioquic import Limits
from moqvox.transport.aioquic.private import Engine
from moqvox.transport.aioquic.raw import RawConnection
from moqvox.transport.interface import StreamData, StreamReset
from moqvox.transport.send_queue import Marks

ONE_WAY = 0.05
ROUND = 2 * ONE_WAY


@contextlib.asynccontextmanager
async def resumed(
    *, takes_early: bool = True, limits: Limits | None = None
) -> AsyncIterator[tuple[Ear, Ear]]:
    """Begin a connection with a ticket; both ends are read, the server has heard nothing yet."""
    limits = limits or Limits()
    tickets = office(limits=limits)
    ticket = a_ticket(tickets, limits=limits)
    desks = [Desk(at, delay=ONE_WAY, lose=lambda: False) for at in (CLIENT, SERVER)]
    desks[0].other, desks[1].other = desks[1], desks[0]
    dialler = Engine(configuration(is_client=True, limits=limits, session_ticket=ticket), limits)
    taker = Engine(
        configuration(is_client=False, limits=limits),
        limits,
        original_destination_connection_id=dialler.original_destination_connection_id,
        # Another register of the same keys resumes, but takes nothing early from before it began.
        tickets=tickets if takes_early else later(limits),
    )
    ears = []
    for desk, engine in zip(desks, (dialler, taker), strict=True):
        link = desk.open(engine, limits)
        link.observer = RawConnection(link, protocol="x", is_client=engine is dialler)
        ears.append(Ear(link.observer))
    dialler.connect(SERVER, desks[0].now())
    desks[0].touch(desks[0].link)
    async with asyncio.TaskGroup() as tasks:
        listening = [tasks.create_task(ear.listen()) for ear in ears]
        yield ears[0], ears[1]
        for task in listening:
            task.cancel()


def later(limits: Limits):
    tickets = office(limits=limits)
    tickets._begun_at = tickets.clock.now + 3600
    return tickets


def rounds() -> float:
    return round(asyncio.get_running_loop().time() / ROUND, 1)


def heard_at(ear: Ear, stream: int) -> float:
    """Tell after how many round trips the first bytes of a stream were there."""
    return min(
        round(at / ROUND, 1)
        for at, event in ear.heard
        if isinstance(event, StreamData) and event.stream == stream
    )


def say(ear: Ear, data: bytes, **options) -> int:
    stream = ear.connection.open_stream(bidirectional=False, **options)
    ear.connection.write(stream, data, fin=True)
    return stream


@pytest.mark.parametrize("is_early", [True, False])
def test_only_what_is_marked_leaves_before_the_answer(is_early):
    async def main():
        async with resumed() as (client, server):
            stream = say(client, b"once or twice", early=is_early)
            await server.until(lambda ear: ear.ended(stream))
            return heard_at(server, stream)

    assert run(main()) == (0.5 if is_early else 1.5)


def test_what_waits_holds_up_nothing_that_may_leave_however_urgent_it_is():
    async def main():
        async with resumed() as (client, server):
            vote = say(client, b"I vote for you", priority=-1)
            ask = say(client, b"who stands?", priority=5, early=True)
            await asyncio.sleep(0.1 * ROUND)
            assert client.connection.stats().unsent_bytes == len(b"I vote for you")
            await server.until(lambda ear: ear.ended(ask) and ear.ended(vote))
            return heard_at(server, ask), heard_at(server, vote), client.connection.stats()

    asked, voted, stats = run(main())
    assert (asked, voted) == (0.5, 1.5)
    assert stats.unsent_bytes == 0


def test_refused_early_data_goes_out_again_and_with_it_what_waited():
    async def main():
        async with resumed(takes_early=False) as (client, server):
            ask, vote = say(client, b"who stands?", early=True), say(client, b"I vote for you")
            await server.until(lambda ear: ear.ended(ask) and ear.ended(vote))
            return heard_at(server, ask), heard_at(server, vote), server.data(vote)

    assert run(main()) == (1.5, 1.5, b"I vote for you")


def test_once_the_server_has_answered_the_mark_means_nothing():
    async def main():
        async with resumed() as (client, server):
            await asyncio.sleep(1.1 * ROUND)
            stream = say(client, b"plain")
            await server.until(lambda ear: ear.ended(stream))
            return heard_at(server, stream)

    assert run(main()) == 1.6


def test_a_stream_that_waits_takes_what_its_marks_allow_and_tells_when_it_takes_more():
    limits = Limits(marks=Marks(stream_high=4000, stream_low=1000))

    async def main():
        async with resumed(limits=limits) as (client, server):
            connection = client.connection
            stream = connection.open_stream(bidirectional=False)
            connection.write(stream, bytes(5000))
            assert not connection.writable(stream)
            await connection.drain(stream)
            drained_at = rounds()
            connection.write(stream, b"end", fin=True)
            await server.until(lambda ear: ear.ended(stream))
            return drained_at, len(server.data(stream))

    assert run(main()) == (1.0, 5003)


def test_a_stream_that_is_given_up_while_it_waits_never_says_its_words():
    async def main():
        async with resumed() as (client, server):
            stream = client.connection.open_stream(bidirectional=False)
            client.connection.write(stream, b"never mind")
            client.connection.reset(stream, 7)
            await server.until(lambda ear: ear.of(StreamReset))
            await asyncio.sleep(2 * ROUND)
            return server.data(stream), server.of(StreamReset)

    said, resets = run(main())
    assert said == b""
    assert [reset.code for reset in resets] == [7]


def test_a_close_waits_for_what_may_not_leave_yet():
    async def main():
        async with resumed() as (client, server):
            stream = say(client, b"last words")
            client.connection.close(3, "done")
            await server.until(lambda ear: ear.closed)
            return server.data(stream), server.closed.code

    limits = (b"last words", 3)
    assert run(main()) == limits


@pytest.mark.parametrize("is_early", [True, False])
def test_a_datagram_leaves_early_when_it_is_marked_and_else_not_at_all(is_early):
    async def main():
        async with resumed() as (client, server):
            sent = client.connection.send_datagram(b"tick", early=is_early)
            await asyncio.sleep(0.6 * ROUND)
            assert server.datagrams == ([b"tick"] if is_early else [])
            await asyncio.sleep(ROUND)
            assert client.connection.send_datagram(b"tock")
            await server.until(lambda ear: b"tock" in ear.datagrams)
            return sent, server.datagrams

    assert run(main()) == ((True, [b"tick", b"tock"]) if is_early else (False, [b"tock"]))
