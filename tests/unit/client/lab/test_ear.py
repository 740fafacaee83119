"""The audio oracle, asked about sounds whose story is known."""

import numpy as np
import pytest

from moqvox.media.codec import Decoder
from moqvox_client.lab.ear import BLOCK, RATE, compare, listen
from moqvox_client.speech.recordings import recording


@pytest.fixture(scope="module")
def packets():
    return recording("ill-disposed").opus


@pytest.fixture(scope="module")
def source(packets):
    decoder = Decoder(RATE, 1)
    pcm = b"".join(decoder.decode(packet) for packet in packets)
    return np.frombuffer(pcm, dtype="<i2")


def silence(ms):
    return np.zeros(RATE * ms // 1000, dtype="<i2")


def test_what_was_played_as_it_is_has_no_silence_and_misses_nothing(packets, source):
    heard = listen(np.concatenate((silence(137), source, silence(300))).tobytes(), packets)
    assert (heard.silence_ms, heard.missing_ms, heard.removed_ms) == (0, 0, 0)
    assert heard.found_ms > heard.source_ms / 2


def test_an_answer_in_two_responses_is_found_whole_if_told_where_the_second_begins(packets):
    parts = []
    for part in (packets[:53], packets[53:]):
        decoder = Decoder(RATE, 1)
        parts.append(np.frombuffer(b"".join(map(decoder.decode, part)), dtype="<i2"))
    played = np.concatenate((parts[0], silence(800), parts[1])).tobytes()
    heard = listen(played, packets, begins=[0, 53])
    assert (heard.missing_ms, heard.strange_ms) == (0, 0)
    assert heard.longest_ms == pytest.approx(800, abs=1)
    unaware = listen(played, packets)
    assert unaware.missing_ms > 0
    assert unaware.strange_ms is not None
    assert unaware.strange_ms > 0


@pytest.mark.parametrize("ms", [40, 400, 2900])
def test_inserted_silence_is_measured(source, ms):
    cut = 60 * BLOCK
    played = np.concatenate((source[:cut], silence(ms), source[cut:]))
    heard = compare(played.astype(float), source.astype(float))
    assert heard.silence_ms == pytest.approx(ms, abs=1)
    assert heard.longest_ms == heard.silence_ms
    assert heard.missing_ms == 0


def test_audio_that_was_left_out_is_missing(source):
    played = np.concatenate((source[: 40 * BLOCK], source[60 * BLOCK :]))
    heard = compare(played.astype(float), source.astype(float))
    assert heard.missing_ms + heard.removed_ms >= 400
    assert heard.missing_ms > 0
    assert heard.silence_ms == 0


def test_audio_that_was_replaced_by_silence_is_missing_not_inserted(source):
    played = source.copy()
    played[40 * BLOCK : 60 * BLOCK] = 0
    heard = compare(played.astype(float), source.astype(float))
    assert heard.missing_ms > 200
    assert heard.silence_ms == 0


def test_nothing_played_is_all_missing(source):
    heard = compare(np.zeros(0), source.astype(float))
    assert heard.found_ms == 0
    assert heard.missing_ms > 1000


def test_a_pause_costs_its_length_less_what_was_in_hand(source, packets):
    """Frames in real time, 100 ms ahead of playback; 40 frames in, nothing comes for 600 ms."""
    frame_ns, ahead_ns, gap_ns = 20_000_000, 100_000_000, 600_000_000
    began_ns = 10**12
    arrived = [
        began_ns + n * frame_ns - ahead_ns + (gap_ns if n >= 40 else 0) for n in range(len(packets))
    ]
    cut = 40 * BLOCK
    played = np.concatenate((source[:cut], silence(520), source[cut:]))
    heard = listen(played.tobytes(), packets, arrived, began_ns)
    assert heard.expected_ms == pytest.approx(500, abs=2)  # 620 less 120 in hand
    assert heard.undue_ms == pytest.approx(20, abs=2)
    assert heard.longest_ms == pytest.approx(520, abs=1)


def test_audio_that_is_played_faster_is_altered_not_missing(source):
    """A splice of 10 ms every half second, joined in a cross-fade of 5 ms, as playback does."""
    played, step, gone, fade = [], RATE // 2, RATE // 100, RATE // 200
    ramp = (np.arange(fade) + 0.5) / fade
    rest = source.astype(float)
    while len(rest) > step + gone + fade:
        head, after = rest[:step], rest[step + gone :]
        joined = np.rint(rest[step : step + fade] * (1 - ramp) + after[:fade] * ramp)
        played += [head, joined]
        rest = after[fade:]
    heard = compare(np.concatenate([*played, rest]), source.astype(float))
    assert (heard.missing_ms, heard.strange_ms, heard.silence_ms) == (0, 0, 0)
    assert heard.removed_ms == 10 * (len(played) // 2)


@pytest.mark.parametrize("gone", [240, 600, 720])
def test_what_is_left_out_without_a_cross_fade_is_missing(source, gone):
    cut = 60 * BLOCK
    heard = compare(np.concatenate((source[:cut], source[cut + gone :])), source.astype(float))
    assert heard.missing_ms == pytest.approx(gone / 48, abs=0.1)
    assert heard.removed_ms == 0


def test_of_two_pauses_the_one_counts_that_had_to_cost_more(source, packets):
    """600 ms with 400 ms in hand, then 300 ms with all but nothing in hand."""
    frame_ns, began_ns = 20_000_000, 10**12
    ahead_ns = 400 * 10**6
    first, second = 40, 50
    arrived = [
        began_ns
        + n * frame_ns
        - ahead_ns
        + (600 * 10**6 if n >= first else 0)
        + (300 * 10**6 if n >= second else 0)
        for n in range(len(packets))
    ]
    played = np.concatenate(
        (
            source[: first * BLOCK],
            silence(200),
            source[first * BLOCK : second * BLOCK],
            silence(300),
            source[second * BLOCK :],
        )
    )
    heard = listen(played.tobytes(), packets, arrived, began_ns)
    assert heard.longest_ms == pytest.approx(300, abs=1)
    assert (heard.expected_ms, heard.undue_ms) == (
        pytest.approx(300, abs=2),
        pytest.approx(0, abs=2),
    )


def test_a_silence_over_several_pauses_owes_what_each_of_them_costs(source, packets):
    """In real time up to the fortieth frame; then one every 100 ms, of five, and the rest at once.

    The one silence is as long as all five pauses: what came in between could have been played.
    """
    frame_ns, began_ns, first = 20_000_000, 10**12, 40
    dry_ns = began_ns + first * frame_ns
    arrived = [began_ns + n * frame_ns for n in range(first)]
    arrived += [dry_ns + (k + 1) * 100_000_000 for k in range(5)]
    arrived += [arrived[-1]] * (len(packets) - len(arrived))
    cut = first * BLOCK
    played = np.concatenate((source[:cut], silence(500), source[cut:]))
    heard = listen(played.tobytes(), packets, arrived, began_ns)
    assert heard.longest_ms == pytest.approx(500, abs=1)
    assert heard.expected_ms == pytest.approx(100 + 4 * 80, abs=1)
    assert heard.undue_ms == pytest.approx(80, abs=1)


def test_no_silence_is_due_while_all_is_in_hand_and_the_longest_hides_no_other(source, packets):
    """All is there at the beginning but for the end, which a long silence has to wait for."""
    began_ns, first, last = 10**12, 40, 80
    arrived = [began_ns + (0 if n < last else 2_100_000_000) for n in range(len(packets))]
    played = np.concatenate(
        (
            source[: first * BLOCK],
            silence(60),
            source[first * BLOCK : last * BLOCK],
            silence(440),
            source[last * BLOCK :],
        )
    )
    heard = listen(played.tobytes(), packets, arrived, began_ns)
    assert (heard.longest_ms, heard.expected_ms) == (pytest.approx(440, abs=1),) * 2
    assert heard.undue_ms == pytest.approx(60, abs=1)


def test_a_pause_before_anything_that_can_be_told_apart_is_not_held_against_the_ear(
    source, packets
):
    """The first frame, which is quiet, and then nothing for a second."""
    frame_ns, began_ns = 20_000_000, 10**12
    arrived = [began_ns + n * frame_ns + (10**9 if n else 0) for n in range(len(packets))]
    played = np.concatenate((source[:BLOCK], silence(1100), source[BLOCK:]))
    heard = listen(played.tobytes(), packets, arrived, began_ns)
    assert (heard.longest_ms, heard.expected_ms) == (0, 0)


def test_a_few_frames_between_two_silences_are_heard_and_the_silences_are_two(source):
    first, second = 60 * BLOCK, 62 * BLOCK
    played = np.concatenate(
        (source[:first], silence(130), source[first:second], silence(470), source[second:])
    )
    heard = compare(played.astype(float), source.astype(float))
    assert (heard.missing_ms, heard.altered_ms) == (0, 0)
    assert heard.longest_ms == pytest.approx(470, abs=1)
    assert heard.silence_ms == pytest.approx(600, abs=1)


def test_frames_between_two_silences_that_were_resampled_are_missing(source):
    """Playback never resamples: what is no splice passes for nothing else."""
    first, second = 60 * BLOCK, 63 * BLOCK
    spoken = source[first:second].astype(float)
    slower = np.interp(np.arange(0, len(spoken) - 1, 0.8), np.arange(len(spoken)), spoken)
    parts = [source[:first], silence(130), np.rint(slower), silence(470), source[second:]]
    heard = compare(np.concatenate(parts), source.astype(float))
    assert heard.missing_ms == pytest.approx(60, abs=0.5)
    assert heard.strange_ms == pytest.approx(75, abs=1)


def test_nothing_played_after_the_last_word_is_taken_for_a_word(source):
    noise = np.full(BLOCK, 3000, dtype="<i2")
    heard = compare(np.concatenate((source, silence(100), noise)), source.astype(float))
    assert (heard.missing_ms, heard.strange_ms) == (0, 20)


def test_a_source_that_says_nothing_is_heard_without_a_silence(packets, source):
    """Its first frames are too quiet for a pause among them to count."""
    heard = listen(np.concatenate((silence(40), source[: 2 * BLOCK])).tobytes(), packets[:2])
    assert (heard.missing_ms, heard.strange_ms, heard.longest_ms) == (0, 0, 0)
