"""What a connection costs that says nothing: who pings when, and what a ping calls for."""

import asyncio
import itertools
import math

from tests.aio import run
from tests.unit.transport.aioquic.links import Desk, link_up
from tests.unit.transport.aioquic.wires import Wire

from moqvox.transport.aioquic import Limits
from moqvox.transport.aioquic.keep_alive import KeepAlive
from moqvox.transport.aioquic.raw import RawConnection
from moqvox.transport.interface import StreamData

IDLE = 30.0


def observed(link, is_client):
    return RawConnection(link, protocol="x", is_client=is_client)


class Watched:
    """Counts what a link does."""

    def __init__(self, desk: Desk) -> None:
        self.pings: list[float] = []
        self.sent: list[float] = []
        self.timers: list[float] = []
        self._note(desk.link.engine, "send_ping", self.pings, desk)
        self._note(desk, "send", self.sent, desk)
        self._note(desk.link, "on_timer", self.timers, desk)

    def _note(self, owner, name, times, desk):
        call = getattr(owner, name)

        def noted(*args):
            times.append(desk.now())
            return call(*args)

        setattr(owner, name, noted)


async def silent_for(seconds, *, mute=False, **options):
    """Let two links say nothing; returns what both did, from now on, and since when."""
    (_, client), (_, server) = await link_up(observed, **options)
    await asyncio.sleep(5.0)
    if mute:
        client.link._keep_alive.look_at = math.inf
    watched = Watched(client), Watched(server)
    began = client.now()
    await asyncio.sleep(seconds)
    assert not client.link.is_closing
    assert not server.link.is_closing
    return *watched, began


def test_who_dialled_pings_and_the_server_need_not():
    client, server, began = run(silent_for(5 * IDLE))
    assert 14 <= len(client.pings) <= 15
    assert client.pings[0] - began <= IDLE / 3
    assert server.pings == []


def test_a_server_pings_a_client_that_does_not():
    client, server, began = run(silent_for(5 * IDLE, mute=True))
    assert client.pings == []
    assert 9 <= len(server.pings) <= 10
    assert server.pings[0] - began <= IDLE / 2


def test_an_interval_that_was_asked_for_is_both_sides():
    client, server, _ = run(silent_for(50.0, limits=Limits(keep_alive=2.0)))
    pings = sorted(client.pings + server.pings)
    assert len(pings) >= 20
    assert all(after - before < 2.2 for before, after in itertools.pairwise(pings))
    for own in (client.pings, server.pings):
        assert all(after - before >= 2.0 for before, after in itertools.pairwise(own))


def test_a_ping_is_answered_at_once_and_with_one_packet():
    client, server, _ = run(silent_for(5 * IDLE))
    # A NewConnectionId or the like may come on top, but nothing of what is sent is sent twice.
    assert len(client.sent) == len(client.pings)
    assert len(server.sent) == len(client.pings)
    for asked, answered in zip(client.sent, server.sent, strict=True):
        assert abs(answered - asked - 0.025) < 1e-4


def test_a_ping_costs_who_answers_it_no_more_than_one_timer():
    client, server, _ = run(silent_for(5 * IDLE))
    assert len(server.timers) <= len(client.pings) + 1


def test_a_look_that_finds_nothing_to_do_sends_nothing():
    async def main():
        (_, client), _ = await link_up(observed)
        await asyncio.sleep(5.0)
        link = client.link
        asked = []
        link.engine.datagrams_to_send = lambda now: asked.append(now) or []
        link._keep_alive.heard_at = link.now()
        link._keep_alive.look_at = link.now()
        link.scheduled_at = None
        link.on_timer(link.now())
        await asyncio.sleep(0.5)
        return asked, link.scheduled_at - link.now()

    asked, later = run(main())
    assert asked == []
    assert 9.0 < later < IDLE / 3


def test_nothing_is_watched_once_everything_has_arrived():
    wire = Wire().handshake()
    stream = wire.server.open_stream(bidirectional=False, priority=0)
    wire.server.table.feed(stream, b"first words", fin=False)
    wire.run(0.001)
    assert wire.server.redundancy.is_active
    assert wire.server.redundancy.due_at is not None
    wire.run(1.0)
    # Its first bytes are not used up, so it stays active; but no timer of its own is left.
    assert wire.server.redundancy.is_active
    assert wire.server.redundancy.due_at is None
    assert wire.server.get_timer() > wire.now + 20


def test_a_timer_that_only_an_ack_waits_for_leaves_the_usual_case_usual():
    wire = Wire().handshake()
    stream = wire.client.open_stream(bidirectional=False, priority=0)
    wire.client.table.feed(stream, b"word", fin=False)
    wire.run(wire.delay + 0.0002)
    server = wire.server
    assert server.owes_ack
    due = server.get_timer()
    server.handle_timer(due)
    assert server.is_usual
    assert len(server.datagrams_to_send(due)) == 1
    assert not server.owes_ack


def test_a_timer_of_a_loss_is_upstreams():
    wire = Wire().handshake()
    stream = wire.server.open_stream(bidirectional=False, priority=0)
    wire.server.table.feed(stream, b"word", fin=False)
    wire.lose = lambda: True
    wire.run(0.001)
    server = wire.server
    server.redundancy._share = 0.0
    server.redundancy._rest()
    due = server.get_timer()
    sent = server.next_packet_number
    server.handle_timer(due + 1e-6)
    server.datagrams_to_send(due + 1e-6)
    assert server.next_packet_number > sent


def test_a_look_before_the_handshake_is_over_comes_again_soon():
    wire = Wire()
    keep_alive = KeepAlive(None, 0.0)
    assert not keep_alive.check(wire.client, 0.0)
    assert 0.0 < keep_alive.look_at < 1.0


class ForgetfulNat:
    """Gives a client another port when nothing of it came for some seconds; nobody else gets in."""

    def __init__(self, client: Desk, server: Desk, forgets: float) -> None:
        self.ports = 1
        self.kept_out: list[float] = []
        self._client, self._forgets = client, forgets
        self._used_at = client.now()
        self._up, self._down = client.send, server.send
        client.send, server.send = self._out, self._in

    @property
    def _is_forgotten(self) -> bool:
        return self._client.now() - self._used_at > self._forgets

    def _out(self, link, data, address):
        if self._is_forgotten:
            host, port = self._client.address
            self._client.address = (host, port + 1)
            self.ports += 1
        self._used_at = self._client.now()
        self._up(link, data, address)

    def _in(self, link, data, address):
        if self._is_forgotten or address[:2] != self._client.address:
            self.kept_out.append(self._client.now())
        else:
            self._down(link, data, address)


async def told_after(silence, forgets):
    """Say a word to a client that only listens; how late it heard it, and what its NAT did."""
    (listener, client), (speaker, server) = await link_up(observed)
    nat = ForgetfulNat(client, server, forgets)
    await asyncio.sleep(silence)
    said_at = client.now()
    speaker.write(speaker.open_stream(bidirectional=False), b"word", fin=True)
    async with asyncio.timeout(IDLE):
        while not any(isinstance(event, StreamData) for event in await listener.events()):
            pass
    return client.now() - said_at, nat


def test_a_listener_behind_a_nat_of_the_usual_kind_hears_the_first_word_at_once():
    for silence in (29.0, 60.0, 125.0):
        late, nat = run(told_after(silence, forgets=25.0))
        assert late < 0.05
        assert (nat.ports, nat.kept_out) == (1, [])


def test_a_listener_whose_nat_forgets_too_soon_hears_the_first_word_with_its_next_ping():
    late, nat = run(told_after(IDLE / 3 * 4.7, forgets=5.0))
    assert nat.kept_out
    assert nat.ports > 1
    assert 0.05 < late < IDLE / 3 + 0.1
