"""Handshakes by network: caps, a rate, and what spoofed packets can't do to a network."""

import pytest

from moqvox.transport.aioquic import Limits
from moqvox.transport.aioquic.prefixes import MAX_PREFIXES, Prefixes, prefix_of

LIMITS = Limits(
    max_half_open_per_prefix=4,
    max_unproven_per_prefix=2,
    handshakes_per_prefix=10.0,
    handshake_burst_per_prefix=20.0,
)
HERE = b"\x0a\0\0"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (("192.0.2.1", 1), ("192.0.2.250", 2), True),
        (("192.0.2.1", 1), ("192.0.3.1", 1), False),
        (("::ffff:192.0.2.1", 1, 0, 0), ("192.0.2.9", 2), True),
        (("2001:db8:0:4200::1", 1, 0, 0), ("2001:db8:0:42ff::9", 2, 0, 0), True),
        (("2001:db8:0:4200::1", 1, 0, 0), ("2001:db8:0:4300::1", 1, 0, 0), False),
        (("fe80::1%eth0", 1, 0, 2), ("fe80::2%eth1", 1, 0, 3), True),
    ],
)
def test_a_network_is_a_24_of_ipv4_and_a_56_of_ipv6(one, other, same):
    assert (prefix_of(one) == prefix_of(other)) is same


def test_a_network_has_so_many_handshakes_under_way_and_another_its_own():
    prefixes = Prefixes(LIMITS)
    assert [prefixes.admits(HERE, 0.0, is_proven=True) for _ in range(6)] == [True] * 4 + [
        False
    ] * 2
    assert prefixes.admits(b"\x0a\0\1", 0.0, is_proven=True)
    prefixes.release(HERE, 0.0, is_proven=True, is_complete=True)
    assert prefixes.admits(HERE, 0.0, is_proven=True)


def test_who_proves_nothing_takes_no_place_of_those_who_do():
    prefixes = Prefixes(LIMITS)
    spoofed = [prefixes.admits(HERE, 0.0, is_proven=False) for _ in range(100)]
    assert spoofed == [True] * 2 + [False] * 98
    assert all(prefixes.admits(HERE, 0.0, is_proven=True) for _ in range(4))


def test_a_network_has_a_rate_that_only_complete_and_proven_handshakes_count_for():
    prefixes = Prefixes(LIMITS)

    def connect(now: float, *, is_proven: bool) -> bool:
        admitted = prefixes.admits(HERE, now, is_proven=is_proven)
        if admitted:
            prefixes.release(HERE, now, is_proven=is_proven, is_complete=True)
        return admitted

    assert sum(connect(0.0, is_proven=number % 2 > 0) for number in range(50)) == 20
    assert sum(connect(1.0, is_proven=True) for _ in range(50)) == 10
    for _ in range(50):
        assert prefixes.admits(HERE, 3.0, is_proven=False)
        prefixes.release(HERE, 3.0, is_proven=False, is_complete=False)
    assert sum(connect(3.0, is_proven=True) for _ in range(50)) == 20


def test_networks_are_forgotten_when_there_are_too_many_but_not_those_with_handshakes():
    prefixes = Prefixes(LIMITS)
    assert prefixes.admits(HERE, 0.0, is_proven=True)
    for number in range(2 * MAX_PREFIXES):
        name = number.to_bytes(4)
        assert prefixes.admits(name, 0.0, is_proven=True)
        prefixes.release(name, 0.0, is_proven=True, is_complete=True)
    assert len(prefixes) <= MAX_PREFIXES
    assert sum(prefixes.admits(HERE, 0.0, is_proven=True) for _ in range(9)) == 3
