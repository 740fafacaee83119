"""Which of our addresses lead to a server, and news of them from the system."""

import asyncio
import socket
import sys
from types import SimpleNamespace

import pytest

from moqvox.transport.aioquic import dial, routes, watch
from moqvox.transport.aioquic.routes import Route, find_routes
from moqvox.transport.aioquic.watch import MAX_MESSAGES_PER_TURN, Watch

IPV4 = """\
Iface	Destination	Gateway 	Flags	RefCnt	Use	Metric	Mask		MTU	Window	IRTT
wlan0	00000000	0102A8C0	0003	0	0	600	00000000	0	0	0
eth0	00000000	0101A8C0	0003	0	0	100	00000000	0	0	0
down0	00000000	0101A8C0	0002	0	0	50	00000000	0	0	0
eth0	0001A8C0	00000000	0001	0	0	100	00FFFFFF	0	0	0
"""
ZERO = "0" * 32
IPV6 = f"""\
fe80{"0" * 28} 40 {ZERO} 00 {ZERO} 00000100 00000002 00000000 00000001     eth0
{ZERO} 00 {ZERO} 00 {ZERO} 00000400 00000003 00000000 00000003    wlan0
{ZERO} 00 {ZERO} 00 {ZERO} ffffffff 00000001 00000000 00200200       lo
"""
SERVER = ("203.0.113.5", 443)


def given(monkeypatch, tmp_path, sources: dict[str, str | None], table: str = IPV4) -> None:
    """Let the system know these source addresses by device, "" being its own choice."""
    file = tmp_path / "route"
    file.write_text(table)
    monkeypatch.setattr(routes, "IPV4_ROUTES", file)
    monkeypatch.setattr(routes, "IPV6_ROUTES", file)
    monkeypatch.setattr(routes, "_source", lambda _, __, device="": sources.get(device))


def test_the_systems_own_choice_comes_first_and_the_other_uplink_second(monkeypatch, tmp_path):
    given(monkeypatch, tmp_path, {"": "10.0.0.2", "wlan0": "10.0.0.2", "eth0": "192.168.1.2"})
    found = find_routes(SERVER, socket.AF_INET)
    assert found == [Route("10.0.0.2", "wlan0"), Route("192.168.1.2", "eth0")]


def test_nothing_goes_round_a_tunnel(monkeypatch, tmp_path):
    given(monkeypatch, tmp_path, {"": "10.8.0.2", "wlan0": "10.0.0.2", "eth0": "192.168.1.2"})
    assert find_routes(SERVER, socket.AF_INET) == [Route("10.8.0.2")]


def test_an_uplink_without_a_way_there_is_left_out(monkeypatch, tmp_path):
    given(monkeypatch, tmp_path, {"": "192.168.1.2", "eth0": "192.168.1.2"})
    assert find_routes(SERVER, socket.AF_INET) == [Route("192.168.1.2", "eth0")]


def test_no_network_is_no_route(monkeypatch, tmp_path):
    given(monkeypatch, tmp_path, {})
    assert find_routes(SERVER, socket.AF_INET) == []


@pytest.mark.parametrize("table", ["", "head\nbroken\n", "head\neth0 x y z\n", "head\n\n"])
def test_a_table_that_cannot_be_read_names_no_uplink(monkeypatch, tmp_path, table):
    given(monkeypatch, tmp_path, {"": "192.168.1.2", "eth0": "192.168.1.2"}, table)
    assert find_routes(SERVER, socket.AF_INET) == [Route("192.168.1.2")]
    assert routes._default_devices(socket.AF_INET6) == []


def test_ipv6_routes_are_read(monkeypatch, tmp_path):
    given(monkeypatch, tmp_path, {}, IPV6)
    assert routes._default_devices(socket.AF_INET6) == ["wlan0"]


def test_loopback_is_led_to_by_loopback():
    assert find_routes(("127.0.0.1", 443), socket.AF_INET)[0].host == "127.0.0.1"


@pytest.mark.parametrize(
    ("server", "local", "roams", "followed"),
    [
        (SERVER, None, True, True),
        (SERVER, None, False, False),
        (("203.0.113.7", 443), None, True, False),
        (SERVER, ("10.0.0.2", 0), True, False),
        (("127.0.0.1", 443), None, True, False),
        (("::1", 443, 0, 0), None, True, False),
        (("fe80::1%eth0", 443, 0, 2), None, True, False),
    ],
)
def test_routes_are_followed_unless_they_cannot_change(
    monkeypatch, tmp_path, server, local, roams, followed
):
    given(monkeypatch, tmp_path, {"": "192.168.1.2", "eth0": "192.168.1.2"})
    monkeypatch.setattr(dial, "is_ours", lambda host, _: host == "203.0.113.7")
    order = SimpleNamespace(local=local, roams=roams)
    target = SimpleNamespace(address=server, family=socket.AF_INET)
    route = Route("192.168.1.2", "eth0") if followed else None
    assert dial._route_to(order, target) == route


class Pipe:
    """What a netlink socket is to a watch: here the test writes the messages."""

    def __init__(self, monkeypatch) -> None:
        self.writer, self.reader = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.reader.setblocking(False)
        monkeypatch.setattr(watch, "_subscribe", lambda: self.reader)


def test_news_that_come_together_are_told_once(monkeypatch):
    pipe = Pipe(monkeypatch)

    async def main() -> None:
        told = asyncio.Queue()
        watching = Watch(lambda: told.put_nowait(None))
        for _ in range(MAX_MESSAGES_PER_TURN // 4):
            pipe.writer.send(b"news")
        async with asyncio.timeout(5):
            await told.get()
        assert told.empty()
        pipe.writer.send(b"more")
        async with asyncio.timeout(5):
            await told.get()
        watching.close()
        watching.close()
        assert not watching.is_open

    asyncio.run(main())
    pipe.writer.close()


def test_a_watch_that_is_closed_tells_nothing(monkeypatch):
    pipe = Pipe(monkeypatch)

    async def main() -> None:
        told = []
        watching = Watch(lambda: told.append(None))
        pipe.writer.send(b"news")
        watching._on_readable(pipe.reader)
        watching.close()
        await asyncio.sleep(2 * watch.SETTLING)
        assert told == []

    asyncio.run(main())
    pipe.writer.close()


def test_a_system_without_news_has_a_watch_that_is_not_open(monkeypatch):
    monkeypatch.setattr(watch, "_subscribe", lambda: None)

    async def main() -> None:
        assert not Watch(lambda: None).is_open

    asyncio.run(main())


@pytest.mark.skipif(sys.platform != "linux", reason="rtnetlink is Linux's")
def test_linux_has_news_to_give():
    async def main() -> None:
        watching = Watch(lambda: None)
        assert watching.is_open
        watching.close()

    asyncio.run(main())
