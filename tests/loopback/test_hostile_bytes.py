"""Bytes from nobody, and from somebody who means harm: the others never notice."""

import asyncio
import contextlib
import os
import random
import socket
from collections.abc import Callable

import pytest
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.packet import QuicProtocolVersion
from tests import aio
from tests.loopback.pairs import HASTY, PATIENCE, Pair, Reader, dial, open_listener, pair

from moqvox.transport.aioquic import Limits
from moqvox.transport.aioquic.headers import parse_long_header
from moqvox.transport.interface import PathChanged

pytestmark = pytest.mark.net


def initial(**options: object) -> bytes:
    """Build a client's first datagram."""
    client = QuicConnection(
        configuration=QuicConfiguration(
            is_client=True, alpn_protocols=["moq-lite-06"], server_name="localhost", **options
        )
    )
    client.connect(("127.0.0.1", 1), 0.0)
    return client.datagrams_to_send(0.0)[0][0]


class Stranger:
    """A plain UDP socket pointed at a listener."""

    def __init__(self, listener) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.connect(listener.addresses[0])
        self.socket.setblocking(False)

    def __enter__(self) -> "Stranger":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.send(data)

    async def answers(self, count: int, kind: Callable[[bytes], bool] = bool) -> list[bytes]:
        """Wait until so many answers of a kind came, as long as a busy machine takes for it.

        Returns:
            Those, and what else of the kind has come by then.
        """
        found: list[bytes] = []
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(PATIENCE):
            while len(found) < count:
                found += filter(kind, [await loop.sock_recv(self.socket, 65536)])
        return [*found, *filter(kind, self.at_hand())]

    def at_hand(self) -> list[bytes]:
        """Return what has come already."""
        found: list[bytes] = []
        with contextlib.suppress(BlockingIOError):
            while True:
                found.append(self.socket.recv(65536))
        return found


async def still_talk(both: Pair) -> None:
    client = both.client.connection
    stream = client.open_stream(bidirectional=True)
    client.write(stream, b"are you there?", fin=True)
    await both.server.until(lambda reader: stream in reader.ended)
    both.server.connection.write(stream, b"yes", fin=True)
    await both.client.until(lambda reader: stream in reader.ended)


def garbage(rng: random.Random) -> list[bytes]:
    """Datagrams of every kind of wrong, 1 to 1500 bytes."""
    base = initial()
    made = [b"\x00", b"\xc0", b"\x40" + bytes(8), b"\xff" * 6, bytes(1200)]
    made += [rng.randbytes(rng.randrange(1, 1500)) for _ in range(60)]
    for _ in range(120):
        broken = bytearray(base)
        for _ in range(rng.randrange(1, 6)):
            broken[rng.randrange(60)] = rng.randrange(256)
        made.append(bytes(broken[: rng.choice([20, 1199, 1200, 1200, 1200])]))
    made += [bytes([0xC0 | kind << 4]) + base[1:] for kind in range(4)]
    return made


@pytest.mark.parametrize("kind", ["quic", "webtransport"])
@pytest.mark.parametrize("seed", range(3))
def test_garbage_leaves_the_others_unharmed(kind, seed):
    async def main():
        async with pair(kind) as both:
            with Stranger(both.listener) as stranger:
                for data in garbage(random.Random(seed)):
                    stranger.send(data)
                await still_talk(both)
            endpoint = both.listener._endpoint
            assert len(endpoint) <= 1 + 125

    aio.run(main(), sockets=True)


def test_garbage_with_a_real_connection_id_is_dropped():
    async def main():
        async with pair("quic") as both:
            rng = random.Random(4)
            endpoint = both.listener._endpoint
            names = list(endpoint.links)
            with Stranger(both.listener) as stranger:
                for name in names:
                    for first in (0x40, 0x43, 0x7F, 0xC0, 0xE0, 0xF0):
                        head = bytes([first])
                        if first & 0x80:
                            head += b"\0\0\0\1" + bytes([len(name)])
                        stranger.send(head + name + rng.randbytes(rng.randrange(1, 1200)))
                await asyncio.sleep(0.02)
                await still_talk(both)
            assert not any(isinstance(event, PathChanged) for event in both.server.events)

    aio.run(main(), sockets=True)


@pytest.mark.parametrize("at_once", [1, 3])
def test_an_engine_that_fails_closes_its_connection_only(at_once):
    """And says so, however much came before that has left."""

    async def main():
        listener = await open_listener(limits=HASTY)
        try:
            doomed = await dial(listener)
            victim = Reader(await listener.accept())
            other = await dial(listener)
            healthy = Pair(Reader(other), Reader(await listener.accept()))

            def fail(*_args):
                raise ZeroDivisionError("an engine's bug")

            link = victim.connection._link
            link.engine.receive_datagram = fail
            for _ in range(at_once):
                link.receive(b"\x40" + bytes(50), link.peer, link.now())
            closed = await victim.until_closed()
            assert "transport error 0x1" in closed.reason
            assert "0x1" in (await Reader(doomed).until_closed()).reason
            await still_talk(healthy)
            other.close()
            await other.wait_closed()
        finally:
            await listener.close()

    aio.run(main(), sockets=True)


def test_unknown_versions_are_told_which_we_speak_and_no_loop_begins():
    async def main():
        listener = await open_listener(limits=HASTY)
        try:
            with Stranger(listener) as stranger:
                strange = bytearray(initial())
                strange[1:5] = b"\x1a\x2a\x3a\x4a"
                stranger.send(bytes(strange))
                (answer,) = await stranger.answers(1)
                assert answer[1:5] == bytes(4)
                assert int(QuicProtocolVersion.VERSION_1).to_bytes(4, "big") in answer
                assert len(answer) < len(strange)
                stranger.send(answer.ljust(1200, b"\0"))
                stranger.send(bytes(strange[:1199]))
                stranger.send(bytes(strange))
                # In order: what the first two are worth would have come before.
                (again,) = await stranger.answers(1)
                assert again[1:5] == bytes(4)
        finally:
            await listener.close()

    aio.run(main(), sockets=True)


def test_a_flood_of_first_packets_meets_a_bound_and_then_retry():
    limits = Limits(retry_above_half_open=5, max_half_open=10, linger=0.05)

    async def main():
        listener = await open_listener(limits=limits)
        try:
            with Stranger(listener) as stranger:
                for _ in range(40):
                    stranger.send(initial())
                retries = await stranger.answers(35, lambda data: data[0] & 0xB0 == 0xB0)
                assert len(listener._endpoint) == 5
                assert len(retries) == 35
                assert all(len(data) < 200 for data in retries)
                connection = await dial(listener, timeout=PATIENCE)
                assert len(listener._endpoint) == 6
                connection.close()
                await connection.wait_closed()
        finally:
            await listener.close()

    aio.run(main(), sockets=True)


def test_a_token_from_elsewhere_is_worth_nothing():
    async def main():
        listener = await open_listener(limits=Limits(retry_above_half_open=0))
        try:
            with Stranger(listener) as stranger:
                stranger.send(initial(token=os.urandom(80)))
                (answer,) = await stranger.answers(1)
                assert answer[0] & 0xF0 == 0xF0
                assert len(listener._endpoint) == 0
        finally:
            await listener.close()

    aio.run(main(), sockets=True)


def test_late_packets_of_a_closed_connection_are_answered_ever_more_rarely():
    async def main():
        async with pair("quic") as both:
            link = both.server.connection._link
            both.server.connection.close(9, "bye")
            await both.server.until_closed()
            sent: list[bytes] = []
            link._carrier.send = lambda _link, data, _address: sent.append(data)
            for _ in range(20):
                link.receive(b"\x40" + bytes(50), ("127.0.0.1", 9), 0.0)
            assert len(sent) == 5
            assert len(set(sent)) == 1
            del link._carrier.send

    aio.run(main(), sockets=True)


@pytest.mark.parametrize("kind", ["quic", "webtransport"])
def test_a_clients_new_address_is_followed_and_nothing_is_lost(kind):
    async def main():
        async with pair(kind) as both:
            client = both.client.connection
            stream = client.open_stream(bidirectional=False)
            client.write(stream, bytes(100_000))
            await both.server.until(lambda reader: len(reader.data.get(stream, b"")) == 100_000)
            endpoint = client._link._carrier
            old = endpoint.ways._sockets[0]
            fresh = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            fresh.bind(("127.0.0.5", 0))
            fresh.setblocking(False)
            endpoint._reception.close(old)
            old.close()
            endpoint.ways._sockets[0] = fresh
            endpoint._reception.open(fresh, 0, None)
            client.write(stream, bytes(100_000), fin=True)
            await both.server.until(lambda reader: stream in reader.ended)
            assert len(both.server.data[stream]) == 200_000
            await both.server.until(
                lambda reader: any(isinstance(event, PathChanged) for event in reader.events)
            )
            assert both.server.connection.remote_address.startswith("127.0.0.5:")
            assert both.server.connection.stats().path_changes == 1

    aio.run(main(), sockets=True)


def test_long_headers_are_read_or_not_read_but_never_fail():
    rng = random.Random(9)
    base = initial()
    header = parse_long_header(base)
    assert header is not None
    assert (header.version, header.is_initial, header.token) == (1, True, b"")
    for _ in range(3000):
        data = bytearray(base[: rng.randrange(len(base))])
        for _ in range(rng.randrange(4)):
            if data:
                data[rng.randrange(min(len(data), 40))] = rng.randrange(256)
        parse_long_header(bytes(data))
