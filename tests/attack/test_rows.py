"""Every row at a small scale against our server: bounded memory, the right code, no harm."""

import pytest
from tests.attack.attacker import Attacker
from tests.attack.measure import MIB
from tests.attack.rows import ATTACKS, crowd_to_close

pytestmark = pytest.mark.net

SCALE = 0.05
PROTOCOL_VIOLATION = 0x0A

CLOSED_WITH = {
    "T6 new connection ids": 0x09,
    "T8 beyond the limits": 0x03,
    "T10 forged acks": PROTOCOL_VIOLATION,
    "T13 qpack bomb": 0x201,
    "T13 static table": 0x107,
    "T14 large capsule": 0x10E,
}
OTHERS = (
    "T3 version 0",
    "T5 path challenges",
    "T6 retirements",
    "T8 sparse offsets",
    "T9 unread",
    "T9 unheard",
    "T11 ack ranges",
    "T12 rapid reset",
    "T14 endless capsule",
    "T15 unknown sessions",
    "T19 spoofed rebind",
    "T20 mass close",
)
SLOWER = ("T9 unread", "T9 unheard", "T11 ack ranges", "T13 static table", "T14 large capsule")
GROWTH_BYTES = 8 * MIB
"""A connection's windows and the allocator's steps; each attack below aims far higher."""


def attack(victim, row):
    victim.forget_peak()
    before = victim.usage().rss_bytes
    shot = ATTACKS[row](victim.address, SCALE)
    assert victim.usage().peak_bytes - before < GROWTH_BYTES
    with Attacker(victim.address).connect() as client:
        assert client.ask(b"anyone there?") == b"anyone there?"
    return shot


def marked(rows):
    return [pytest.param(r, marks=pytest.mark.slow) if r in SLOWER else r for r in rows]


@pytest.mark.parametrize("row", marked(CLOSED_WITH))
def test_a_rule_broken_is_told_by_its_code(ours, row):
    assert attack(ours, row).closed_with == CLOSED_WITH[row]


@pytest.mark.parametrize("row", marked(OTHERS))
def test_what_breaks_no_rule_costs_little_and_is_outlived(ours, row):
    shot = attack(ours, row)
    assert shot.closed_with is None
    assert shot.received_bytes <= 3 * shot.sent_bytes


def test_a_packet_of_version_zero_is_met_with_silence(ours):
    assert ATTACKS["T3 version 0"](ours.address, SCALE).received_bytes == 0


def test_a_spoofed_rebind_gets_no_more_than_three_times_and_the_caller_goes_on(ours):
    shot = ATTACKS["T19 spoofed rebind"](ours.address, SCALE)
    assert shot.received_bytes <= 3 * shot.sent_bytes
    assert shot.note == "are you still there?"


def test_scattered_bytes_of_a_stream_end_the_connection(ours):
    assert ATTACKS["T8 scattered bytes"](ours.address, 0.2).closed_with == 0x01


def test_a_crowd_that_has_left_is_waited_for_until_nothing_of_it_is_left(ours):
    close = crowd_to_close(ours.address, 0.2)
    ours.wait_idle()
    close()
    ours.wait_idle()
    assert ours.leaving() == 0
