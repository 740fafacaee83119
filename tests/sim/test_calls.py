"""Calls through storms: whatever happens, every word arrives, once, and is answered for."""

import os

import pytest
from tests.aio import run
from tests.sim.voice_storms import storm

from moqvox.wire.version import LITE_ALPNS

STORMS = int(os.environ.get("MOQVOX_TEST_CALL_STORMS", "1000"))
"""Seeds 0 to this; a failing test's name has its seed, and that test alone replays it."""


KILLS = int(os.environ.get("MOQVOX_TEST_JOURNAL_STORMS", "60"))
"""As many with an agent that is killed and has a journal."""


def version_of(seed: int) -> str:
    return LITE_ALPNS[seed % len(LITE_ALPNS)]


@pytest.mark.parametrize("seed", range(STORMS))
def test_call_loses_nothing_and_hears_nothing_twice_in_a_storm(seed):
    run(storm(seed, version_of(seed))).check()


@pytest.mark.parametrize("seed", range(KILLS))
def test_an_agent_that_is_killed_in_a_storm_goes_on_by_its_journal(seed, tmp_path):
    run(storm(seed, version_of(seed), str(tmp_path))).check()


def test_storms_do_kill_agents_in_mid_answer(tmp_path):
    tales = [run(storm(seed, version_of(seed), str(tmp_path / str(seed)))) for seed in range(20)]
    assert sum(tale.killed for tale in tales) > 20
    assert sum(tale.carried for tale in tales) > 5
    assert sum(tale.short for tale in tales) > 0


def test_storms_do_rage():
    tales = [run(storm(seed, version_of(seed))) for seed in range(20)]
    assert sum(tale.resumptions for tale in tales) > 20
    assert sum(tale.killed for tale in tales) > 2
    assert sum(len(tale.answers) for tale in tales) > 30


def test_a_storm_replays():
    tales = [run(storm(3, LITE_ALPNS[0])) for _ in range(2)]
    assert tales[0] == tales[1]
    assert tales[0] != run(storm(4, LITE_ALPNS[0]))
