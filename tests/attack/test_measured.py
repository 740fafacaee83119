"""The large attacks, each on a fresh server with an honest caller beside it.

The bounds are wide: they tell a hole from a wall, not a fast machine from a slow one. The
figures themselves are those of `python -m bench.attack`.
"""

import pytest
from tests.attack.measure import MIB, Outcome, measure
from tests.attack.processes import Victim
from tests.attack.rows import ATTACKS
from tests.attack.storm import storm

pytestmark = [pytest.mark.net, pytest.mark.slow, pytest.mark.timeout(150)]

CPU_LIMIT_US = 5
"""For each byte of the attacker's, besides half a second for the honest ones."""

LATENCY_LIMIT_S = 0.75
"""By the caller's clock, of a machine that does other things as well; the figure is the table's."""

TURN_LIMIT_S = 0.02
"""CPU time of the server's longest turn, for which an honest datagram waits before it is read.

Of that, 2 ms are for those who are there, one step of a handshake takes up to 2, and the
collector as long as its young objects are many.
"""
LONGER_TURN_S = {"T16 mutations": 0.04}
"""Where thousands of handshakes fail, of which the collector finds the remains."""

NEWCOMER_LIMIT_S = 1.5
ATTEMPTS = 3
"""A hole is too dear each time, a machine that is busy for a moment only then."""

MUTATED = 6000

GROWTH_MIB = {
    "T1 initial flood": 30,
    "T16 mutations": 30,
}
CAUGHT = {"T6 new connection ids": 9, "T8 scattered bytes": 1, "T10 forged acks": 0x0A}


def show(outcome: Outcome) -> str:
    return (
        f"{outcome.row}: {outcome.shot.sent_bytes} bytes sent, {outcome.shot.received_bytes} back,"
        f" {outcome.grown_bytes / MIB:.1f} MiB, {outcome.cpu_s:.2f} s CPU, echo p99"
        f" {outcome.calm_p99_s * 1e3:.1f} -> {outcome.attack_p99_s * 1e3:.1f} ms,"
        f" longest turn {outcome.calm_turn_s * 1e3:.1f} -> {outcome.turn_s * 1e3:.1f} ms of CPU"
    )


def too_dear(outcome: Outcome) -> list[str]:
    """What the attack cost in time beyond its bounds, none of which a good machine comes near."""
    bounds = {
        "CPU": (outcome.cpu_s, 0.5 + CPU_LIMIT_US * 1e-6 * outcome.shot.sent_bytes),
        "echo": (outcome.attack_p99_s, max(2 * outcome.calm_p99_s, LATENCY_LIMIT_S)),
        "turn": (outcome.turn_s, LONGER_TURN_S.get(outcome.row, TURN_LIMIT_S)),
        "newcomer": (outcome.newcomer_s, NEWCOMER_LIMIT_S),
    }
    return [what for what, (measured, bound) in bounds.items() if measured >= bound]


@pytest.mark.parametrize("row", list(ATTACKS))
def test_an_attack_is_cheap_to_bear_and_others_hardly_notice(row, record_property):
    attempts = []
    for _ in range(ATTEMPTS):
        with Victim("ours") as victim:
            outcome = measure(victim, row)
        record_property("attack", show(outcome))
        assert outcome.survives, show(outcome)
        assert outcome.complaints == ()
        assert outcome.grown_bytes < GROWTH_MIB.get(row, 12) * MIB, show(outcome)
        assert outcome.echoes > 0
        if row in CAUGHT:
            assert outcome.shot.closed_with == CAUGHT[row]
        attempts.append(f"{too_dear(outcome)} {show(outcome)}")
        if not too_dear(outcome):
            return
    pytest.fail("\n".join(attempts))


@pytest.mark.parametrize(
    ("row", "scale", "open_mib", "closed_mib"),
    [
        ("T1 initial flood", 1.0, 25, 20),  # 100 and 9 on a calm machine
        ("T8 sparse offsets", 1.0, 60, 6),
        ("T13 qpack bomb", 0.25, 30, 4),
    ],
)
def test_the_holes_of_a_naive_server_are_closed_in_ours(
    fresh, naive, row, scale, open_mib, closed_mib
):
    assert measure(naive, row, scale).grown_bytes > open_mib * MIB
    assert measure(fresh, row, scale).grown_bytes < closed_mib * MIB


def test_acks_of_packets_never_sent_are_believed_by_a_naive_server_and_end_ours(fresh, naive):
    assert measure(naive, "T10 forged acks").shot.closed_with is None
    assert measure(fresh, "T10 forged acks").shot.closed_with == 0x0A


def test_an_unproven_address_gets_at_most_three_times_what_it_sent(fresh):
    outcome = measure(fresh, "T2 amplification")
    assert 0 < outcome.shot.received_bytes <= 3 * outcome.shot.sent_bytes


def test_a_newcomer_gets_in_during_a_flood(fresh):
    """The flood leaves half-open connections up to the cap, so the newcomer meets Retry."""
    joined = []
    while len(joined) < ATTEMPTS and min(joined, default=NEWCOMER_LIMIT_S) >= NEWCOMER_LIMIT_S:
        ATTACKS["T1 initial flood"](fresh.address, 0.3)
        outcome = measure(fresh, "T1 initial flood", 0.1)
        assert outcome.survives
        joined.append(outcome.newcomer_s)
    assert min(joined) < NEWCOMER_LIMIT_S


def test_mutated_datagrams_bring_up_no_error_at_all():
    found = storm(MUTATED, seed=7)
    assert found.uncaught == found.broken == ()
    assert found.opened > MUTATED // 2
    assert found.answers > MUTATED // 2
