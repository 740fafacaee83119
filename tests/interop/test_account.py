"""The accounts that decide a case must find every kind of damage."""

import random

import pytest
from interop.account import Frame, check_frames, check_packets
from interop.failure import Failure
from interop.payload import SIZES, digest, frame_payload, frame_timestamp_us, generation_of


def _frame(group, index, generation=1):
    payload = frame_payload(generation, group, index)
    at_us = frame_timestamp_us(group, index, 10)
    return Frame(group, index, len(payload), digest(payload), at_us)


SENT = [_frame(group, index) for group in range(3) for index in range(10)]


def test_the_same_frames_pass_whatever_the_order_of_groups():
    groups = [SENT[:10], SENT[10:20], SENT[20:]]
    random.Random(7).shuffle(groups)
    check_frames(SENT, [frame for group in groups for frame in group], timestamps=True)


@pytest.mark.parametrize(
    ("got", "verdict"),
    [
        (SENT[:-1], r"1 frames were lost: \(2, 9\)"),
        ([*SENT, SENT[4]], r"1 frames arrived twice: \(0, 4\)"),
        ([*SENT, _frame(7, 0)], r"nobody sent: \(7, 0\)"),
        ([*SENT[:-2], _frame(2, 8, generation=2), SENT[-1]], r"arrived altered: \(2, 8\)"),
        ([SENT[1], SENT[0], *SENT[2:]], r"out of order in their group: \(0, 0\)"),
        ([], "30 frames were lost: .* and more"),
    ],
    ids=["lost", "doubled", "foreign", "altered", "disordered", "nothing"],
)
def test_damage_is_found_and_named(got, verdict):
    with pytest.raises(Failure, match=verdict):
        check_frames(SENT, got, timestamps=True)


def test_nothing_sent_shows_nothing():
    with pytest.raises(Failure, match="nothing was shown"):
        check_frames([], [], timestamps=True)
    with pytest.raises(Failure, match="nothing was shown"):
        check_packets([], [])


def test_a_changed_timestamp_counts_only_where_the_version_carries_it():
    moved = Frame(0, 0, SENT[0].size, SENT[0].sha256, 1)
    check_frames(SENT, [moved, *SENT[1:]], timestamps=False)
    with pytest.raises(Failure, match=r"timestamps changed .*: \(0, 0, 1\)"):
        check_frames(SENT, [moved, *SENT[1:]], timestamps=True)


@pytest.mark.parametrize(
    ("got", "verdict"),
    [
        (["a", "c", "d"], "packet 1 of 4 came packet 2"),
        (["a", "a", "b", "c"], "packet 1 of 4 came a doubled one"),
        (["a", "x", "c", "d"], "packet 1 of 4 came an unknown one"),
        (["a", "b", "c"], "3 packets arrived of 4"),
        (["a", "b", "c", "d", "e"], "5 packets arrived of 4"),
    ],
)
def test_the_first_difference_between_packets_is_named(got, verdict):
    with pytest.raises(Failure, match=verdict):
        check_packets(["a", "b", "c", "d"], got)


def test_a_payload_tells_its_generation_and_no_two_are_alike():
    payloads = [frame_payload(g, n, i) for g in (1, 2) for n in range(3) for i in range(8)]
    large = [payload for payload in payloads if len(payload) >= 12]
    assert len(set(large)) == len(large)
    assert {generation_of(payload) for payload in large} == {1, 2}
    assert [len(frame_payload(1, 0, index)) for index in range(8)] == list(SIZES)
    assert generation_of(b"short") is None
