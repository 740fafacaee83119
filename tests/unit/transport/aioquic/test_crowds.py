"""A listener's newcomers in memory: what is left of those who never come back, time jumps."""

import asyncio
import gc
import socket
import tracemalloc
from contextlib import asynccontextmanager

from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import HandshakeCompleted
from tests import aio
from tests.unit.transport.aioquic.wires import configuration

from moqvox.transport.aioquic import Limits, reception
from moqvox.transport.aioquic.admission import MAX_MAKING_WAY, Admission
from moqvox.transport.aioquic.endpoint import Endpoint
from moqvox.transport.aioquic.pauses import Pauses
from moqvox.transport.aioquic.private import Engine
from moqvox.transport.interface import StreamData
from moqvox.transport.quic.connection_ids import Issuer, RandomIds
from moqvox.transport.quic.keys import Keys

SERVER = ("192.0.2.2", 443)
WALL_CLOCK = 1_800_000_000.0


class Mute(Endpoint):
    """An endpoint whose packets are noted, by whom they are for."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.sent = {}

    def send(self, link, data, address):
        self.sent.setdefault(address, []).append(data)


class Hall:
    """A listener that is given its datagrams by hand."""

    def __init__(self, limits: Limits, *, alpn: str = "x") -> None:
        settings = configuration(is_client=False, limits=limits, connection_id_length=8)
        settings.alpn_protocols = ["x", "h3"]
        self.limits = limits
        self.alpn = alpn
        self.admission = Admission(
            settings,
            ["x"],
            limits,
            webtransport=True,
            issuer=Issuer(RandomIds(), Keys(bytes(32)), None),
            wall_clock=lambda: WALL_CLOCK + asyncio.get_running_loop().time(),
        )
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind(("127.0.0.1", 0))
        self.endpoint = Mute(sock, self.admission)
        self._guests = 0

    def guest(self, **options) -> "Guest":
        self._guests += 1
        return Guest(self, ("198.51.100.1", 1000 + self._guests), **options)

    @property
    def counted(self) -> tuple[int, int]:
        counters = self.admission.counters()
        return counters["half_open"], counters["half_open_aside"]

    @property
    def arrivals(self) -> int:
        return len(self.admission._arrivals)


class Guest:
    """A client."""

    def __init__(self, hall: Hall, address, ticket=None, early: bytes = b"") -> None:
        self.hall, self.address = hall, address
        settings: QuicConfiguration = configuration(
            is_client=True, limits=hall.limits, session_ticket=ticket
        )
        settings.alpn_protocols = [hall.alpn]
        self.tickets = []
        self.engine = Engine(settings, hall.limits, on_ticket=self.tickets.append)
        self.events = []
        self.engine.connect(SERVER, hall.endpoint.now())
        if early:
            stream = self.engine.open_stream(bidirectional=False, priority=0, early=True)
            self.engine.table.feed(stream, early, fin=True)

    async def say(self, pause: float = 0.01) -> None:
        endpoint = self.hall.endpoint
        for data, _ in self.engine.datagrams_to_send(endpoint.now()):
            link = endpoint._reception._find(data) or endpoint.welcome(data, self.address)
            if link is not None:
                link.receive(data, self.address, endpoint.now())
        await asyncio.sleep(pause)

    def hear(self) -> None:
        for data in self.hall.endpoint.sent.pop(self.address, []):
            self.engine.receive_datagram(data, SERVER, self.hall.endpoint.now())
        while (event := self.engine.next_event()) is not None:
            self.events.append(event)

    async def ask_again(self) -> None:
        """Let the probe time-out pass, and speak."""
        timer, now = self.engine.get_timer(), self.hall.endpoint.now
        await asyncio.sleep(max(0.0, timer - now()) + 0.01)
        self.engine.handle_timer(now())
        await self.say()

    async def complete(self) -> None:
        for _ in range(4):
            self.hear()
            await self.say()
        self.hear()
        assert any(isinstance(event, HandshakeCompleted) for event in self.events)


@asynccontextmanager
async def hall(limits: Limits, **options):
    made = Hall(limits, **options)
    try:
        yield made
    finally:
        made.admission.close(0, "")
        made.endpoint.close()


def test_who_never_comes_back_is_put_aside_and_then_forgotten_without_a_word():
    async def main():
        async with hall(Limits()) as it:
            for _ in range(5):
                await it.guest().say()
            assert it.counted == (5, 0)
            await asyncio.sleep(3.0)
            assert it.counted == (5, 5)
            it.endpoint.sent.clear()
            await asyncio.sleep(10.0)
            assert it.counted == (0, 0)
            assert len(it.endpoint) == 0
            assert it.endpoint.links == {}
            assert it.endpoint.sent == {}

    aio.run(main())


def test_of_a_crowd_only_the_latest_are_kept_whole_and_each_was_answered_before():
    async def main():
        async with hall(Limits(max_awake=3)) as it:
            guests = [it.guest() for _ in range(10)]
            for number, guest in enumerate(guests, 1):
                await guest.say()
                assert it.counted == (number, max(0, number - 3))
            for guest in guests:
                await guest.complete()
            await asyncio.sleep(0.1)
            assert it.counted == (0, 0)
            assert it.arrivals == len(guests)
            assert not it.admission._awake

    aio.run(main())


def test_a_crowd_that_answers_before_as_many_others_have_come_finds_all_of_it_awake():
    async def main():
        async with hall(Limits(max_awake=4)) as it:
            guests = [it.guest() for _ in range(20)]
            for number, guest in enumerate(guests):
                await guest.say()
                assert it.counted[1] == 0
                if number >= 3:
                    await guests[number - 3].complete()
            assert it.counted == (3, 0)

    aio.run(main())


def test_who_came_in_the_same_turn_is_put_aside_only_once_its_answer_has_left():
    async def main():
        async with hall(Limits(max_awake=3)) as it:
            guests = [it.guest() for _ in range(10)]
            for guest in guests:
                await guest.say(pause=0.0)
                assert it.counted[0] - it.counted[1] <= 4
            await asyncio.sleep(0.01)
            assert it.endpoint.sent.keys() == {guest.address for guest in guests}
            late = it.guest()
            await late.say()
            assert it.counted == (11, 8)
            for guest in (*guests, late):
                await guest.complete()

    aio.run(main())


def test_without_a_turn_between_them_none_is_put_aside_and_with_the_next_all_but_the_latest():
    async def main():
        async with hall(Limits(max_awake=2)) as it:
            guests = [it.guest() for _ in range(6)]
            for guest in guests:
                for data, _ in guest.engine.datagrams_to_send(it.endpoint.now()):
                    link = it.endpoint.welcome(data, guest.address)
                    link.receive(data, guest.address, it.endpoint.now())
            assert it.counted == (6, 0)
            await asyncio.sleep(0.01)
            assert it.endpoint.sent.keys() == {guest.address for guest in guests}
            await it.guest().say()
            assert it.counted == (7, 5)
            for guest in guests:
                await guest.complete()

    aio.run(main())


def never(_pauses, now):
    """Find no room between those who speak."""
    return now + 1e-3


def test_making_way_is_a_step_of_its_own_for_which_those_who_speak_have_to_pause(monkeypatch):
    async def main():
        async with hall(Limits(max_awake=3)) as it:
            with monkeypatch.context() as patched:
                patched.setattr(Pauses, "room_at", never)
                for _ in range(5):
                    await it.guest().say(pause=0.005)
                assert it.counted == (5, 0)
            await asyncio.sleep(0.01)
            assert it.counted == (5, 2)

    aio.run(main())


def test_where_nobody_pauses_no_more_than_a_few_wait_for_that(monkeypatch):
    monkeypatch.setattr(Pauses, "room_at", never)
    monkeypatch.setattr(reception, "PATIENCE_SECONDS", 1e9)

    async def main():
        async with hall(Limits(max_awake=3)) as it:
            for number in range(1, 40):
                await it.guest().say()
                whole = it.counted[0] - it.counted[1]
                assert whole == min(number, 3 + MAX_MAKING_WAY)
                assert len(it.admission._making_way) <= MAX_MAKING_WAY

    aio.run(main())


def test_who_has_something_to_say_instead_of_making_way_counts_as_the_latest(monkeypatch):
    monkeypatch.setattr(Pauses, "room_at", never)

    async def main():
        async with hall(Limits(max_awake=1)) as it:
            first = it.guest()
            await first.say()
            greeting = next(iter(it.admission._awake))
            await it.guest().say()
            assert greeting.makes_way
            greeting._link.touch()
            greeting.step_aside()
            assert not greeting.is_aside
            assert list(it.admission._awake) == [greeting]
            await first.complete()

    aio.run(main())


def test_who_answers_before_it_has_made_way_is_kept_whole(monkeypatch):
    monkeypatch.setattr(Pauses, "room_at", never)

    async def main():
        async with hall(Limits(max_awake=1)) as it:
            first = it.guest()
            await first.say()
            await it.guest().say()
            await first.complete()
            await asyncio.sleep(0.1)
            assert it.counted == (1, 0)
            assert not it.admission._making_way

    aio.run(main())


def test_in_a_crowd_a_guest_whose_answer_was_lost_gets_it_by_asking_again():
    async def main():
        async with hall(Limits(max_awake=1)) as it:
            guest = it.guest()
            await guest.say()
            lost = it.endpoint.sent.pop(guest.address)
            await it.guest().say()
            assert it.counted == (2, 1)
            await guest.ask_again()
            assert it.counted == (2, 1)  # awake again, and the other one made way
            again = it.endpoint.sent[guest.address]
            assert sum(map(len, again)) >= sum(map(len, lost)) / 2
            await guest.complete()

    aio.run(main())


def test_asking_again_keeps_no_more_of_a_crowd_awake():
    async def main():
        async with hall(Limits(max_awake=2)) as it:
            guests = [it.guest() for _ in range(8)]
            for guest in guests:
                await guest.say()
            for _ in range(2):
                for guest in guests:
                    guest.engine.handle_timer(guest.engine.get_timer())
                    await guest.say()
                    assert it.counted[0] - it.counted[1] <= 3
            assert len(it.admission._awake) == 2

    aio.run(main())


def test_who_is_not_proven_gets_no_more_than_three_times_its_bytes_in_a_crowd_either():
    async def main():
        async with hall(Limits(max_awake=0)) as it:
            guest, said = it.guest(), 0
            for _ in range(6):
                for data, _ in guest.engine.datagrams_to_send(it.endpoint.now()):
                    said += len(data)
                    link = it.endpoint._reception._find(data) or it.endpoint.welcome(
                        data, guest.address
                    )
                    link.receive(data, guest.address, it.endpoint.now())
                await asyncio.sleep(0.01)
                await it.guest().say()
                guest.engine.handle_timer(guest.engine.get_timer())
            assert 0 < sum(map(len, it.endpoint.sent[guest.address])) <= 3 * said

    aio.run(main())


def test_a_guest_who_answers_late_is_let_in_all_the_same():
    async def main():
        for alpn in ("x", "h3"):
            async with hall(Limits(), alpn=alpn) as it:
                guest = it.guest()
                await guest.say()
                await asyncio.sleep(5.0)
                assert it.counted == (1, 1)
                await guest.complete()
                assert it.counted[1] == 0
                assert it.arrivals == (1 if alpn == "x" else 0)

    aio.run(main())


def test_in_a_crowd_a_session_begins_when_the_handshake_is_complete():
    async def main():
        async with hall(Limits(max_early_sessions=2)) as it:
            guests = [it.guest() for _ in range(4)]
            for guest in guests:
                await guest.say()
            assert it.arrivals == 2
            await guests[3].complete()
            assert it.arrivals == 3
            for _ in range(2):
                await it.admission.accept()
            connection = await it.admission.accept()
            stream = connection.open_stream(bidirectional=False)
            connection.write(stream, b"welcome", fin=True)
            await asyncio.sleep(0.1)
            guests[3].hear()
            assert b"welcome" in [getattr(event, "data", b"") for event in guests[3].events]

    aio.run(main())


def test_in_a_crowd_settings_of_http_leave_when_the_handshake_is_complete():
    async def main():
        async with hall(Limits(max_early_sessions=0), alpn="h3") as it:
            guest = it.guest()
            await guest.say()
            guest.hear()
            assert not [event for event in guest.events if getattr(event, "data", b"")]
            await guest.complete()
            await asyncio.sleep(0.1)
            guest.hear()
            assert [event for event in guest.events if getattr(event, "data", b"")]

    aio.run(main())


def test_in_a_crowd_who_is_known_still_speaks_first():
    async def main():
        async with hall(Limits(max_early_sessions=0)) as it:
            first = it.guest()
            await first.say()
            await first.complete()
            await asyncio.sleep(0.1)
            first.hear()
            await it.admission.accept()
            second = it.guest(ticket=first.tickets[0], early=b"at once")
            await second.say()
            connection = await it.admission.accept()
            events = await connection.events()
            assert b"at once" in [e.data for e in events if isinstance(e, StreamData)]
            assert it.counted[0] == 1

    aio.run(main())


def test_closing_the_listener_ends_those_that_are_aside():
    async def main():
        async with hall(Limits()) as it:
            await it.guest().say()
            await asyncio.sleep(3.0)
            assert it.counted == (1, 1)
            it.endpoint.close_links(0, "")
            await asyncio.sleep(5.0)
            assert len(it.endpoint) == 0

    aio.run(main())


HALF_OPEN = 200
MOST_HALF_OPEN_BYTES = 10 * 1024


def test_half_open_connections_cost_ten_kib_each_at_most_once_they_have_paused():
    """All that the listener holds for them: its books, the greeting, the link and the record."""
    limits = Limits(
        retry_above_half_open=2 * HALF_OPEN,
        max_unproven_per_prefix=2 * HALF_OPEN,
        unproven_burst=2 * HALF_OPEN,
    )

    async def main():
        async with hall(limits) as it:
            endpoint = it.endpoint
            await it.guest().say()  # what is made once is made
            await asyncio.sleep(2 * limits.aside_after)
            guests = [it.guest() for _ in range(HALF_OPEN)]
            flights = [
                (guest.address, [data for data, _ in guest.engine.datagrams_to_send(0.0)])
                for guest in guests
            ]
            gc.collect()
            tracemalloc.start()
            try:
                before = tracemalloc.get_traced_memory()[0]
                for address, datagrams in flights:
                    for data in datagrams:
                        link = endpoint._reception._find(data) or endpoint.welcome(data, address)
                        link.receive(data, address, endpoint.now())
                    await asyncio.sleep(0.001)
                    assert endpoint.sent.pop(address)
                await asyncio.sleep(2 * limits.aside_after)
                del link
                assert it.counted == (HALF_OPEN + 1, HALF_OPEN + 1)
                endpoint.sent.clear()
                gc.collect()
                return (tracemalloc.get_traced_memory()[0] - before) / HALF_OPEN
            finally:
                tracemalloc.stop()

    each = aio.run(main())
    assert each <= MOST_HALF_OPEN_BYTES
