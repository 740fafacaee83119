"""Copies of live bytes: when they are made, how many, and what they win."""

import statistics

import pytest
from tests.unit.transport.aioquic.speech import FRAME_BYTES, Talk, bursty, lossy

from moqvox.transport.aioquic import Limits


def lose_once(talk: Talk) -> None:
    fates = iter([True])
    talk.lose = lambda: next(fates, False)


def test_a_clean_path_carries_no_copies():
    talk = Talk()
    talk.speak(60)
    talk.run(1.0)
    assert talk.client.redundancy.copied_bytes == 0
    assert len(talk.heard_at) == 60


def test_a_clean_path_is_not_even_watched():
    talk = Talk()
    talk.speak(20)
    assert not talk.client.redundancy.is_active
    assert talk.client.table.take_live() == []
    lose_once(talk)
    talk.speak(20)
    assert talk.client.redundancy.is_active
    talk.speak(260)
    assert not talk.client.redundancy.is_active
    assert talk.client.table.take_live() == []


def test_the_first_loss_starts_copies_and_a_clean_while_ends_them():
    talk = Talk()
    talk.speak(10)
    lose_once(talk)
    talk.speak(20)
    assert talk.client.redundancy.copied_bytes > 0
    talk.speak(260)
    before = talk.client.redundancy.copied_bytes
    talk.speak(20)
    assert talk.client.redundancy.copied_bytes == before


def test_no_more_is_copied_than_the_budget_allows():
    talk = lossy(1, 0.2, redundancy=1.0, frames=100)
    copied = talk.client.redundancy.copied_bytes
    assert 50 * FRAME_BYTES < copied <= 100 * FRAME_BYTES + 4096


def test_nothing_is_copied_when_it_is_switched_off():
    talk = lossy(1, 0.1, redundancy=0.0, frames=60)
    assert talk.client.redundancy.copied_bytes == 0
    assert len(talk.heard_at) == 60


def test_streams_of_low_priority_are_not_copied():
    talk = Talk(limits=Limits(redundant_below=0))
    lose_once(talk)
    talk.speak(50)
    assert talk.client.redundancy.copied_bytes == 0


def test_bulk_is_not_copied_whatever_its_priority():
    talk = Talk()
    stream = talk.client.open_stream(bidirectional=False, priority=0)
    lose_once(talk)
    for _ in range(20):
        talk.client.table.feed(stream, bytes(6000), fin=False)
        talk.run(0.02)
    assert talk.client.recovery.lost_packets > 0
    assert talk.client.redundancy.copied_bytes == 0


def test_the_last_words_are_copied_although_nothing_follows():
    talk = Talk()
    talk.speak(10)
    lose_once(talk)
    talk.speak(12)
    spoken = len(talk.spoken_at)
    fates = iter([True])
    talk.lose = lambda: next(fates, False)
    talk.speak(1)
    talk.run(1.0)
    assert talk.heard_at[spoken] - talk.spoken_at[spoken] - talk.delay < 0.03


def test_random_loss_is_hardly_heard():
    assert lossy(3, 0.05, redundancy=2.0, frames=100).lateness_p99() <= 0.125


@pytest.mark.slow
@pytest.mark.parametrize(("loss", "bound"), [(0.05, 0.045), (0.1, 0.085)])
def test_the_median_lateness_in_order_is_a_fraction_of_plain_recoverys(loss, bound):
    plain = [lossy(seed, loss, redundancy=0.0) for seed in range(5)]
    copied = [lossy(seed, loss, redundancy=2.0) for seed in range(5)]
    before = statistics.median(talk.lateness_p99() for talk in plain)
    after = statistics.median(talk.lateness_p99() for talk in copied)
    assert after <= bound < before / 2
    size = [talk.sent_bytes + 28 * talk.sent_datagrams for talk in plain + copied]
    assert statistics.median(size[5:]) <= 2.2 * statistics.median(size[:5])


@pytest.mark.slow
def test_bursts_cost_less_than_with_plain_recovery():
    plain = statistics.median(bursty(n, redundancy=0.0).lateness_p99() for n in range(5))
    copied = statistics.median(bursty(n, redundancy=2.0).lateness_p99() for n in range(5))
    assert copied < plain
