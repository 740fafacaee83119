from bench.workers import Sample, compare, settings


def sample(workers, subscribers, cpu_us, *, packets=1.0, repeat=0):
    return Sample(
        workers,
        repeat,
        subscribers=subscribers,
        deliveries=1000,
        lost=0,
        cpu_us=cpu_us,
        packets=packets,
        beside_us=0.0,
        shares=[1 / workers] * workers,
        sessions=[subscribers // workers] * workers,
        misdirected=0,
        p99_ms=5.0,
    )


def test_several_workers_stand_beside_one_with_all_and_one_with_its_share():
    assert settings([2], 100) == [(2, 100), (1, 100), (1, 50)]
    assert settings([2, 4], 100) == [(2, 100), (1, 100), (1, 50), (4, 100), (1, 25)]


def test_runs_are_compared_with_those_of_their_own_round():
    samples = [sample(2, 100, 90.0), sample(1, 100, 100.0), sample(1, 50, 75.0)]
    samples += [sample(2, 100, 80.0, repeat=1), sample(1, 100, 50.0, repeat=1)]
    together, alike = compare(samples)
    assert (together.beside, together.deliveries) == (100, [0.9, 1.6])
    assert (alike.beside, alike.deliveries) == (50, [1.2])


def test_a_process_that_fell_behind_is_compared_by_its_packets():
    samples = [sample(2, 100, 90.0), sample(1, 100, 60.0, packets=0.5)]
    (found,) = compare(samples)
    assert found.deliveries == [1.5]
    assert found.packets == [0.75]
    assert "2 workers with 100 cost 1.50 [1.50 to 1.50] times" in found.words
