"""The link over real sockets on loopback."""

import asyncio
import contextlib
import socket
from itertools import pairwise

import pytest
from tests import aio

from moqvox_client.fate import Cause, Direction, Impairment, Lane, Outage, Outages
from moqvox_client.link import MAX_FLOWS, Link, Rebind, Settings

pytestmark = pytest.mark.net


class Endpoint(asyncio.DatagramProtocol):
    """Keeps what arrives with its time and source; answers if it is a server."""

    def __init__(self, answer=None):
        self.answer = answer
        self.got = []
        self.arrived = asyncio.Event()

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, address):
        self.got.append((asyncio.get_running_loop().time(), data, address[:2]))
        self.arrived.set()
        if self.answer is not None:
            self.transport.sendto(self.answer + data, address)

    async def until(self, count):
        async with asyncio.timeout(5):
            while len(self.got) < count:
                self.arrived.clear()
                await self.arrived.wait()
        return [data for _, data, _ in self.got]

    @property
    def address(self):
        return self.transport.get_extra_info("sockname")[:2]


async def until(condition):
    """Give the loop turns until the link's counters say so."""
    for _ in range(5000):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("never came true")


@contextlib.asynccontextmanager
async def endpoint(host="127.0.0.1", *, answer=None):
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(
        lambda: Endpoint(answer), local_addr=(host, 0)
    )
    try:
        yield protocol
    finally:
        transport.close()


@contextlib.asynccontextmanager
async def network(settings=None, *, seed=1, host="127.0.0.1", answer=b"re:"):
    async with (
        endpoint(host, answer=answer) as server,
        Link(server.address, settings, seed=seed) as link,
        endpoint() as client,
    ):
        yield server, link, client


def test_datagrams_go_there_and_back():
    async def main():
        async with network() as (_, link, client):
            for n in range(10):
                client.transport.sendto(b"%d" % n, link.address)
            assert await client.until(10) == [b"re:%d" % n for n in range(10)]
            stats = link.stats()
            assert (stats.up.in_packets, stats.up.out_packets) == (10, 10)
            assert (stats.down.in_bytes, stats.down.out_bytes) == (40, 40)
            assert (stats.flows, stats.held, stats.rebinds) == (1, 0, 0)

    aio.run(main(), sockets=True)


def test_delay_is_added_to_each_direction():
    async def main():
        settings = Settings(Impairment(delay_ms=30), Impairment(delay_ms=50))
        async with network(settings) as (server, link, client):
            started = asyncio.get_running_loop().time()
            client.transport.sendto(b"x", link.address)
            await client.until(1)
            assert 0.030 <= server.got[0][0] - started < 0.5
            assert 0.080 <= client.got[0][0] - started < 1.0

    aio.run(main(), sockets=True)


def test_losses_over_sockets_are_those_of_the_seed():
    impairment = Impairment(loss=30)
    lane = Lane(Direction.UP, impairment, Outages(), 5)
    expected = [b"%d" % n for n in range(100) if lane.admit(0.0, 2)]

    async def main():
        settings = Settings(up=impairment)
        async with network(settings, seed=5, answer=None) as (server, link, client):
            for n in range(100):
                client.transport.sendto(b"%d" % n, link.address)
            assert await server.until(len(expected)) == expected
            stats = link.stats()
            assert stats.up.dropped == {Cause.LOSS: 100 - len(expected)}
            assert stats.up.in_packets == 100

    aio.run(main(), sockets=True)


def test_reordering_lets_later_datagrams_overtake():
    async def main():
        settings = Settings(up=Impairment(reorder=30, reorder_ms=10))
        async with network(settings, answer=None) as (server, link, client):
            for n in range(40):
                client.transport.sendto(b"%02d" % n, link.address)
            got = await server.until(40)
            assert sorted(got) == [b"%02d" % n for n in range(40)]
            assert any(a > b for a, b in pairwise(got))

    asyncio.run(main())


def test_outage_silences_both_directions_and_ends():
    async def main():
        async with network(Settings.both(Impairment())) as (_server, link, client):
            link.outage(0.05)
            client.transport.sendto(b"lost", link.address)
            await asyncio.sleep(0.06)
            client.transport.sendto(b"kept", link.address)
            assert await client.until(1) == [b"re:kept"]
            assert link.stats().up.dropped == {Cause.OUTAGE: 1}

    aio.run(main(), sockets=True)


def test_planned_outage_and_rebinding_happen_after_the_start():
    async def main():
        settings = Settings(outages=(Outage(0.0, 0.03),), rebinds=(Rebind(0.04),))
        async with network(settings) as (_, link, client):
            client.transport.sendto(b"lost", link.address)
            await until(lambda: link.stats().rebinds)
            client.transport.sendto(b"kept", link.address)
            assert await client.until(1) == [b"re:kept"]

    aio.run(main(), sockets=True)


def test_rebinding_changes_the_port_and_closes_the_old_one_to_the_server():
    async def main():
        async with network() as (server, link, client):
            client.transport.sendto(b"1", link.address)
            await client.until(1)
            link.rebind()
            server.transport.sendto(b"to the old port", server.got[0][2])
            client.transport.sendto(b"2", link.address)
            assert await client.until(2) == [b"re:1", b"re:2"]
            first, second = (source for _, _, source in server.got)
            assert first[0] == second[0]
            assert first[1] != second[1]

    aio.run(main(), sockets=True)


def test_datagram_that_passed_the_nat_before_the_rebinding_keeps_its_port():
    async def main():
        settings = Settings(up=Impairment(delay_ms=20))
        async with network(settings, answer=None) as (server, link, client):
            client.transport.sendto(b"1", link.address)
            await until(lambda: link.stats().held)
            for _ in range(3):
                link.rebind()
            client.transport.sendto(b"2", link.address)
            await server.until(2)
            first, second = (source for _, _, source in server.got)
            assert first != second

    aio.run(main(), sockets=True)


def test_address_change_moves_the_client_to_another_host_of_the_seed():
    async def sources(seed):
        async with network(seed=seed) as (server, link, client):
            for n in range(3):
                client.transport.sendto(b"x", link.address)
                await client.until(n + 1)
                link.rebind(address=True)
            assert link.stats().rebinds == 3
            return [host for _, _, (host, _) in server.got]

    first, again, other = (asyncio.run(sources(seed)) for seed in (1, 1, 2))
    assert first == again
    assert first != other
    assert len(set(first)) == 3
    assert all(host.startswith("127.") for host in first)


def test_many_rebindings_leave_no_sockets_behind():
    async def main():
        async with network() as (_server, link, client):
            client.transport.sendto(b"x", link.address)
            await client.until(1)
            for _ in range(50):
                link.rebind()
            (flow,) = link._flows.values()
            assert len(flow.old) == 8
            client.transport.sendto(b"y", link.address)
            await client.until(2)

    aio.run(main(), sockets=True)


def test_clients_are_kept_apart_and_the_most_silent_makes_room():
    async def main():
        async with network() as (server, link, client):
            client.transport.sendto(b"first", link.address)
            await client.until(1)
            with contextlib.ExitStack() as crowd:
                for n in range(MAX_FLOWS):
                    one = crowd.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
                    one.sendto(b"%d" % n, link.address)
                await server.until(1 + MAX_FLOWS)
            assert link.stats().flows == MAX_FLOWS
            # The first client's port may be given again: its flow made room.
            assert len({source for _, _, source in server.got[1:]}) == MAX_FLOWS
            client.transport.sendto(b"again", link.address)
            assert await client.until(2) == [b"re:first", b"re:again"]

    aio.run(main(), sockets=True)


def test_what_is_on_the_way_is_bounded(monkeypatch):
    monkeypatch.setattr("moqvox_client.link.MAX_HELD", 3)

    async def main():
        settings = Settings(up=Impairment(delay_ms=20))
        async with network(settings, answer=None) as (server, link, client):
            for n in range(5):
                client.transport.sendto(b"%d" % n, link.address)
            assert await server.until(3) == [b"0", b"1", b"2"]
            assert link.stats().up.dropped == {Cause.HELD: 2}

    aio.run(main(), sockets=True)


def test_settings_can_change_while_it_runs():
    async def main():
        async with network() as (_server, link, client):
            link.change(up=Impairment(loss=100))
            client.transport.sendto(b"lost", link.address)
            await until(lambda: link.stats().up.in_packets)
            link.change(up=Impairment())
            client.transport.sendto(b"kept", link.address)
            assert await client.until(1) == [b"re:kept"]

    aio.run(main(), sockets=True)


def test_strangers_cannot_answer_for_the_server():
    async def main():
        async with network() as (server, link, client), endpoint() as stranger:
            client.transport.sendto(b"1", link.address)
            await client.until(1)
            stranger.transport.sendto(b"forged", server.got[0][2])
            client.transport.sendto(b"2", link.address)
            assert await client.until(2) == [b"re:1", b"re:2"]

    aio.run(main(), sockets=True)


def test_ipv6_server_behind_an_ipv4_link():
    async def main():
        try:
            probe = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
            probe.bind(("::1", 0))
            probe.close()
        except OSError:
            pytest.skip("no IPv6 here")
        async with network(host="::1") as (server, link, client):
            client.transport.sendto(b"six", link.address)
            assert await client.until(1) == [b"re:six"]
            link.rebind(address=True)  # only the port can change on ::1
            client.transport.sendto(b"six", link.address)
            await client.until(2)
            assert {source[0] for _, _, source in server.got} == {"::1"}

    aio.run(main(), sockets=True)


def test_leaving_closes_every_socket_and_timer():
    async def main():
        settings = Settings(up=Impairment(delay_ms=5000), rebinds=(Rebind(100.0),))
        async with network(settings) as (_, link, client):
            client.transport.sendto(b"x", link.address)
            await until(lambda: link.stats().held)
        assert link._front.fileno() == -1
        assert not link._flows
        assert not link._held

    aio.run(main(), sockets=True)


def test_unknown_target_is_an_error_at_entry():
    async def main():
        async with Link(("host.invalid", 1)):
            raise AssertionError("entered")

    with pytest.raises(OSError, match=r"[Nn]ame"):
        aio.run(main(), sockets=True)
