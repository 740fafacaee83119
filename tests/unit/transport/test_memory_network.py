"""Dialling, refusing, killing and starting servers in memory."""

import asyncio

import pytest
from tests.aio import run
from tests.unit.transport.ends import Ear, write_all

from moqvox.errors import LocalError, SessionClosed
from moqvox.transport.interface import Closed
from moqvox.transport.memory import ConnectFailed, Direction, Limits, LinkSettings, Network

ALPNS = ["moq-lite-06", "moq-lite-04"]
SLOW = LinkSettings(delay_ms=30)


def now() -> float:
    return asyncio.get_running_loop().time()


def test_dialling_takes_a_round_trip_and_agrees_on_the_servers_choice():
    async def main():
        network = Network(link=SLOW)
        listener = network.listen("relay", ALPNS)
        assert listener.addresses == [("relay", 443)]
        client = await network.connect("relay", ALPNS[::-1], path="/a", client="ann")
        assert now() == pytest.approx(0.06)
        server = await listener.accept()
        assert client.protocol == server.protocol == "moq-lite-06"
        assert client.path == server.path == "/a"
        assert server.remote_address == "ann:40000"
        assert client.remote_address == "relay:443"

    run(main())


@pytest.mark.parametrize("seed", range(8))
def test_dialling_and_first_bytes_survive_a_bad_link(seed):
    async def main():
        bad = LinkSettings(loss=40, delay_ms=30, reorder=30, duplicate=30)
        network = Network(seed, link=bad)
        listener = network.listen("relay", ALPNS)

        async def serve():
            server = await listener.accept()
            write_all(server, b"hello")
            ears.append(Ear(server))

        ears: list[Ear] = []
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(serve())
            client = await network.connect("relay", ALPNS, timeout=60)
            ear = Ear(client)
            tasks.create_task(ear.listen())
            await ear.until(lambda ear: ear.opened and ear.ended(ear.opened[0]))
            assert ear.data(ear.opened[0]) == b"hello"
            assert len(listener._connections) == 1
            client.close()

    run(main())


def test_dialling_nobody_or_in_the_wrong_tongue_is_refused_in_words():
    async def main():
        network = Network(link=SLOW)
        with pytest.raises(ConnectFailed, match="nobody listens on 'relay'"):
            await network.connect("relay", ALPNS)
        network.listen("relay", ["moq-lite-03"])
        with pytest.raises(ConnectFailed, match="none of the protocols"):
            await network.connect("relay", ALPNS)
        assert now() == pytest.approx(0.12)
        with pytest.raises(LocalError, match="listens on 'relay' already"):
            network.listen("relay", ALPNS)
        with pytest.raises(LocalError, match="no protocol"):
            network.listen("other", [])
        with pytest.raises(LocalError, match="nobody listens"):
            network.restart("other")

    run(main())


def test_dialling_through_an_outage_goes_on_until_it_ends_or_the_time_is_up():
    async def main():
        network = Network(link=SLOW)
        network.listen("relay", ALPNS)
        route = network.route("client", "relay")
        route.begin_outage()
        with pytest.raises(ConnectFailed, match="no answer from 'relay' within 2 s"):
            await network.connect("relay", ALPNS, timeout=2)
        route.outage(2)
        await network.connect("relay", ALPNS)
        assert 4 < now() < 6
        await network.connect("relay", ALPNS, client="other")

    run(main())


def test_an_answer_that_nobody_waited_for_leaves_no_connection_behind():
    async def main():
        network = Network(link=SLOW, limits=Limits(idle_timeout=5))
        listener = network.listen("relay", ALPNS)
        network.route("client", "relay").begin_outage(Direction.DOWN)
        with pytest.raises(ConnectFailed):
            await network.connect("relay", ALPNS, timeout=1)
        orphan = await listener.accept()
        await orphan.wait_closed()
        assert now() == pytest.approx(1 + 5)

    run(main())


def test_a_dial_cancelled_as_the_answer_comes_closes_the_connection():
    async def main():
        network = Network(link=SLOW)
        listener = network.listen("relay", ALPNS)
        async with asyncio.TaskGroup() as tasks:
            dialling = tasks.create_task(network.connect("relay", ALPNS))
            asyncio.get_running_loop().call_at(0.06 + 1e-10, dialling.cancel)
        assert dialling.cancelled()
        server = await listener.accept()
        assert await server.events() == [Closed(0, "", remote=True)]
        assert now() < 0.2

    run(main())


def test_more_connections_than_may_wait_are_refused():
    async def main():
        network = Network(limits=Limits(max_unaccepted=2))
        listener = network.listen("relay", ALPNS)
        for _ in range(2):
            await network.connect("relay", ALPNS)
        with pytest.raises(ConnectFailed, match="busy"):
            await network.connect("relay", ALPNS)
        await listener.accept()
        await network.connect("relay", ALPNS)

    run(main())


def test_closing_a_listener_closes_its_connections_and_frees_the_name():
    async def main():
        network = Network(link=SLOW)
        listener = network.listen("relay", ALPNS)
        client = await network.connect("relay", ALPNS)
        await listener.accept()

        async def accept_one_more():
            with pytest.raises(SessionClosed, match="drained"):
                await listener.accept()

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(accept_one_more())
            await asyncio.sleep(0)
            await listener.close(4, "drained")
        await accept_one_more()
        assert await client.events() == [Closed(4, "drained", remote=True)]
        network.listen("relay", ALPNS)

    run(main())


@pytest.mark.parametrize("reset", [True, False])
def test_clients_of_a_restarted_server_learn_of_it_at_once_or_by_silence(reset):
    async def main():
        network = Network(link=SLOW)
        listener = network.listen("relay", ALPNS)
        client = await network.connect("relay", ALPNS)
        server = await listener.accept()
        write_all(client, b"into the void")
        network.restart("relay", reset=reset)
        killed_at = now()
        assert await server.events() == [Closed(0, "the server was killed", lost=True)]
        reason = "stateless reset" if reset else "idle time-out"
        assert await client.events() == [Closed(0, reason, lost=True)]
        assert now() - killed_at == pytest.approx(0.03 if reset else 30)
        again = await network.connect("relay", ALPNS)
        assert await listener.accept() is not server
        assert not again.is_over

    run(main())


def test_a_restarted_server_accepts_none_of_its_former_callers():
    async def main():
        network = Network()
        listener = network.listen("relay", ALPNS)
        await network.connect("relay", ALPNS)
        network.restart("relay")
        await network.connect("relay", ALPNS)
        assert not (await listener.accept()).is_over

    run(main())


def test_a_reset_that_meets_an_outage_comes_after_it():
    async def main():
        network = Network(link=SLOW)
        network.listen("relay", ALPNS)
        client = await network.connect("relay", ALPNS)
        network.route("client", "relay").outage(1)
        network.restart("relay")
        assert await client.events() == [Closed(0, "stateless reset", lost=True)]
        assert 1 < now() < 2

    run(main())


def test_a_killed_server_refuses_until_it_is_started_again():
    async def main():
        network = Network(link=SLOW)
        listener = network.listen("relay", ALPNS)
        client = await network.connect("relay", ALPNS)
        network.kill("relay")
        assert isinstance((await client.events())[-1], Closed)
        with pytest.raises(SessionClosed):
            await listener.accept()
        with pytest.raises(ConnectFailed, match="nobody listens"):
            await network.connect("relay", ALPNS)
        network.listen("relay", ALPNS)
        await network.connect("relay", ALPNS)

    run(main())


def test_a_route_changes_the_links_of_today_and_of_tomorrow():
    async def main():
        network = Network()
        network.listen("relay", ALPNS)
        route = network.route("client", "relay")
        first = await network.connect("relay", ALPNS)
        route.change(LinkSettings(delay_ms=10), Direction.UP)
        route.change(LinkSettings(delay_ms=40), Direction.DOWN)
        second = await network.connect("relay", ALPNS)
        for connection in (first, second):
            assert connection.link.up.delay == pytest.approx(0.01)
            assert connection.link.down.delay == pytest.approx(0.04)
        assert route.links == [first.link, second.link]
        route.change_path()
        route.rebind()
        assert first.link.client_address == second.link.client_address == "client:40002"
        for connection in (first, second):
            connection.close()
        await asyncio.sleep(1)
        for server in network._listeners["relay"]._connections:
            assert server.is_over
        assert route.links == []

    run(main())


def test_links_of_one_network_have_fates_of_their_own():
    async def fates(seed):
        network = Network(seed)
        listener = network.listen("relay", ALPNS)
        ends = []
        for _ in range(3):
            client = await network.connect("relay", ALPNS)
            ends.append((client, await listener.accept()))
        network.route("client", "relay").change(LinkSettings(loss=50))
        found = []
        for client, server in ends:
            for number in range(30):
                client.send_datagram(bytes([number]))
            await asyncio.sleep(1)
            found.append(tuple(event.data for event in await server.events()))
        return found

    once = run(fates(1))
    assert len(set(once)) == 3
    assert once == run(fates(1)) != run(fates(2))
