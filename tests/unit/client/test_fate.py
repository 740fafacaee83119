from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moqvox_client.fate import Burst, Cause, Direction, Impairment, Lane, Outage, Outages


def lane(impairment, *, seed=1, direction=Direction.UP, outages=()):
    return Lane(direction, impairment, Outages(outages), seed)


def fates(subject, count, *, gap=0.02, size=100):
    return [subject.admit(number * gap, size) for number in range(count)]


def lost(results):
    return [number for number, releases in enumerate(results) if not releases]


def test_perfect_link_releases_at_once_and_in_order():
    assert fates(lane(Impairment()), 5) == [[n * 0.02] for n in range(5)]


@pytest.mark.parametrize("percent", [1, 10, 30])
def test_loss_is_as_much_as_was_asked_for(percent):
    subject = lane(Impairment(loss=percent))
    missing = len(lost(fates(subject, 10_000)))
    assert subject.tally.dropped == {Cause.LOSS: missing}
    assert abs(missing / 100 - percent) < 1.0


def test_same_seed_same_fate_and_another_seed_another():
    settings = Impairment(loss=10, jitter_ms=5, reorder=5, duplicate=5)
    first, again, other = (fates(lane(settings, seed=seed), 500) for seed in (3, 3, 4))
    assert first == again
    assert first != other


def test_directions_draw_from_their_own_streams():
    up = lost(fates(lane(Impairment(loss=20)), 300))
    down = lost(fates(lane(Impairment(loss=20), direction=Direction.DOWN), 300))
    assert up != down


def test_nth_datagram_meets_the_same_loss_whatever_else_is_switched_on():
    plain = lost(fates(lane(Impairment(loss=10)), 1000))
    busy = Impairment(
        loss=10, jitter_ms=9, reorder=20, duplicate=20, burst=Burst(1e8, 1), delay_ms=50
    )
    assert lost(fates(lane(busy), 1000)) == plain
    paused = lane(Impairment(loss=10), outages=[Outage(4.0, 2.0)])
    outside = [n for n in lost(fates(paused, 1000)) if not 4.0 <= n * 0.02 < 6.0]
    assert outside == [n for n in plain if not 4.0 <= n * 0.02 < 6.0]


def test_jitter_adds_within_its_bound_and_keeps_order():
    releases = [r[0] for r in fates(lane(Impairment(delay_ms=50, jitter_ms=30)), 500, gap=0.005)]
    assert all(a <= b for a, b in pairwise(releases))
    added = [release - n * 0.005 for n, release in enumerate(releases)]
    assert min(added) >= 0.05
    assert max(added) <= 0.08 + 1e-9


def test_reordered_datagrams_are_overtaken():
    subject = lane(Impairment(delay_ms=10, reorder=10, reorder_ms=50))
    releases = [r[0] for r in fates(subject, 1000)]
    overtaken = sum(a > b for a, b in pairwise(releases))
    assert 50 < overtaken < 150
    assert subject.tally.reordered >= overtaken


def test_duplicates_come_out_twice():
    subject = lane(Impairment(duplicate=10))
    twice = sum(len(r) == 2 for r in fates(subject, 1000))
    assert subject.tally.duplicated == twice
    assert 60 < twice < 140


def test_rate_spaces_datagrams_and_full_queue_drops():
    subject = lane(Impairment(rate_kbps=80, queue_ms=100))  # 1000 bytes take 100 ms
    results = [subject.admit(0.0, 1000) for _ in range(4)]
    assert results == [[pytest.approx(0.1)], [pytest.approx(0.2)], [], []]
    assert subject.tally.dropped == {Cause.QUEUE: 2}
    assert subject.admit(1.0, 1000) == [pytest.approx(1.1)]


def test_outage_loses_what_enters_it_and_nothing_else():
    subject = lane(Impairment(delay_ms=30), outages=[Outage(1.0, 0.5)])
    results = fates(subject, 100)
    assert lost(results) == list(range(50, 75))
    assert subject.tally.dropped == {Cause.OUTAGE: 25}
    assert results[49] == [pytest.approx(1.01)]  # it was past the radio when that died


def test_outages_may_overlap_and_come_in_any_order():
    outages = Outages([Outage(5.0, 1.0), Outage(1.0, 9.0)])
    outages.add(Outage(20.0, 1.0))
    alive = [t for t in range(25) if not outages.dead(float(t))]
    assert alive == [0, *range(10, 20), 21, 22, 23, 24]


def test_impossible_and_too_many_outages_are_refused():
    outages = Outages()
    with pytest.raises(ValueError, match="an outage of 0 s"):
        outages.add(Outage(1.0, 0))
    for n in range(1000):
        outages.add(Outage(float(n), 0.5))
    with pytest.raises(ValueError, match="more than 1000 outages"):
        outages.add(Outage(1.0, 1.0))
    assert not outages.dead(900.7)  # what is over makes room
    outages.add(Outage(901.0, 1.0))


def test_bursts_lose_in_spells_of_the_asked_length_and_share():
    subject = lane(Impairment(burst=Burst(900, 100)))
    missing = lost(fates(subject, 50_000, gap=0.002))
    runs = 1 + sum(b - a > 1 for a, b in pairwise(missing))
    assert 0.07 < len(missing) / 50_000 < 0.13
    assert 35 < len(missing) / runs < 70  # 100 ms are 50 datagrams
    assert subject.tally.dropped == {Cause.BURST: len(missing)}


def test_bursts_last_in_time_not_in_datagrams():
    settings = Impairment(burst=Burst(900, 100))
    dense = lost(fates(lane(settings), 20_000, gap=0.002))
    sparse = lost(fates(lane(settings), 2_000, gap=0.02))
    assert {n * 10 for n in sparse} <= set(dense)


def test_long_silence_costs_no_work():
    subject = lane(Impairment(burst=Burst(1, 1)))
    subject.admit(0.0, 100)
    subject.admit(1e9, 100)
    assert subject.tally.in_packets == 2


def test_impairments_can_change_on_the_way():
    subject = lane(Impairment(delay_ms=100))
    assert subject.admit(0.0, 10) == [pytest.approx(0.1)]
    subject.impairment = Impairment()
    assert subject.admit(0.01, 10) == [pytest.approx(0.1)]  # never overtakes
    assert subject.admit(0.5, 10) == [0.5]
    subject.impairment = Impairment(loss=100)
    assert subject.admit(0.6, 10) == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loss": 101}, "loss of 101 %"),
        ({"loss": float("nan")}, "loss of nan %"),
        ({"delay_ms": -1}, "delay_ms of -1"),
        ({"rate_kbps": -5}, "rate_kbps of -5"),
        ({"burst": Burst(0, 10)}, "mean good spell of 0 ms"),
        ({"burst": Burst(10, 10, 200)}, "burst loss of 200 %"),
    ],
)
def test_impossible_impairments_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Impairment(**settings)


percents = st.floats(0, 100)
impairments = st.builds(
    Impairment,
    loss=percents,
    burst=st.none() | st.builds(Burst, st.floats(1, 1e4), st.floats(1, 1e4), percents),
    delay_ms=st.floats(0, 500),
    jitter_ms=st.floats(0, 500),
    rate_kbps=st.floats(0, 1e5),
    reorder=percents,
    duplicate=percents,
)


@given(
    impairments,
    st.integers(0, 2**32),
    st.lists(st.tuples(st.floats(0, 5), st.integers(0, 65535)), max_size=30),
)
def test_every_datagram_is_released_later_or_counted_as_dropped(impairment, seed, arrivals):
    subject = lane(impairment, seed=seed, outages=[Outage(1.0, 1.0)])
    now, released = 0.0, 0
    for gap, size in arrivals:
        now += gap
        releases = subject.admit(now, size)
        assert all(release >= now for release in releases)
        released += bool(releases)
    tally = subject.tally
    assert tally.in_packets == len(arrivals) == released + sum(tally.dropped.values())
    assert tally.in_bytes == sum(size for _, size in arrivals)
