import msgspec
import pytest
from bench.moqrs.payload import Tally, packet, packet_bytes, read
from bench.plan import Sample, Setting, parse, settings
from bench.processes import Cores
from bench.report import rows, show
from bench.sessions import capacities
from bench.sweep import Outcome

from moqvox.media.opus import packet_duration_us


def plan(*arguments):
    return parse(
        arguments, summary="test", counts=(10, 50), quick_counts=(5,), limit_ms=100.0, groups=True
    )


def sample(system, count=10, repeat=0, *, deliveries=1000, cpu_s=0.1, p99_ms=20.0, **more):
    return Sample(
        Setting(system, count, 20, repeat),
        window_s=2.0,
        deliveries=deliveries,
        server_cpu_s=cpu_s,
        server_share=cpu_s / 2.0,
        p50_ms=p99_ms / 2,
        p99_ms=p99_ms,
        **more,
    )


def test_every_round_runs_all_systems_side_by_side_and_begins_with_another():
    runs = list(settings(plan("--system", "moqvox", "--system", "naive", "--frame-ms", "20")))
    first = [(run.count, run.system) for run in runs if run.repeat == 0]
    assert first == [(10, "moqvox"), (10, "naive"), (50, "moqvox"), (50, "naive")]
    assert [run.system for run in runs if run.repeat == 1][:2] == ["naive", "moqvox"]
    assert len(runs) == 3 * 2 * 2


def test_quick_is_one_short_round():
    quick = plan("--quick")
    assert (quick.repeats, quick.counts, quick.frames_ms) == (1, (5,), (20,))
    assert quick.budget_s < 60


def test_counts_are_tried_from_few_to_many():
    assert plan("-n", "70", "-n", "7").counts == (7, 70)


def test_a_late_server_is_saturated_only_when_it_was_busy():
    late = sample("naive", cpu_s=1.9, p99_ms=500.0)
    assert late.is_saturated(100.0)
    assert not sample("naive", cpu_s=0.5, p99_ms=500.0).is_saturated(100.0)
    assert not sample("naive", cpu_s=1.9, p99_ms=50.0).is_saturated(100.0)


def test_a_generator_at_its_end_stops_the_sweep_too():
    assert sample("moq-rs", load_share=0.97).is_saturated(100.0)
    assert Sample(Setting("naive", 1, 20, 0), failed="gone").is_saturated(100.0)


def test_deliveries_are_counted_by_second_and_by_cpu_second():
    one = sample("moqvox", deliveries=1000, cpu_s=0.1)
    assert one.deliveries_per_s == 500.0
    assert one.deliveries_per_cpu_s == pytest.approx(10_000.0)
    nothing = Sample(Setting("moqvox", 1, 20, 0), failed="gone")
    assert (nothing.deliveries_per_s, nothing.deliveries_per_cpu_s) == (0.0, 0.0)


def test_ratios_compare_runs_of_the_same_round():
    samples = [
        sample("moqvox", repeat=0, cpu_s=0.1),
        sample("naive", repeat=0, cpu_s=0.2),
        sample("naive", repeat=1, cpu_s=0.2),
        sample("moqvox", repeat=2, cpu_s=0.3),
        sample("naive", repeat=2, cpu_s=0.6),
    ]
    naive = next(row for row in rows(samples) if row.system == "naive")
    assert naive.repeats == 3
    assert naive.ours_to_it is not None
    assert naive.ours_to_it.median == pytest.approx(2.0)


def test_the_table_tells_failures_absentees_and_what_was_left_out():
    samples = [sample("moqvox"), Sample(Setting("naive", 10, 20, 0), failed="gone")]
    outcome = Outcome(samples, {"aiomoqt": "aiomoqt: no Python"}, 3, Cores(0, 1))
    shown = show(outcome, plan("--frame-ms", "20"))
    assert "1 failed" in shown
    assert "aiomoqt: no Python" in shown
    assert "3 runs left out" in shown


def test_capacity_is_the_largest_crowd_that_lost_nothing_and_was_on_time():
    samples = [
        sample("moqvox", 10),
        sample("moqvox", 20),
        sample("moqvox", 30, p99_ms=400.0),
        sample("naive", 10, lost=1),
    ]
    outcome = Outcome(samples, {}, 0, Cores(0, 1))
    words = capacities(outcome, plan("--system", "moqvox", "--system", "naive", "--frame-ms", "20"))
    assert words[0].startswith("moqvox, 20 ms: 20 sessions")
    assert words[1].startswith("naive, 20 ms: fewer than 10")


@pytest.mark.parametrize("frame_ms", [20, 60])
def test_a_stamped_frame_is_an_opus_packet_of_its_length(frame_ms):
    made = packet(7, frame_ms)
    assert len(made) == packet_bytes(frame_ms)
    assert packet_duration_us(made) == 1000 * frame_ms
    assert read(b"timestamp" + made, frame_ms)[0] == 7


def test_a_tally_counts_each_frame_of_the_window_once():
    tally = Tally(20)
    made = packet(3, 20)
    _, written_ns = read(made, 20)
    tally.add(made, live=True)
    tally.add(made, live=False)
    assert tally.within(written_ns, written_ns + 1) == {3}
    assert tally.within(written_ns + 1, written_ns + 2) == set()
    delays = list(tally.delays_ms(written_ns, written_ns + 1))
    assert len(delays) == 1
    assert delays[0] >= 0


def test_samples_survive_json():
    one = sample("moqvox")
    assert msgspec.json.decode(msgspec.json.encode(one), type=Sample) == one
