"""What has arrived is read before anybody takes the want of it for a loss."""

import asyncio
import socket

import pytest
from tests.aio import run
from tests.unit.transport.aioquic.links import link_up

from moqvox.transport.aioquic.endpoint import UNHEARD_PATIENCE, Endpoint
from moqvox.transport.aioquic.raw import RawConnection
from moqvox.transport.aioquic.waiting import wait

ID = b"12345678"
PEER = ("127.0.0.1", 9)
DUE = 0.005
BUSY_UNTIL = 0.02


class Listening:
    """A link that notes what becomes of it."""

    is_newcomer = False
    scheduled_at = put_off_since = asked = None

    def __init__(self) -> None:
        self.connection_ids = {}
        self.fates = []
        self.now = asyncio.get_running_loop().time

    def spoke_since(self, _when) -> bool:
        return True

    def receive(self, _data, _address, _now) -> bool:
        self.fates.append(("heard", self.now()))
        return True

    def on_timer(self, _now) -> None:
        self.fates.append(("timer", self.now()))


async def busy(*, until: float | None) -> list:
    """Let a link's timer be due while a datagram of its waits in the backlog."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.setblocking(False)
        endpoint = Endpoint(sock, None)
        link = Listening()
        endpoint.add(link, ID)
        reception = endpoint._reception
        reception._backlog.put(link, wait((b"\x40" + ID, PEER, None)))
        endpoint.schedule(link, DUE)
        if until is not None:
            loop.call_at(until, reception._work_soon)
        await asyncio.sleep(1.0)
        endpoint._reception.close(sock)
        return link.fates


def test_a_timer_that_is_due_waits_for_what_has_arrived():
    (first, heard_at), (second, timer_at) = run(busy(until=BUSY_UNTIL))
    assert (first, second) == ("heard", "timer")
    assert heard_at <= timer_at <= BUSY_UNTIL + 0.002


def test_it_does_not_wait_for_ever():
    ((what, when),) = run(busy(until=None))
    assert what == "timer"
    assert DUE + UNHEARD_PATIENCE <= when <= DUE + UNHEARD_PATIENCE + 0.002


def test_a_socket_that_was_not_emptied_may_hold_anybodys_datagrams():
    async def main():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(("127.0.0.1", 0))
            sock.setblocking(False)
            endpoint = Endpoint(sock, None)
            link = Listening()
            endpoint.add(link, ID)
            reception = endpoint._reception
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
                for _ in range(130):  # two more than are read at once
                    peer.sendto(b"", sock.getsockname())
                reception._readers[sock]()
                before = endpoint.has_unheard(link)
                reception._work()
            after = endpoint.has_unheard(link)
            reception.close(sock)
            return before, after

    assert run(main()) == (True, False)


@pytest.mark.parametrize(("knows", "copies"), [(True, False), (False, True)])
def test_acks_that_were_not_read_in_time_start_no_copies(knows, copies):
    async def main():
        (_, _), (server, desk) = await link_up(
            lambda link, is_client: RawConnection(link, protocol="x", is_client=is_client)
        )
        redundancy = desk.link.engine.redundancy
        stream = server.open_stream(bidirectional=False)

        async def speak(seconds: float) -> None:
            for _ in range(round(seconds / 0.02)):
                server.write(stream, b"x" * 80)
                await asyncio.sleep(0.02)

        await speak(1.0)
        assert not redundancy.is_active
        before = redundancy.copied_bytes
        desk.unheard = []
        if not knows:
            desk.has_unheard = lambda _link: False
        await speak(0.2)
        desk.hear()
        await speak(0.5)
        return redundancy.copied_bytes > before

    assert run(main()) == copies
