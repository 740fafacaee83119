"""A client's patience with silence, its sockets, and its choice of paths. No packet is sent."""

import asyncio
import contextlib
import errno
import math
import socket
from collections import deque
from collections.abc import Iterator

import pytest

from moqvox.errors import LocalError
from moqvox.transport.address import Address
from moqvox.transport.aioquic import Limits, watch
from moqvox.transport.aioquic.patience import MAX_DOUBLINGS
from moqvox.transport.aioquic.roaming import (
    LOOK_EVERY,
    MAX_PROBES,
    RETURN_AFTER,
    Roaming,
)
from moqvox.transport.aioquic.routes import Route
from moqvox.transport.aioquic.ways import Ways, by_way

SERVER = ("127.0.0.1", 4443)
HERE, THERE = Route("127.0.0.2"), Route("127.0.0.3")


class Recovery:
    handshake_confirmed = True
    rtt = 0.03

    def get_probe_timeout(self) -> float:
        return 0.1


class Engine:
    """Notes what it is asked to probe."""

    def __init__(self) -> None:
        self.recovery = Recovery()
        self.answered: deque[tuple[Address, float]] = deque()
        self.probed: list[Address] = []
        self.forgotten: list[Address] = []
        self.may_probe = True
        self.must_stay = False

    def probe(self, address: Address) -> bool:
        self.probed.append(address)
        return self.may_probe

    def forget_path(self, address: Address) -> None:
        self.forgotten.append(address)


class Link:
    """Notes its moves; its clock stands still until it is set."""

    def __init__(self) -> None:
        self.engine = Engine()
        self.limits = Limits(socket_buffer_bytes=4096)
        self.time = 0.0
        self.peer: Address = SERVER
        self.local: Address = ("127.0.0.2", 1)
        self.moves: list[tuple[float | None, str]] = []

    def now(self) -> float:
        return self.time

    def wake(self, when: float) -> None:
        """Nothing waits here."""

    def touch(self) -> None:
        """Nothing is sent here."""

    def moved(self, address: Address, rtt: float | None, cause: str) -> None:
        self.peer = address
        self.moves.append((rtt, cause))


class Scene:
    def __init__(self, roaming: Roaming, link: Link, ways: Ways, routes: list[Route]) -> None:
        self.roaming = roaming
        self.link = link
        self.ways = ways
        self.routes = routes
        """What the system says; to be changed."""

    def at(self, now: float) -> None:
        self.link.time = now
        self.roaming.check(now)

    def answer(self, rtt: float, number: int = -1) -> None:
        self.link.engine.answered.append((self.link.engine.probed[number], rtt))
        self.roaming.on_answers(self.link.time)


@contextlib.contextmanager
def scene(*routes: Route) -> Iterator[Scene]:
    """Roam along the routes given; without any, they are not followed."""
    loop = asyncio.new_event_loop()

    async def make() -> Scene:
        link, known = Link(), list(routes)
        first = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        ways = Ways(first, lambda *_: None, lambda _: None)
        roaming = Roaming(
            link,
            SERVER,
            socket.AF_INET,
            ways,
            route=routes[0] if routes else None,
            look=lambda *_: list(known),
        )
        return Scene(roaming, link, ways, known)

    made = loop.run_until_complete(make())
    try:
        yield made
    finally:
        made.roaming.close()
        made.ways.close_all()
        loop.close()


def test_a_path_is_dead_only_when_something_was_asked_and_nothing_answered():
    with scene() as s:
        assert s.roaming.due_at == math.inf
        s.roaming.on_asked(10.0)
        s.roaming.on_asked(10.4)
        assert s.roaming.dead_at == 10.5
        s.at(10.4)
        assert s.link.moves == []
        s.roaming.on_heard(SERVER)
        assert s.roaming.dead_at == math.inf


def test_what_still_comes_by_the_old_path_is_no_sign_of_life():
    with scene() as s:
        s.roaming.on_asked(0.0)
        s.at(0.5)
        assert s.link.moves == [(None, "the path was dead")]
        s.roaming.on_heard(SERVER)
        assert s.roaming.dead_at == 1.5
        s.roaming.on_heard(by_way(SERVER, 1))
        assert s.roaming.dead_at == math.inf


def test_each_dead_path_doubles_the_patience_up_to_a_bound():
    with scene() as s:
        s.roaming.on_asked(0.0)
        waits, now = [], 0.0
        for _ in range(MAX_DOUBLINGS + 2):
            waits.append(s.roaming.dead_at - now)
            now = s.roaming.dead_at
            s.at(now)
        assert waits == [0.5, 1.0, 2.0, 2.0]
        assert len(s.link.moves) == len(waits)


def test_a_move_asked_for_waits_for_the_answer_while_the_old_path_lives():
    with scene() as s:
        s.roaming.migrate(None)
        assert s.link.moves == []
        assert s.link.engine.probed == [by_way(SERVER, 1)]
        s.answer(0.02)
        assert s.link.moves == [(0.02, "asked for")]


def test_a_move_asked_for_is_made_at_once_when_the_old_path_is_silent():
    with scene() as s:
        s.roaming.on_asked(0.0)
        s.link.time = 0.2
        s.roaming.migrate(None)
        assert s.link.moves == [(None, "asked for")]


def test_a_path_that_falls_silent_while_another_is_probed_is_left_without_an_answer():
    with scene() as s:
        s.roaming.migrate(None)
        s.roaming.on_asked(0.0)
        s.at(s.roaming.due_at)
        assert s.link.moves == [(None, "asked for")]


def test_a_path_that_does_not_answer_is_given_up():
    with scene() as s:
        s.roaming.migrate(None)
        while s.roaming.due_at < math.inf:
            s.at(s.roaming.due_at)
        assert 1.0 < s.link.time < 5.0
        assert len(s.link.engine.probed) == s.roaming.probes == MAX_PROBES
        assert s.link.engine.forgotten == [by_way(SERVER, 1)]
        assert (len(s.ways), s.link.moves) == (1, [])


def test_the_old_socket_is_read_for_three_probe_timeouts_at_least():
    with scene() as s:
        s.roaming.migrate(None)
        s.answer(0.02)
        assert s.roaming.due_at == pytest.approx(0.3)
        s.at(0.29)
        assert len(s.ways) == 2
        s.at(0.31)
        assert len(s.ways) == 1
        assert s.link.engine.forgotten == [SERVER]
        s.link.engine.recovery.get_probe_timeout = lambda: 0.4
        s.roaming.migrate(None)
        s.answer(0.02)
        assert s.roaming.due_at == pytest.approx(0.31 + 1.2)


def test_a_wish_to_move_waits_for_the_handshake():
    with scene() as s:
        s.link.engine.recovery.handshake_confirmed = False
        s.roaming.migrate(None)
        s.at(1.0)
        assert s.link.engine.probed == []
        s.link.engine.recovery.handshake_confirmed = True
        s.at(1.1)
        s.at(1.2)
        assert len(s.link.engine.probed) == 1


def test_a_client_that_must_stay_neither_obeys_nor_looks_nor_leaves_a_dead_path():
    with scene(HERE, THERE) as s:
        s.link.engine.must_stay = True
        with pytest.raises(LocalError, match="forbids"):
            s.roaming.migrate(None)
        s.roaming.on_asked(0.0)
        assert s.roaming.dead_at == s.roaming.due_at == math.inf
        s.routes[:] = [THERE]
        s.at(60.0)
        assert s.link.moves == []
        assert s.link.engine.probed == []


def test_a_wish_of_before_the_handshake_is_dropped_when_the_server_forbids_it():
    with scene() as s:
        s.link.engine.recovery = Recovery()
        s.link.engine.recovery.handshake_confirmed = False
        s.roaming.migrate(None)
        s.link.engine.recovery.handshake_confirmed = True
        s.link.engine.must_stay = True
        s.at(0.1)
        s.link.engine.must_stay = False
        s.at(0.2)
        assert s.link.engine.probed == []


def test_an_address_that_cannot_be_bound_is_told_and_changes_nothing():
    with scene() as s:
        with pytest.raises(LocalError, match=r"cannot send from 192\.0\.2\.1"):
            s.roaming.migrate(("192.0.2.1", 0))
        with pytest.raises(LocalError, match="the other family"):
            s.roaming.migrate(("::1", 0))
        assert (len(s.ways), s.link.moves) == (1, [])


def test_wishes_that_come_faster_than_answers_do_not_pile_up():
    with scene() as s:
        for _ in range(50):
            s.roaming.migrate(None)
        assert len(s.ways) <= 5
        s.answer(0.02)
        assert len(s.link.moves) == 1
        assert len(s.ways) == 2


def test_where_the_system_leads_now_is_probed_and_taken():
    with scene(HERE) as s:
        s.at(0.0)
        assert s.link.engine.probed == []
        s.routes[:] = [THERE]
        s.roaming._on_news()
        s.at(0.1)
        assert s.link.moves == []
        s.answer(0.08)
        assert s.link.moves == [(0.08, "the system's route changed")]


def test_an_address_that_is_gone_is_left_at_once():
    with scene(Route("192.0.2.1")) as s:
        s.at(0.0)
        s.routes[:] = [THERE]
        s.roaming.on_refused(OSError(errno.ENETUNREACH, "unreachable"))
        s.at(0.1)
        assert s.link.moves == [(None, "the system's route changed")]


def test_without_any_network_it_looks_again_and_again_but_not_all_the_time():
    with scene(HERE) as s:
        s.at(0.0)
        s.routes.clear()
        s.roaming._on_news()
        looks = 0
        while s.link.time < 10.0:
            s.at(s.roaming.due_at)
            looks += 1
        assert 9 <= looks <= 11
        assert s.link.moves == []


def test_where_the_system_has_no_news_to_give_it_looks_every_second(monkeypatch):
    monkeypatch.setattr(watch, "_subscribe", lambda: None)
    with scene(HERE) as s:
        s.at(0.0)
        assert s.roaming.due_at == LOOK_EVERY
        s.routes[:] = [THERE]
        s.at(s.roaming.due_at)
        assert s.link.engine.probed == [by_way(SERVER, 1)]


def test_another_uplink_is_taken_only_if_it_is_much_better():
    with scene(HERE, THERE) as s:
        s.at(0.0)
        s.answer(0.02)
        assert s.link.moves == []
        s.roaming._on_news()
        s.at(1.0)
        s.answer(0.01)
        assert s.link.moves == [(0.01, "a better path")]


def test_a_late_answer_makes_it_ask_on_the_other_uplink_and_go_there():
    with scene(HERE, THERE) as s:
        s.at(0.0)
        s.answer(0.08)
        s.roaming.on_asked(1.0)
        assert s.roaming.due_at == pytest.approx(1.085, abs=0.001)
        s.at(1.09)
        assert len(s.link.engine.probed) == 2
        assert s.link.moves == []
        s.link.time = 1.165
        s.answer(0.08)
        assert s.link.moves == [(0.08, "the path was silent")]


def test_a_silence_that_ended_is_no_reason_to_leave_for_a_worse_path():
    with scene(HERE, THERE) as s:
        s.at(0.0)
        s.answer(0.08)
        s.roaming.on_asked(1.0)
        s.at(s.roaming.due_at)
        s.roaming.on_heard(SERVER)
        s.answer(0.08)
        assert s.link.moves == []


def test_it_returns_to_the_way_that_the_system_prefers_when_that_answers_again():
    with scene(HERE, THERE) as s:
        s.at(0.0)
        s.answer(0.08)
        s.roaming.on_asked(0.5)
        s.at(s.roaming.due_at)
        s.link.time += 0.1
        s.answer(0.08)
        assert s.link.moves == [(0.08, "the path was silent")]
        s.link.engine.recovery.rtt = 0.08
        s.roaming.on_heard(s.link.peer)
        while s.link.time < RETURN_AFTER:
            s.at(s.roaming.due_at)
        probes = len(s.link.engine.probed)
        while len(s.link.engine.probed) == probes:
            s.at(s.roaming.due_at)
        s.answer(0.03)
        assert s.link.moves[1:] == [(0.03, "a better path")]


def test_an_address_of_the_callers_choice_is_kept():
    with scene(HERE) as s:
        s.at(0.0)
        s.roaming.migrate(("127.0.0.4", 0))
        s.answer(0.02)
        s.roaming._on_news()
        s.at(0.2)
        assert len(s.link.moves) == 1
        assert len(s.link.engine.probed) == 1
