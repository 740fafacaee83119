"""What a client says first is heard before it is answered."""

import asyncio
import socket

from tests.aio import run

from moqvox.transport.aioquic.endpoint import Endpoint
from moqvox.transport.aioquic.hearing import (
    HEARING_SECONDS,
    HEARING_TURNS,
    PATIENT_SECONDS,
    Hearing,
)


def due_after(hearing: Hearing, turns: int, now: float) -> list[int]:
    """List in which of the coming turns a link is due, with nothing touched any more."""
    found = []
    for turn in range(1, turns + 1):
        touched = {}
        hearing.hold_back(touched, now)
        found += [turn] * (len(touched) + len(hearing.take_due()))
    return found


def test_a_link_that_begins_to_speak_is_due_so_many_turns_after_it_was_touched():
    hearing, link = Hearing(), object()
    hearing.add(link, 0.0)
    touched = {link: None}
    hearing.hold_back(touched, 0.0)
    assert not touched
    assert due_after(hearing, 3 * HEARING_TURNS, 0.0) == [HEARING_TURNS]
    hearing.hold_back(touched := {link: None}, 0.0)
    assert touched == {link: None}
    assert not hearing


def test_a_link_that_is_touched_again_waits_from_then_on():
    hearing, link = Hearing(), object()
    hearing.add(link, 0.0)
    for _ in range(5 * HEARING_TURNS):
        hearing.hold_back({link: None}, 0.0)
        assert hearing.take_due() == []
    hearing.hold_back({link: None}, 0.0)
    assert due_after(hearing, 3 * HEARING_TURNS, 0.0) == [HEARING_TURNS]


def test_no_link_waits_longer_than_the_time_for_it():
    hearing, link = Hearing(), object()
    hearing.add(link, 0.0)
    hearing.hold_back({link: None}, HEARING_SECONDS / 2)
    touched = {}
    hearing.hold_back(touched, HEARING_SECONDS)
    assert touched == {link: None}
    assert not hearing.holds_any
    assert not hearing


def test_what_is_said_next_leaves_at_once_where_only_the_rest_may_wait():
    hearing, link = Hearing(), object()
    hearing.add(link, 0.0, once_said=True)
    touched = {link: None}
    hearing.hold_back(touched, 0.0)
    assert touched == {link: None}
    hearing.hold_back(touched, 0.0)
    assert not touched
    assert due_after(hearing, 3 * HEARING_TURNS, 0.0) == [HEARING_TURNS]


def test_who_is_patient_is_due_at_a_time_and_in_no_turn_before():
    hearing, link = Hearing(), object()
    assert hearing.add(link, 1.0, patient=True) == 1.0 + PATIENT_SECONDS
    hearing.hold_back({link: None}, 1.0)
    assert not hearing.holds_any
    assert due_after(hearing, 3 * HEARING_TURNS, 1.0) == []
    assert due_after(hearing, 1, 1.0 + PATIENT_SECONDS) == [1]
    assert not hearing


def test_who_is_patient_and_has_nothing_to_say_is_not_flushed_for_it():
    hearing, link = Hearing(), object()
    hearing.add(link, 0.0, patient=True)
    assert due_after(hearing, 1, PATIENT_SECONDS) == []
    assert not hearing


def test_others_do_not_wait_nor_does_who_was_heard_before():
    hearing, link, other = Hearing(), object(), object()
    hearing.add(link, 0.0)
    touched = {other: None}
    hearing.hold_back(touched, 0.0)
    assert touched == {other: None}
    touched = {link: None, other: None}
    hearing.hold_back(touched, HEARING_SECONDS)
    assert touched == {link: None, other: None}


def test_a_link_that_is_over_is_let_go_of():
    hearing, link = Hearing(), object()
    hearing.add(link, 0.0)
    hearing.hold_back({link: None}, 0.0)
    hearing.discard(link)
    hearing.discard(link)
    assert not hearing
    assert due_after(hearing, 2 * HEARING_TURNS, 1.0) == []


class Answering:
    """A link that notes in which order it answered."""

    is_newcomer = False

    def __init__(self, order: list[str]) -> None:
        self.connection_ids = {}
        self.order = order

    def flush(self, _now) -> None:
        self.order.append("answered")


async def words_go_through(*, hears: bool, patient: bool = False) -> list[str]:
    """Let a link have an answer while its words take three turns to who reads them."""
    order: list[str] = []
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.setblocking(False)
        endpoint, link = Endpoint(sock, None), Answering(order)
        endpoint.add(link, b"12345678")
        if hears:
            endpoint.hear(link, patient=patient)
        endpoint.touch(link)
        hop = loop.call_soon
        hop(lambda: hop(lambda: hop(lambda: order.append("read"))))
        for _ in range(2 * HEARING_TURNS):
            await asyncio.sleep(0)
        assert len(order) == (1 if patient else 2)
        await asyncio.sleep(PATIENT_SECONDS)  # of a clock that jumps
        endpoint._reception.close(sock)
    return order


def test_an_application_reads_a_clients_first_words_before_packets_to_it_are_built():
    assert run(words_go_through(hears=False)) == ["answered", "read"]
    assert run(words_go_through(hears=True)) == ["read", "answered"]
    assert run(words_go_through(hears=True, patient=True)) == ["read", "answered"]
