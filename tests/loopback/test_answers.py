"""An answer that comes at once takes the ACK along, and no timer is set for it."""

import asyncio

from tests.aio import run
from tests.loopback.pairs import PATIENCE, pair

from moqvox.transport.aioquic.endpoint import Endpoint
from moqvox.transport.interface import StreamData

ROUNDS = 40


async def _echo(connection):
    """Answer bytes as they come, after as many hops as a driver and an application take."""
    while True:
        for event in await connection.events():
            if isinstance(event, StreamData):
                await asyncio.sleep(0)
                connection.write(event.stream, event.data)


async def _heard(connection, size):
    got = 0
    while got < size:
        for event in await connection.events():
            got += len(event.data) if isinstance(event, StreamData) else 0


def test_frames_that_are_answered_at_once_need_a_packet_each_and_no_timer(monkeypatch):
    appointments = []
    schedule = Endpoint.schedule

    def note(self, link, when):
        if link.scheduled_at is None or when < link.scheduled_at:
            appointments.append(when)  # a later one leaves all as it is
        schedule(self, link, when)

    monkeypatch.setattr(Endpoint, "schedule", note)

    async def main():
        async with (
            pair("quic") as both,
            asyncio.timeout(PATIENCE),
            asyncio.TaskGroup() as tasks,
        ):
            client, server = both.client.connection, both.server.connection
            echoing = tasks.create_task(_echo(server))
            stream = client.open_stream(bidirectional=True)
            for number in range(2 * ROUNDS):
                if number == ROUNDS:
                    appointments.clear()
                    before = client.stats().received_packets
                client.write(stream, bytes(160))
                await _heard(client, 160)
            assert client.stats().received_packets - before <= ROUNDS + ROUNDS // 4
            assert len(appointments) <= ROUNDS // 2
            echoing.cancel()

    run(main())


def test_what_nobody_answers_is_acknowledged_all_the_same():
    async def main():
        async with pair("quic") as both, asyncio.timeout(PATIENCE):
            client = both.client.connection
            stream = client.open_stream(bidirectional=False)
            for _ in range(5):
                client.write(stream, bytes(160))
                while client.stats().unacked_bytes or client.stats().unsent_bytes:  # noqa: ASYNC110  # no event tells
                    await asyncio.sleep(0.001)
            await both.server.until(lambda server: len(server.data.get(stream, b"")) == 800)

    run(main())
