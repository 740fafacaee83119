"""Rules that contradict each other, callers' bugs, and what is left after many items."""

import pytest

from moqvox.errors import LocalError
from moqvox.media.decision import Outcome, Policy, State
from moqvox.media.playout import Playout

RATE = 1_000


def test_an_item_number_below_zero_is_the_callers_bug() -> None:
    with pytest.raises(LocalError, match="item number -1"):
        Playout().push(-1, 0, 960, 0)


def test_a_negative_pull_is_the_callers_bug() -> None:
    with pytest.raises(LocalError, match="pulled -1 samples"):
        Playout().pull(-1, 0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"sample_rate": 0},
        {"target_min_us": 200_000, "target_max_us": 100_000},
        {"stretch_ppm": 100_001},
        {"lead_max_us": 1},
        {"gap_max_us": 200_000_000},
        {"start_deadline_us": -1},
    ],
)
def test_contradictory_rules_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(LocalError, match="allowed"):
        Policy(**wrong)


def test_very_many_items_leave_nothing_behind() -> None:
    playout = Playout(Policy(sample_rate=RATE))
    for item in range(3_000):
        playout.push(item, 0, 10, 0)
        playout.end(item)
        playout.pull(10, 0)
    assert playout.stats(0).state is State.IDLE
    assert playout.stats(0).items == 0
    assert len(playout._closed) <= 1_024
    assert playout.open(0) is Outcome.STALE
    assert playout.open(2_999) is Outcome.STALE
