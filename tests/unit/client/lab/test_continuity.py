"""The plan behind the documentation's figures: what is run, run again, promised and written."""

import asyncio
import itertools

import msgspec
import pytest

from moqvox_client.errors import Failed
from moqvox_client.lab import batch, continuity, plan
from moqvox_client.lab.bounds import Bound, check, counted, faultless
from moqvox_client.lab.ear import Heard
from moqvox_client.lab.metrics import Downlink, Uplink
from moqvox_client.lab.network import Userspace
from moqvox_client.lab.report import Facts
from moqvox_client.lab.scenario import SETS, named
from moqvox_client.lab.sections import SECTIONS, Part, Section
from moqvox_client.lab.table import NAMES
from moqvox_client.lab.verdict import Back, Run

FACTS = Facts("moqvox lab continuity", "today")
PART = Part(("outage",), ("moqvox", "moq-rs"), seeds=2)
SECTION = Section(
    name="outage",
    title="A dead network",
    parts=(PART,),
    columns=("complete_pct", "gap_ms"),
    bounds=(Bound("gap: 100 ms", "gap_ms", lambda _scenario, _medians: 100.0),),
)


def run(
    scenario="outage0",
    system="moqvox",
    seed=1,
    *,
    gap=50.0,
    change=None,
    doubts=(),
    arrived=400,
    **more,
):
    up = Uplink(
        frames=400,
        arrived=arrived,
        complete_pct=arrived / 4,
        gap_ms=gap,
        change_ms=change,
        ttfa_ms=gap,
    )
    return Run(
        system=system,
        scenario=scenario,
        network="netlab",
        seed=seed,
        up=up,
        doubts=list(doubts),
        **more,
    )


def answer(arrived):
    return Downlink(frames=400, arrived=arrived, complete_pct=arrived / 4)


def ear(**faults):
    played = Heard(
        source_ms=8000.0,
        found_ms=8000.0,
        altered_ms=0.0,
        missing_ms=0.0,
        silence_ms=0.0,
        longest_ms=0.0,
        removed_ms=0.0,
        strange_ms=0.0,
    )
    return msgspec.structs.replace(played, **faults)


def test_every_scenario_of_a_named_set_is_in_some_section():
    parts = [part for section in SECTIONS.values() for part in section.parts]
    assert all(part.scenarios for part in parts)
    shown = {one.name for part in parts for one in plan.scenarios_of(part)}
    assert {one.name for one in named(list(SETS))} <= shown


def test_every_section_names_scenarios_systems_and_figures_that_exist():
    for section in SECTIONS.values():
        for part in section.parts:
            assert plan.lacking(part, [], 1)
        assert set(section.columns) <= set(NAMES)
        assert {bound.figure for bound in section.bounds} <= set(NAMES)


def test_what_is_there_is_not_run_again_and_what_is_void_is_so_up_to_a_bound():
    runs = [run(), run("outage1", doubts=["busy"])]
    keys = {(one.scenario.name, one.system.name, one.seed) for one in lacking(runs, 1)}
    assert ("outage0", "moqvox", 1) not in keys
    assert ("outage1", "moqvox", 1) not in keys
    assert len(keys) == 4 * 2 * 2 - 2
    keys = {(one.scenario.name, one.system.name, one.seed) for one in lacking(runs, 2)}
    assert ("outage1", "moqvox", 1) in keys
    assert ("outage0", "moqvox", 1) not in keys


def lacking(runs, attempts):
    return plan.lacking(PART, runs, attempts)


def test_a_seed_of_all_rows_comes_before_the_next_seed():
    seeds = [one.seed for one in lacking([], 1)]
    assert seeds == sorted(seeds)


def test_of_a_seed_made_twice_the_run_that_is_not_void_counts():
    void, sound = run(gap=900.0, doubts=["busy"]), run(gap=50.0)
    assert counted([void, sound]) == [sound]
    assert counted([sound, void]) == [sound]
    assert counted([void, void]) == [void]


def test_a_bound_is_computed_from_the_runs():
    (scenario,) = named(["outage0"])
    runs = [run(seed=1, gap=90.0), run(seed=2, gap=95.0), run(seed=3, gap=300.0)]
    (found,) = check(SECTION.bounds[0], scenario, runs)
    assert (found.measured, found.within, found.runs, found.holds) == (95.0, 2, 3, True)
    runs[0] = run(seed=1, gap=101.0)
    (found,) = check(SECTION.bounds[0], scenario, runs)
    assert (found.measured, found.within, found.holds) == (101.0, 1, False)


def test_a_bound_of_twenty_says_nothing_of_fewer():
    (scenario,) = named(["outage0"])
    bound = msgspec.structs.replace(SECTION.bounds[0], of_twenty=True)
    runs = [run(seed=seed, gap=10.0 * seed) for seed in range(1, 21)]
    (found,) = check(bound, scenario, runs)
    assert (found.measured, found.holds) == (190.0, False)
    (found,) = check(bound, scenario, runs[:5])
    assert found.holds is None


def test_a_quarter_of_the_best_of_the_others_is_of_the_better_one():
    (losses,) = [one for one in SECTIONS["losses"].bounds if one.figure == "late_p99_ms"]
    (scenario,) = named(["rtt50-loss5"])
    assert losses.limit(scenario, {"websocket": 200.0, "grpc": 100.0}) == 25.0
    assert losses.limit(scenario, {"moqvox": 9.0}) is None
    assert losses.limit(*named(["rtt50-loss1"]), {"grpc": 100.0}) is None


def test_a_change_in_bursts_is_compared_with_the_same_bursts_without_one():
    """Pairs of the same seed only: what they have in common is not held against the change."""
    (bound,) = [one for one in SECTIONS["changes"].bounds if one.beside]
    (scenario,) = named(["switch-in-bursts"])
    usual = [run("in-bursts", seed=seed, change=200.0 * seed) for seed in (1, 2, 3, 4)]
    pauses = {1: 750.0, 2: 1000.0, 3: 1150.0, 5: 9000.0}
    changed = [run("switch-in-bursts", seed=seed, change=ms) for seed, ms in pauses.items()]
    (found,) = check(bound, scenario, [*changed, *usual])
    assert (found.allowed, found.measured, found.holds) == (500.0 + 80.0, 550.0, True)
    assert (found.within, found.runs) == (2, 3)
    usual[1] = run("in-bursts", seed=2, change=400.0, doubts=["busy"])
    (found,) = check(bound, scenario, [*changed, *usual])
    assert found.runs == 2
    assert check(bound, scenario, changed) == []


def test_what_binds_each_run_binds_void_ones_and_the_worst():
    (scenario,) = named(["outage0"])
    bound = msgspec.structs.replace(SECTION.bounds[0], each=True)
    runs = [run(seed=1, gap=50.0), run(seed=2, gap=50.0), run(seed=3, gap=101.0, doubts=["busy"])]
    (found,) = check(bound, scenario, runs)
    assert (found.measured, found.within, found.runs, found.holds) == (101.0, 2, 3, False)


@pytest.mark.parametrize(
    "bad",
    [
        run(arrived=399),
        run(twice=1),
        run(wrong=1),
        run(error="gone"),
        run(back=Back(lost=1)),
        run(back=Back(away_ms=900.0), down=answer(399)),
        run(back=Back(away_ms=900.0), heard=ear(missing_ms=20.0)),
        run(heard=ear(strange_ms=20.0)),
    ],
)
def test_each_way_to_lose_a_word_is_counted(bad):
    assert faultless([run(), bad, run(system="grpc", arrived=3)]) == (1, 2)


def test_the_same_runs_make_the_same_report_and_a_broken_promise_is_said(tmp_path):
    runs = [
        run(seed=1, gap=150.0, machine_late_ms=(1.0, 3.0)),
        run(seed=2, gap=160.0, machine_late_ms=(1.5, 9.0)),
        run(system="moq-rs", arrived=300, machine_late_ms=(2.0, 4.0)),
    ]
    campaign = continuity.Campaign(
        sections=(SECTION,),
        network=lambda _scenario: Userspace(),
        facts=FACTS,
        report=tmp_path / "figures.md",
    )
    texts = []
    for order in (runs, runs[::-1]):
        continuity.publish(campaign, order)
        texts.append(campaign.report.read_text())
    assert texts[0] == texts[1]
    assert "| gap: 100 ms | outage0 | moqvox | 100 | 155 | 0 of 2 | **no** |" in texts[0]
    assert "| outage0 | moq-rs | 75.0 | 50 | 1 |" in texts[0]
    assert "2 of 2 runs of ours" in texts[0]
    assert "woke 1.5 ms late (99th percentile, median over the runs), 9 at worst" in texts[0]


def campaign_of(*, again, report):
    section = msgspec.structs.replace(
        SECTION, parts=(Part(("outage0",), ("moqvox",), seeds=3, jobs=2),)
    )
    return continuity.Campaign(
        sections=(section,),
        network=lambda _scenario: Userspace(),
        facts=FACTS,
        again=again,
        report=report,
    )


class Silent:
    def note(self, line):
        pass

    def progress(self, line):
        pass


def test_void_runs_are_repeated_so_often_and_an_interrupted_plan_goes_on(tmp_path, monkeypatch):
    """Seed 2 is void every time, seed 3 is void once, seed 1 is there from before.

    Seed 4 then stands in for seed 2, and as that is void, too, seed 5.
    """
    tries = []

    async def trial(system, scenario, seed, *_):
        tries.append(seed)
        void = seed in (2, 4) or (seed == 3 and tries.count(3) == 1)
        return run(scenario.name, system.name, seed, doubts=["busy"] if void else ())

    monkeypatch.setattr(batch, "run_trial", trial)
    campaign = campaign_of(again=2, report=tmp_path / "figures.md")
    runs, kept = [run(seed=1)], []
    failures = asyncio.run(continuity.carry_out(campaign, runs, kept.append, Silent()))
    assert failures == 0
    assert sorted(tries) == [2, 2, 2, 3, 3, 4, 5]
    assert len(kept) == 7
    assert "3 (+2 void)" in campaign.report.read_text()


def test_what_has_the_fewest_sound_runs_is_repeated_first(tmp_path, monkeypatch):
    """Of the first part one of three is void, of the second two: those are made again first."""
    tries = []

    async def trial(system, scenario, seed, *_):
        tries.append((scenario.name, seed))
        void = {"outage0": (3,), "outage1": (1, 2)}[scenario.name]
        again = tries.count((scenario.name, seed)) > 1
        return run(
            scenario.name, system.name, seed, doubts=["busy"] if seed in void and not again else ()
        )

    monkeypatch.setattr(batch, "run_trial", trial)
    parts = tuple(Part((name,), ("moqvox",), seeds=3, jobs=1) for name in ("outage0", "outage1"))
    campaign = campaign_of(again=2, report=tmp_path / "figures.md")
    section = msgspec.structs.replace(SECTION, parts=parts)
    campaign = msgspec.structs.replace(campaign, sections=(section,))
    asyncio.run(continuity.carry_out(campaign, [], lambda _: None, Silent()))
    assert tries[6:] == [("outage1", 1), ("outage1", 2), ("outage0", 3)]


def test_no_seed_stands_in_for_one_that_was_not_made_or_for_more_than_are_missing():
    part = msgspec.structs.replace(PART, scenarios=("outage0",), systems=("moqvox",), seeds=10)
    assert substitutes_of(part, [run(seed=seed) for seed in range(1, 10)]) == []
    runs = [run(seed=seed, doubts=["busy"] if seed > 7 else ()) for seed in range(1, 11)]
    assert substitutes_of(part, runs) == [("outage0", "moqvox", 11), ("outage0", "moqvox", 12)]
    assert substitutes_of(part, [*runs, run(seed=11), run(seed=12, doubts=["busy"])]) == []
    assert substitutes_of(part, [*runs, run(seed=11, doubts=["busy"])]) == [
        ("outage0", "moqvox", 12)
    ]
    assert substitutes_of(part, [*runs, run(seed=8), run(seed=9), run(seed=10)]) == []


def substitutes_of(part, runs):
    return [(one.scenario.name, one.system.name, one.seed) for one in plan.substitutes(part, runs)]


def test_the_time_left_is_that_of_what_is_not_there_and_is_told_by_section(tmp_path):
    campaign = campaign_of(again=0, report=tmp_path / "figures.md")
    (whole,) = continuity.outlook(campaign, [])
    (rest,) = continuity.outlook(campaign, [run(seed=1), run(seed=2)])
    assert (whole.section, whole.runs, rest.runs) == ("outage", 3, 1)
    assert 8.0 < rest.seconds <= whole.seconds < 3 * rest.seconds
    assert continuity.outlook(campaign, [run(seed=n) for n in (1, 2, 3)])[0].seconds == 0.0


def test_when_time_is_up_what_there_is_is_written_and_the_rest_is_said(tmp_path, monkeypatch):
    """The first run is made at once, the others never."""

    async def trial(system, scenario, seed, *_):
        if seed > 1:
            await asyncio.Event().wait()
        return run(scenario.name, system.name, seed)

    class Listening(Silent):
        said = ""

        def note(self, line):
            self.said += line

    monkeypatch.setattr(batch, "run_trial", trial)
    campaign = campaign_of(again=2, report=tmp_path / "figures.md")
    campaign = msgspec.structs.replace(campaign, seconds=0.05)
    told = Listening()
    asyncio.run(continuity.carry_out(campaign, [], lambda _: None, told))
    assert "time is up; 2 runs were not made" in told.said
    assert "| outage0 | moqvox | 100.0 | 50 | 1 |" in campaign.report.read_text()


def test_what_was_made_before_an_interruption_is_in_the_report(tmp_path, monkeypatch):
    runs = []

    async def trial(system, scenario, seed, *_):
        if len(runs) == 2:
            await asyncio.Event().wait()
        return run(scenario.name, system.name, seed)

    monkeypatch.setattr(batch, "run_trial", trial)
    campaign = campaign_of(again=0, report=tmp_path / "figures.md")

    async def main():
        carrying = asyncio.current_task()

        def keep(one):
            if len(runs) == 2:  # as asyncio's runner does at the user's Ctrl-C
                carrying.cancel()

        await continuity.carry_out(campaign, runs, keep, Silent())

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(main())
    assert "| outage0 | moqvox | 100.0 | 50 | 2 |" in campaign.report.read_text()


def test_no_more_runs_at_a_time_than_there_is_room_for_and_heavy_ones_take_more(monkeypatch):
    """Four runs, each of which goes on only once all that may start have started."""
    now, most = [0], [0]
    weights = itertools.cycle([1, 2])

    async def trial(system, *_):
        now[0] += system.weight
        most[0] = max(most[0], now[0])
        for _ in range(5):
            await asyncio.sleep(0)
        now[0] -= system.weight
        return run()

    monkeypatch.setattr(batch, "run_trial", trial)
    planned = [
        msgspec.structs.replace(
            one, system=msgspec.structs.replace(one.system, weight=next(weights))
        )
        for one in lacking([], 1)
    ]
    made = asyncio.run(
        batch.make(planned, 3, Userspace(), on_run=lambda _: None, on_failure=lambda _: None)
    )
    assert len(made) == len(planned)
    assert most[0] == 3


def test_a_run_that_cannot_be_made_is_told_of_and_does_not_stop_the_rest(monkeypatch):
    async def trial(_system, scenario, *_):
        if scenario.name == "outage1":
            raise Failed("no network")
        return run()

    monkeypatch.setattr(batch, "run_trial", trial)
    told = []
    made = asyncio.run(
        batch.make(lacking([], 1), 2, Userspace(), on_run=lambda _: None, on_failure=told.append)
    )
    assert (len(made), len(told)) == (12, 4)
    assert "outage1, moqvox, seed 1: no network" in told
