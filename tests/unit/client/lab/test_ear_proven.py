"""The audio oracle, proven: it finds all of a playout that is whole, and sees each misdeed."""

import functools
import random

import numpy as np
import pytest
from tests.unit.client.lab.bursts import MISDEEDS, TICK_MS, Playing, in_bursts

from moqvox.media.codec import Decoder
from moqvox.media.decision import Policy, Reason, Remove, Repeat, Silence
from moqvox_client.lab.ear import BLOCK, RATE, compare, listen
from moqvox_client.speech.recordings import recording

FRAMES = 80
SEEDS = (0, 12, 33, 37, 52, 56)
"""Of the first 60 those with the most splices."""
SPELLS = ((400, 400), (200, 200), (800, 300))


@functools.cache
def source():
    decoder = Decoder(RATE, 1)
    pcm = b"".join(decoder.decode(packet) for packet in packets())
    return np.frombuffer(pcm, "<i2").astype(float)


@functools.cache
def packets():
    return list(recording("ill-disposed").opus[20 : 20 + FRAMES])


@functools.cache
def playing(seed):
    rng = random.Random(seed)
    arrivals = in_bursts(rng, FRAMES, *rng.choice(SPELLS))
    return Playing(packets(), arrivals, rng.uniform(0, 20))


@functools.cache
def whole(seed):
    return compare(playing(seed).sound, source())


def undue_ms(seed, **rules):
    """How far the silence is beyond what was due, of that where it is furthest."""
    rng = random.Random(seed)
    arrivals = in_bursts(rng, FRAMES, *rng.choice(SPELLS))
    played = Playing(packets(), arrivals, rng.uniform(0, 20), Policy(**rules))
    arrived = [10**12 + int(1e6 * at) for at in arrivals]
    began_ns = 10**12 + int(1e6 * played.began_ms)
    return listen(played.pcm, packets(), arrived, began_ns).undue_ms


@pytest.mark.parametrize("seed", SEEDS)
def test_a_playout_through_bursts_of_loss_is_found_whole_and_to_the_sample(seed):
    """Whatever it re-buffered and stretched; the oracle and the counters agree."""
    played = playing(seed)
    heard = whole(seed)
    assert (heard.missing_ms, heard.strange_ms) == (0, 0)
    assert heard.removed_ms == pytest.approx(played.samples(Remove) / 48, abs=0.06)
    assert heard.repeated_ms == pytest.approx(played.samples(Repeat) / 48, abs=0.06)
    waits = [
        each.samples
        for each in played.decisions
        if isinstance(each, Silence) and each.reason is Reason.UNDERRUN
    ]
    assert heard.silence_ms == pytest.approx(sum(waits) / 48, abs=0.06)


@pytest.mark.parametrize("tens", range(4))
def test_no_silence_in_bursts_of_loss_is_longer_than_was_due_but_for_a_pull(tens):
    """Audio that is there sounds at the next pull, also where one silence spans several pauses."""
    for seed in range(10 * tens, 10 * tens + 10):
        assert undue_ms(seed) <= TICK_MS + 0.1, seed


def test_a_playout_that_withholds_what_is_in_hand_after_a_relapse_is_seen():
    assert max(undue_ms(seed, relapses_borne=0) for seed in (0, 4, 38)) > 2 * TICK_MS


def test_these_playouts_wait_and_run_faster_and_slower():
    waits = [each for seed in SEEDS for each in playing(seed).decisions if type(each) is Silence]
    assert len(waits) > 2 * len(SEEDS)
    assert sum(playing(seed).samples(Remove) > 0 for seed in SEEDS) >= 2
    assert sum(playing(seed).samples(Repeat) > 0 for seed in SEEDS) >= 2


@pytest.mark.parametrize("misdeed", MISDEEDS)
def test_no_misdeed_passes_unseen_not_even_where_playback_stretches_and_waits(misdeed):
    """To a frame that was spliced, to one before a silence, and to any."""
    for seed in SEEDS:
        played = playing(seed)
        rng = random.Random(seed)
        spans = played.spans()
        inner = range(1, FRAMES - 2)
        after = {index: spans[index + 1][0] - spans[index][1] for index in inner}
        spliced = [
            index
            for index in inner
            if spans[index][1] - spans[index][0] != BLOCK or 0 < after[index] < BLOCK
        ]
        last = [index for index in inner if after[index] >= BLOCK]
        for index in (rng.choice(spliced or [1]), rng.choice(last or [2]), rng.choice(inner)):
            heard = compare(MISDEEDS[misdeed](played.sound, *spans[index]), source())
            seen = heard.missing_ms + (heard.strange_ms or 0)
            if misdeed == "broken by silence":
                seen += heard.silence_ms - whole(seed).silence_ms
            assert seen >= 4, (seed, index, heard)
            if misdeed == "left out":  # of a spliced one, a part may sound in the splice
                assert heard.missing_ms >= (10 if index in spliced else 19.9), (seed, index, heard)
