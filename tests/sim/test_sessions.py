"""Sessions through storms: nothing lost, nothing twice, order kept, the same each time."""

import os

import pytest
from tests.aio import run
from tests.sim.storms import churn, leave_at_once, restarts, storm

from moqvox.wire.version import LITE_ALPNS, lite_version

STORMS = int(os.environ.get("MOQVOX_TEST_STORMS", "200"))
"""Seeds 0 to this; a failing test's name has its seed, and that test alone replays it."""


def version_of(seed: int) -> str:
    return LITE_ALPNS[seed % len(LITE_ALPNS)]


@pytest.mark.parametrize("seed", range(STORMS))
def test_every_frame_passes_the_relays_through_a_storm_once_and_in_order(seed):
    version = version_of(seed)
    for story in run(storm(seed, version)).stories:
        story.check(timestamps=lite_version(version).timestamps)


@pytest.mark.parametrize("seed", range(STORMS // 4))
def test_listeners_who_come_back_to_a_killed_relay_hear_everything_in_the_end(seed):
    version = version_of(seed)
    stories, made = run(restarts(seed, version))
    stories[-1].check(timestamps=lite_version(version).timestamps)
    for story in stories:
        story.check_parts()
    assert all(driver.closed for driver in made.drivers)


@pytest.mark.parametrize("seed", range(STORMS // 8))
def test_listeners_who_come_and_go_do_not_disturb_one_who_stays(seed):
    version = version_of(seed)
    story, visits, made = run(churn(seed, version))
    story.check(timestamps=lite_version(version).timestamps)
    assert len(visits) == 9
    for visit in visits:
        visit.check_parts()
    assert all(driver.closed for driver in made.drivers)


@pytest.mark.parametrize("seed", range(STORMS // 8))
def test_a_publisher_that_leaves_once_it_was_served_was_heard_in_whole(seed):
    version = version_of(seed)
    run(leave_at_once(seed, version)).check(timestamps=lite_version(version).timestamps)


def test_storms_do_rage():
    tales = [run(storm(seed, version_of(seed))) for seed in range(12)]
    assert sum(tale.lost_packets for tale in tales) > 300
    assert sum(tale.path_changes for tale in tales) > 50


def test_a_storm_replays():
    tales = [run(storm(3, LITE_ALPNS[0])) for _ in range(2)]
    assert tales[0] == tales[1]
    assert tales[0] != run(storm(4, LITE_ALPNS[0]))
