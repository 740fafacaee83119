"""When a peer is asked for a sign of life: times are arguments."""

import itertools
from types import SimpleNamespace

from moqvox.transport.aioquic.keep_alive import FIRST_LOOK, LONGEST_LOOK, NAT_FORGETS, KeepAlive


def engine(*, confirmed: bool, idle_timeout: float = 30.0):
    pings = []
    return SimpleNamespace(
        recovery=SimpleNamespace(handshake_confirmed=confirmed),
        idle_timeout=idle_timeout,
        is_client=True,
        send_ping=pings.append,
        pings=pings,
    )


def looks(keep_alive, until):
    now, found = keep_alive.look_at, []
    while now < until:
        keep_alive.check(engine(confirmed=False), now)
        found.append(now)
        now = keep_alive.look_at
    return found


def test_an_unfinished_handshake_is_looked_at_ever_more_rarely():
    found = looks(KeepAlive(None, 0.0), 10.0)
    assert found[1] == FIRST_LOOK
    assert len(found) < 16
    gaps = [after - before for before, after in itertools.pairwise(found)]
    assert max(gaps) <= LONGEST_LOOK
    assert all(after <= 2.001 * before for before, after in itertools.pairwise(gaps))


def test_a_finished_one_is_pinged_once_it_was_silent_for_its_time():
    keep_alive, peer = KeepAlive(None, 0.0), engine(confirmed=True)
    assert not keep_alive.check(peer, 1.0)
    assert keep_alive.look_at == 10.0
    assert keep_alive.check(peer, 10.0)
    assert peer.pings == [0]


def test_however_long_the_time_out_is_a_client_pings_before_a_nat_forgets_even_if_one_is_lost():
    keep_alive, peer = KeepAlive(None, 0.0), engine(confirmed=True, idle_timeout=300.0)
    keep_alive.check(peer, 1.0)
    assert keep_alive.look_at <= NAT_FORGETS / 2
