"""A client's patience with silence, and its sockets."""

import math
import socket

import pytest

from moqvox.errors import LocalError
from moqvox.transport.aioquic import Limits
from moqvox.transport.aioquic.roaming import MAX_DOUBLINGS, Roaming


class Recovery:
    handshake_confirmed = True

    def get_probe_timeout(self) -> float:
        return 0.1


class Engine:
    def __init__(self) -> None:
        self.recovery = Recovery()


class Link:
    """Counts its moves; nothing else of a link is used."""

    def __init__(self) -> None:
        self.engine = Engine()
        self.limits = Limits(socket_buffer_bytes=4096)
        self.moves = 0

    def moved(self) -> None:
        self.moves += 1


def make() -> tuple[Roaming, Link, list[float]]:
    link, kept = Link(), []

    def switch(sock: socket.socket, keep: float) -> None:
        sock.close()
        kept.append(keep)

    return Roaming(link, socket.AF_INET, switch), link, kept


def test_a_path_is_dead_only_when_something_was_asked_and_nothing_answered():
    roaming, link, _ = make()
    assert roaming.dead_at == math.inf
    roaming.on_asked(10.0)
    roaming.on_asked(10.4)
    assert roaming.dead_at == 10.5
    roaming.check(10.4)
    assert link.moves == 0
    roaming.on_heard()
    assert roaming.dead_at == math.inf


def test_each_dead_path_doubles_the_patience_up_to_a_bound():
    roaming, link, _ = make()
    roaming.on_asked(0.0)
    waits, now = [], 0.0
    for _ in range(MAX_DOUBLINGS + 2):
        waits.append(roaming.dead_at - now)
        now = roaming.dead_at
        roaming.check(now)
    assert waits == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 16.0]
    assert link.moves == len(waits)


def test_the_old_socket_is_read_for_three_probe_timeouts_at_least():
    roaming, link, kept = make()
    roaming.migrate(None)
    link.engine.recovery.get_probe_timeout = lambda: 0.4
    roaming.migrate(("127.0.0.1", 0))
    assert kept == [pytest.approx(0.3), pytest.approx(1.2)]


def test_a_wish_to_move_waits_for_the_handshake():
    roaming, link, kept = make()
    link.engine.recovery.handshake_confirmed = False
    roaming.migrate(None)
    roaming.check(1.0)
    assert (link.moves, kept) == (0, [])
    link.engine.recovery.handshake_confirmed = True
    roaming.check(1.1)
    roaming.check(1.2)
    assert link.moves == 1


def test_an_address_that_cannot_be_bound_is_told_and_changes_nothing():
    roaming, link, kept = make()
    with pytest.raises(LocalError, match=r"cannot send from 192\.0\.2\.1"):
        roaming.migrate(("192.0.2.1", 0))
    with pytest.raises(LocalError, match="the other family"):
        roaming.migrate(("::1", 0))
    assert (link.moves, kept) == (0, [])
