"""WebSocket connections, and clients of another make that do as they like."""

import asyncio

import pytest
from tests import aio
from tests.loopback.pairs import (
    PATIENCE,
    PROTOCOL,
    Reader,
    dial_websocket,
    open_websocket_listener,
    pair,
)
from tests.loopback.websocket_peer import PARAMETERS, Stranger, strange
from tests.unit.driver.sides import Got, published, read_group, subscribe, write
from websockets.exceptions import InvalidStatus

from moqvox.driver import Driver
from moqvox.errors import SessionClosed, SessionCode
from moqvox.model.origin import Origin
from moqvox.session.lite.session import LiteSession
from moqvox.transport.interface import Closed
from moqvox.transport.send_queue import Marks
from moqvox.transport.streams.frames import MaxStreams, Segment
from moqvox.transport.streams.violation import TransportCode
from moqvox.transport.websocket import Limits
from moqvox.transport.websocket.frames import Close, Datagram, Hello, Ping, Pong
from moqvox.transport.websocket.subprotocols import VERSIONS
from moqvox.wire.version import LITE_ALPNS

pytestmark = pytest.mark.net

LIMITS = Limits(linger=0.05)


def serve(body, **options):
    """Run a test against a listener."""

    async def main() -> None:
        listener = await open_websocket_listener(**{"limits": LIMITS, **options})
        try:
            async with asyncio.timeout(2 * PATIENCE):
                await body(listener)
        finally:
            await listener.close()

    aio.run(main(), virtual=False)


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)
def test_every_version_of_qmux_carries_streams_both_ways(version):
    async def body(listener):
        async with strange(listener, f"{version.name}.{PROTOCOL}", path="/a?b=c") as stranger:
            server = Reader(await listener.accept())
            assert (server.connection.protocol, server.connection.path) == (PROTOCOL, "/a?b=c")
            await stranger.say(Segment(0, 0, b"question", True))
            await server.until(lambda reader: 0 in reader.ended)
            server.connection.write(0, b"answer", fin=True)
            assert await stranger.until(Segment) == Segment(0, 0, b"answer", True)
            assert isinstance(stranger.heard[0], Hello)
            assert (server.connection.max_datagram_size > 0) is False  # not offered by it

    serve(body)


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        (("qmux-00.moq-lite-05", "qmux-01.moq-lite-05"), "qmux-01.moq-lite-05"),
        (("qmux-02", "qmux-01.moq-lite-04", "qmux-01.moq-lite-06"), "qmux-01.moq-lite-06"),
    ],
)
def test_the_servers_preference_counts(offered, chosen):
    async def body(listener):
        async with strange(listener, *offered) as stranger:
            assert stranger.socket.subprotocol == chosen
            connection = await listener.accept()
            assert connection.protocol == chosen.partition(".")[2]

    serve(body, protocols=LITE_ALPNS)


@pytest.mark.parametrize("offered", [("qmux-01",), ("webtransport",), ("qmux-01.moqt-18",)])
def test_without_a_common_protocol_there_is_no_websocket(offered):
    async def body(listener):
        with pytest.raises(InvalidStatus) as caught:
            async with strange(listener, *offered):
                pass
        assert caught.value.response.status_code == 400

    serve(body)


async def _text(stranger: Stranger) -> None:
    await stranger.socket.send("text")


async def _oversized(stranger: Stranger) -> None:
    await stranger.socket.send(bytes(16385))


async def _garbage(stranger: Stranger) -> None:
    await stranger.socket.send(b"\x1e")


async def _cut(stranger: Stranger) -> None:
    await stranger.socket.send(b"\x10\x80")


async def _too_much(stranger: Stranger) -> None:
    for number in range(17):
        await stranger.say(Segment(2, number * 16000, bytes(16000), False))


@pytest.mark.parametrize(
    ("offence", "goodbye", "code"),
    [
        (_text, 1003, TransportCode.PROTOCOL_VIOLATION),
        (_oversized, 1009, None),
        (_garbage, 1002, TransportCode.FRAME_ENCODING_ERROR),
        (_cut, 1002, TransportCode.FRAME_ENCODING_ERROR),
        (_too_much, 1002, TransportCode.FLOW_CONTROL_ERROR),
    ],
)
def test_who_breaks_the_rules_is_told_and_sent_away(offence, goodbye, code):
    async def body(listener):
        async with strange(listener) as stranger:
            server = Reader(await listener.accept())
            await offence(stranger)
            assert await stranger.until_closed() == goodbye
            told = [frame for frame in stranger.heard if isinstance(frame, Close)]
            assert [(frame.code, frame.is_transport) for frame in told] == (
                [(code, True)] if code is not None else []
            )
            closed = await server.until_closed()
            assert closed.code == SessionCode.PROTOCOL_VIOLATION
            assert not closed.remote
            await server.connection.wait_closed()

    serve(body)


def test_a_message_in_fragments_is_one_message():
    async def body(listener):
        async with strange(listener) as stranger:
            server = Reader(await listener.accept())
            await stranger.socket.send([b"\x0e\x02\x00", b"", b"\x02h", b"i"])
            await server.until(lambda reader: reader.data.get(2) == b"hi")
            await stranger.socket.send(b"")
            await stranger.say(Segment(2, 2, b"", True))
            await server.until(lambda reader: 2 in reader.ended)

    serve(body)


def test_fragments_that_are_too_long_together_are_too_long():
    async def body(listener):
        async with strange(listener) as stranger:
            await listener.accept()
            await stranger.socket.send([bytes(9000), bytes(9000)])
            assert await stranger.until_closed() == 1009

    serve(body)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (1000, Closed(0, "bye", remote=True)),
        (1001, Closed(0, "bye", remote=True)),
        (4000, Closed(SessionCode.PROTOCOL_VIOLATION, "WebSocket close 4000: bye", remote=True)),
    ],
)
def test_a_websocket_that_just_closes_is_the_peers_close(code, expected):
    async def body(listener):
        async with strange(listener) as stranger:
            server = Reader(await listener.accept())
            await stranger.socket.close(code, "bye")
            assert await server.until_closed() == expected

    serve(body)


def test_a_transports_close_is_told_in_words():
    async def body(listener):
        async with strange(listener) as stranger:
            server = Reader(await listener.accept())
            await stranger.say(Close(TransportCode.FLOW_CONTROL_ERROR, True, "too much"))
            closed = await server.until_closed()
            assert closed == Closed(
                SessionCode.PROTOCOL_VIOLATION, "transport error 0x3: too much", remote=True
            )
            assert await stranger.until_closed() == 1000

    serve(body)


def test_a_peer_that_vanishes_is_lost():
    async def body(listener):
        async with strange(listener) as stranger:
            server = Reader(await listener.accept())
            stranger.socket.transport.abort()
            closed = await server.until_closed()
            assert closed.lost
            assert not closed.remote
            assert "connection lost" in closed.reason
            with pytest.raises(SessionClosed):
                await server.connection.events()

    serve(body)


@pytest.mark.timeout(60)
def test_silence_ends_a_connection_and_pings_go_before_it():
    async def body(listener):
        async with strange(listener) as stranger:
            server = Reader(await listener.accept())
            ping = await stranger.until(Ping)
            await stranger.say(Pong(ping.number))
            await stranger.until(Ping)
            closed = await server.until_closed()
            assert closed == Closed(0, "idle time-out", lost=True)
            assert server.connection.stats().rtt > 0

    aio.persist(lambda: serve(body, idle_timeout=0.15))


@pytest.mark.timeout(60)
def test_without_qmux_pings_those_of_the_websocket_keep_it_alive():
    async def body(listener):
        async with strange(listener, f"qmux-00.{PROTOCOL}") as stranger:
            server = Reader(await listener.accept())
            await asyncio.sleep(0.25)  # longer than the time-out; the library answers pings
            assert server.connection.stats().rtt > 0
            await stranger.socket.close()
            assert not (await server.until_closed()).lost

    aio.persist(lambda: serve(body, idle_timeout=0.1))


@pytest.mark.timeout(60)
def test_two_that_say_nothing_stay_connected():
    async def main() -> None:
        async with asyncio.timeout(PATIENCE), pair("websocket", idle_timeout=0.1) as both:
            await asyncio.sleep(0.35)
            both.client.connection.close(7, "still here")
            assert (await both.server.until_closed()).code == 7

    aio.persist(lambda: aio.run(main(), virtual=False))


def test_a_peer_in_a_hurry_is_not_pinged_more_than_once_a_second():
    async def body(listener):
        hasty = PARAMETERS.__class__(max_idle_timeout_ms=1, max_data=1)
        async with strange(listener, hello=hasty) as stranger:
            connection = await listener.accept()
            assert connection._heartbeat._interval == 1.0
            await stranger.socket.close()

    serve(body)


def test_answers_that_are_not_read_end_the_connection():
    limits = Limits(linger=0.05, max_reply_bytes=20_000)

    async def body(listener):
        async with strange(listener, secure=False) as stranger:
            server = Reader(await listener.accept())
            stranger.socket.transport.pause_reading()
            flood = asyncio.get_running_loop().create_future()
            async with asyncio.TaskGroup() as group:
                flooding = group.create_task(_ping_for_ever(stranger, flood))
                closed = await server.until_closed()
                flooding.cancel()
            assert "not read" in closed.reason
            stranger.socket.transport.abort()

    serve(body, limits=limits)


async def _ping_for_ever(stranger: Stranger, never: asyncio.Future[None]) -> None:
    while not never.done():
        for _ in range(100):
            stranger.socket.protocol.send_ping(bytes(125))
        stranger.socket.send_data()
        if stranger.socket.transport.get_write_buffer_size() > 1 << 20:
            await asyncio.sleep(0.005)
        await asyncio.sleep(0)


def test_a_peer_that_does_not_read_holds_no_more_than_the_marks_allow():
    marks = Marks(stream_high=1 << 16, stream_low=1 << 14, hard=1 << 19)

    async def body(listener):
        async with strange(listener, hello=_generous(), secure=False) as stranger:
            connection = await listener.accept()
            stranger.socket.transport.pause_reading()
            stream = connection.open_stream(bidirectional=False)
            written = 0
            async with asyncio.timeout(PATIENCE):
                while connection.writable(stream):
                    connection.write(stream, bytes(10_000))
                    written += 10_000
                    await asyncio.sleep(0)
            assert connection.stats().unsent_bytes < 2 * marks.stream_high
            assert connection._wire.pipe.waiting_bytes < 64 * 1024
            urgent = connection.open_stream(bidirectional=False, priority=-1)
            connection.write(urgent, b"now", fin=True)
            stranger.socket.transport.resume_reading()
            while (await stranger.until(Segment)).stream != urgent:
                pass
            behind = sum(len(f.data) for f in stranger.heard if isinstance(f, Segment))
            assert behind < written

    serve(body, limits=Limits(marks=marks, linger=0.05))


def _generous():
    fields = {name: 1 << 40 for name in PARAMETERS.__struct_fields__ if name.startswith("max_")}
    return PARAMETERS.__class__(**{**fields, "max_idle_timeout_ms": 0})


def test_datagrams_are_as_large_as_the_peer_takes():
    async def body(listener):
        hello = PARAMETERS.__class__(max_data=1, max_datagram_frame_bytes=105)
        async with strange(listener, hello=hello) as stranger:
            server = Reader(await listener.accept())
            assert server.connection.max_datagram_size == 100
            assert server.connection.send_datagram(bytes(100))
            assert await stranger.until(Datagram) == Datagram(bytes(100))
            await stranger.say(Datagram(bytes(1400)))
            await server.until(lambda reader: reader.datagrams == [bytes(1400)])

    serve(body)


def test_streams_beyond_the_permission_of_a_stranger_wait():
    async def body(listener):
        hello = PARAMETERS.__class__(max_data=100, max_stream_data_uni=100)
        async with strange(listener, hello=hello) as stranger:
            connection = await listener.accept()
            stream = connection.open_stream(bidirectional=False)
            connection.write(stream, b"waits", fin=True)
            await stranger.say(Ping(0))
            await stranger.until(Pong)
            assert not any(isinstance(frame, Segment) for frame in stranger.heard)
            await stranger.say(MaxStreams(False, 1))
            assert await stranger.until(Segment) == Segment(stream, 0, b"waits", True)

    serve(body)


def test_a_close_waits_for_credit_only_so_long():
    async def body(listener):
        async with strange(listener, hello=PARAMETERS.__class__(max_data=0)) as stranger:
            connection = await listener.accept()
            connection.write(connection.open_stream(bidirectional=False), b"stuck", fin=True)
            connection.close(0, "enough")
            assert await stranger.until(Close) == Close(0, False, "enough")
            await connection.wait_closed()

    serve(body)


def test_a_closed_listener_closes_its_connections_with_code_and_reason():
    async def body(listener):
        client = Reader(await dial_websocket(listener))
        await listener.accept()
        await listener.close(0x10, "moving")
        assert await client.until_closed() == Closed(0x10, "moving", remote=True)
        with pytest.raises(SessionClosed):
            await listener.accept()

    serve(body)


@pytest.mark.parametrize("version", LITE_ALPNS)
def test_a_session_publishes_and_subscribes_over_it(version):
    async def body(listener):
        client = await dial_websocket(listener, protocols=[version], path="/room?jwt=t")
        server = await listener.accept()
        near, far = Origin(), Origin()
        drivers = [
            Driver(end, LiteSession(version, is_client=end.is_client, webtransport=True))
            for end in (client, server)
        ]
        async with asyncio.TaskGroup() as tasks:
            for driver in drivers:
                driver.start(tasks)
            drivers[0].attach(near, None)
            drivers[1].attach(None, far)
            _, audio = published(near)
            reader = await subscribe(far)
            write(audio, b"one", b"two")
            got = Got()
            await read_group(got, await anext(aiter(reader)))
            assert got.payloads == [b"one", b"two"]
            reader.close()
            for driver in drivers:
                driver.close()

    serve(body, protocols=LITE_ALPNS)
