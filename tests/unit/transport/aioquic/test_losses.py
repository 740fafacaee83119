"""What is known of a path's losses, and of gaps in packet numbers, on a clock that is told."""

import pytest

from moqvox.transport.aioquic.losses import CLEAN_AFTER, FIRST_SHARE, SINGLE, Losses
from moqvox.transport.aioquic.reordering import MOST_REORDERED, REORDERS_FOR, Gaps, Verdict


def test_a_path_is_lossy_for_a_while_after_each_sign():
    losses = Losses()
    assert not losses.were_met
    assert not losses.come_in_bursts
    losses.on_sign(1.0, is_guess=False)
    assert losses.are_about(1.0 + CLEAN_AFTER - 0.1)
    assert not losses.are_about(1.0 + CLEAN_AFTER)
    assert losses.were_met
    assert losses.come_in_bursts  # until some are known


def test_only_a_guess_is_taken_back():
    losses = Losses()
    losses.on_sign(1.0, is_guess=True)
    losses.on_false_alarm(2.0)
    assert not losses.are_about(2.0)
    losses.on_sign(3.0, is_guess=True)
    losses.on_sign(3.1, is_guess=False)
    losses.on_sign(3.2, is_guess=True)  # on a path that is known to lose
    losses.on_false_alarm(4.0)
    assert losses.are_about(4.0)


def test_runs_of_losses_are_told_from_single_ones():
    losses = Losses()
    for _ in range(20):
        losses.on_run(1)
    assert losses.burstiness < 0.05
    losses.on_run(5)
    assert losses.burstiness == pytest.approx(0.432, abs=0.001)
    assert losses.burstiness > SINGLE
    for _ in range(20):
        losses.on_run(1)
    assert losses.are_single


def test_a_whole_flight_lost_at_once_is_a_share_of_all_and_no_more():
    losses = Losses()
    losses.on_sign(1.0, is_guess=False)
    losses.begin()
    losses.on_fates(1.0, 1, 200)
    assert 0.9 < losses.share <= 1.0


def test_the_share_is_measured_only_while_losses_occur():
    losses = Losses()
    losses.begin()
    losses.on_fates(1.0, 100, 0)
    assert losses.share == FIRST_SHARE


def test_a_gap_stays_open_until_it_is_filled_or_a_clean_while_has_passed():
    gaps = Gaps()
    assert gaps.judge(range(5, 7), 1.0, by_server=True) is Verdict.GUESS
    assert gaps.is_open(1.0 + CLEAN_AFTER)
    assert not gaps.is_open(1.1 + CLEAN_AFTER)
    assert not gaps.is_filled({5, 7}, 1.1)
    assert gaps.is_open(1.1)
    assert gaps.is_filled({5, 6, 7}, 1.2)
    assert not gaps.is_open(1.2)
    assert not gaps.is_filled({5, 6, 7}, 1.3)


def test_the_first_of_several_gaps_is_looked_into():
    gaps = Gaps()
    gaps.judge(range(5, 6), 1.0, by_server=True)
    gaps.judge(range(8, 9), 1.1, by_server=True)
    assert not gaps.is_filled({8}, 1.2)
    assert gaps.is_filled({5, 8}, 1.2)


def test_a_path_that_changed_the_order_is_given_the_benefit_of_the_doubt_for_short_gaps():
    gaps = Gaps()
    gaps.judge(range(5, 6), 1.0, by_server=True)
    assert gaps.is_filled({5}, 2.0)
    short, long = range(20, 20 + MOST_REORDERED), range(30, 31 + MOST_REORDERED)
    assert gaps.judge(short, 2.1, by_server=True) is Verdict.NOTHING
    assert gaps.judge(long, 2.2, by_server=True) is Verdict.LOSS
    assert gaps.judge(short, 2.0 + REORDERS_FOR, by_server=True) is Verdict.GUESS


@pytest.mark.parametrize("by_server", [True, False])
def test_one_number_left_out_in_each_doubling_is_a_clients_own_doing(by_server):
    gaps = Gaps()
    verdicts = [
        gaps.judge(range(n, n + 1), 1.0, by_server=by_server) for n in (10, 80, 100, 200, 400)
    ]
    expected = Verdict.GUESS if by_server else Verdict.NOTHING
    assert verdicts == [expected, expected, Verdict.GUESS, expected, expected]
    assert gaps.judge(range(900, 902), 1.0, by_server=by_server) is Verdict.GUESS
