"""What a part of the plan still lacks, and how long that takes on two cores. Pure."""

from collections.abc import Sequence
from typing import Final

import msgspec

from moqvox_client.lab.batch import Planned
from moqvox_client.lab.scenario import Scenario, named
from moqvox_client.lab.sections import Part
from moqvox_client.lab.systems import OURS, SYSTEMS, System
from moqvox_client.lab.verdict import Run

__all__ = [
    "call_s",
    "expected_s",
    "lacking",
    "most_seeds",
    "scenarios_of",
    "soundness",
    "substitutes",
]

AROUND_S: Final = 3.5
"""Seconds in which a network is set up, two programs load, all of it is taken down and judged."""

AFTER_S: Final = 1.3
"""Seconds of a call in which nobody speaks: it begins, an end is waited for, it is left."""

SPARE: Final = 4
"""Of so many seeds one more may stand in for one whose every run was void."""


def scenarios_of(part: Part) -> list[Scenario]:
    """Find a part's scenarios, with answers as long as it wants them."""
    found = named(part.scenarios)
    if part.answer_frames is None:
        return found
    return [msgspec.structs.replace(one, answer_frames=part.answer_frames) for one in found]


def most_seeds(part: Part) -> int:
    """Count the seeds that a row of a part may have, substitutes included."""
    return part.seeds + max(2, part.seeds // SPARE)


def lacking(part: Part, runs: Sequence[Run], attempts: int) -> list[Planned]:
    """Tell which runs of a part are not there, or are void and were made less often than that.

    A seed of all comes before the next one, so that what is cut off has fewer seeds, not rows.
    """
    tried, sound = _tally(runs)
    return [
        Planned(SYSTEMS[system], scenario, seed)
        for seed in range(1, 1 + part.seeds)
        for scenario, system in _rows(part)
        if (key := (scenario.name, system, seed)) not in sound and tried.get(key, 0) < attempts
    ]


def soundness(part: Part, runs: Sequence[Run]) -> float:
    """Tell which share of the seeds is sound in the row of a part that has the fewest; 1.0: all."""
    _, sound = _tally(runs)
    seeds = range(1, 1 + part.seeds)
    shares = [
        sum((scenario.name, system, seed) in sound for seed in seeds) / part.seeds
        for scenario, system in _rows(part)
    ]
    return min(shares, default=1.0)


def substitutes(part: Part, runs: Sequence[Run]) -> list[Planned]:
    """Tell which further seeds stand in for those that were made, and were void every time.

    To be asked once void runs are not repeated any more: a seed is given up last, as what it
    stands for must not be chosen by how busy it kept the machine.
    """
    tried, sound = _tally(runs)
    planned = []
    for scenario, system in _rows(part):
        row = [(scenario.name, system, seed) for seed in range(1, 1 + most_seeds(part))]
        if any(key not in tried for key in row[: part.seeds]):
            continue  # cut off, or impossible: that is not for a substitute to hide
        missing = part.seeds - sum(key in sound for key in row)
        fresh = [key for key in row[part.seeds :] if key not in tried]
        planned += [Planned(SYSTEMS[system], scenario, seed) for _, _, seed in fresh[:missing]]
    return sorted(planned, key=lambda one: one.seed)


def _rows(part: Part) -> list[tuple[Scenario, str]]:
    return [
        (scenario, system)
        for scenario in scenarios_of(part)
        for system in part.systems
        if not SYSTEMS[system].obstacle
    ]


def _tally(
    runs: Sequence[Run],
) -> tuple[dict[tuple[str, str, int], int], set[tuple[str, str, int]]]:
    """Count how often each run was made, and pick those that are sound."""
    tried: dict[tuple[str, str, int], int] = {}
    sound = set()
    for run in runs:
        key = (run.scenario, run.system, run.seed)
        tried[key] = tried.get(key, 0) + 1
        if not run.doubts:
            sound.add(key)
    return tried, sound


def call_s(system: System, scenario: Scenario) -> float:
    """Tell about how many seconds a call takes; one that breaks is waited for to its limit."""
    if scenario.network_events and not system.name.startswith(OURS):
        return scenario.seconds
    answered = scenario.answer_frames if system.answers else 0
    spoken_s = (scenario.frames + answered + scenario.again) * 0.02
    return AFTER_S + spoken_s + scenario.nothing_ms / 2000


def expected_s(planned: Sequence[Planned], part: Part) -> float:
    """Tell about how many seconds runs of a part take on two cores that do nothing else."""
    calls = [(call_s(one.system, one.scenario), one.system.weight) for one in planned]
    weighed = [(seconds, min(weight, part.jobs)) for seconds, weight in calls]
    return max(
        max((seconds + AROUND_S for seconds, _ in calls), default=0.0),
        sum(seconds * weight for seconds, weight in weighed) / part.jobs,
        sum((seconds + AROUND_S) * weight for seconds, weight in weighed)
        / (part.jobs + part.loading),
    )
