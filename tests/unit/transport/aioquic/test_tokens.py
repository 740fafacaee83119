"""Tokens and strikes: what proves an address, to whom, how long and how often."""

import pytest

from moqvox.transport.aioquic.strikes import MAX_STRIKES, Strikes
from moqvox.transport.aioquic.tokens import Proof, Tokens
from moqvox.transport.quic.keys import Keys

HERE, PORT_BESIDE, ELSEWHERE = ("192.0.2.1", 5000), ("192.0.2.1", 5001), ("192.0.2.2", 5000)
MAPPED = ("::ffff:192.0.2.1", 5000, 0, 0)
KEYS = Keys(bytes(32))


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def tokens(clock):
    return Tokens(KEYS, clock)


def test_a_retry_token_brings_back_the_first_connection_id(tokens):
    token = tokens.for_retry(HERE, b"original", b"retry id")
    assert tokens.check(token, HERE, b"retry id") == Proof(b"original")
    assert tokens.check(token, MAPPED, b"retry id") == Proof(b"original")


@pytest.mark.parametrize(
    ("address", "destination"),
    [(PORT_BESIDE, b"retry id"), (ELSEWHERE, b"retry id"), (HERE, b"another!")],
)
def test_a_retry_token_is_worth_nothing_elsewhere(tokens, address, destination):
    token = tokens.for_retry(HERE, b"original", b"retry id")
    assert tokens.check(token, address, destination) is None


def test_a_retry_token_is_good_for_half_a_minute(tokens, clock):
    token = tokens.for_retry(HERE, b"original", b"retry id")
    clock.now += 31
    assert tokens.check(token, HERE, b"retry id") is None


def test_an_address_token_is_good_for_the_address_from_any_port_once(tokens):
    token = tokens.for_later(HERE)
    assert tokens.check(token, ELSEWHERE, b"x") is None
    assert tokens.check(token, PORT_BESIDE, b"x") == Proof(None)
    assert tokens.check(token, HERE, b"x") is None


def test_an_address_token_is_good_for_a_day(tokens, clock):
    kept, late = tokens.for_later(HERE), tokens.for_later(HERE)
    clock.now += 23 * 3600
    assert tokens.check(kept, HERE, b"") == Proof(None)
    clock.now += 2 * 3600
    assert tokens.check(late, HERE, b"") is None


def test_servers_with_one_secret_take_each_others_tokens_and_others_do_not(tokens, clock):
    token, later = tokens.for_retry(HERE, b"original", b"id"), tokens.for_later(HERE)
    brother, stranger = Tokens(Keys(bytes(32)), clock), Tokens(Keys(b"x" * 32), clock)
    assert brother.check(token, HERE, b"id") == Proof(b"original")
    assert brother.check(later, HERE, b"id") == Proof(None)
    assert stranger.check(token, HERE, b"id") is None
    assert stranger.check(later, HERE, b"id") is None


@pytest.mark.parametrize("junk", [b"", b"\x01", b"\x02" + bytes(80), b"\xff" * 60, b"\x01" * 500])
def test_junk_proves_nothing(tokens, junk):
    assert tokens.check(junk, HERE, b"id") is None


def test_a_token_turned_into_the_other_kind_proves_nothing(tokens):
    token = tokens.for_retry(HERE, b"original", b"id")
    assert tokens.check(b"\x02" + token[1:], HERE, b"id") is None


def test_a_name_counts_once_for_as_long_as_it_is_remembered():
    strikes = Strikes(10.0)
    assert strikes.is_first(b"one", 100.0)
    assert not strikes.is_first(b"one", 109.0)
    assert strikes.is_first(b"two", 109.0)
    assert not strikes.is_first(b"two", 118.0)
    assert strikes.is_first(b"one", 140.0)


def test_a_full_register_takes_everything_for_seen_until_its_turn_is_over():
    strikes = Strikes(10.0)
    assert all(strikes.is_first(number.to_bytes(4), 100.0) for number in range(MAX_STRIKES))
    assert not strikes.is_first(b"new", 101.0)
    assert len(strikes) == MAX_STRIKES
    assert strikes.is_first(b"new", 111.0)
