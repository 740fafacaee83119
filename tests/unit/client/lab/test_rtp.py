"""Packets of a strange encoder, numbered by their sound."""

import numpy as np
import pytest

from moqvox.media.codec import Decoder, Encoder, StreamEncoder
from moqvox_client.lab.rtp import number
from moqvox_client.speech.recordings import TRANSCRIPTS, recording

FRAME = 960
BASE = (1 << 32) - 5 * FRAME
"""A timestamp that soon wraps."""

PROMPT = recording(next(iter(TRANSCRIPTS))).opus[:60]


@pytest.fixture(scope="module")
def anew():
    """The prompt from its 10th frame and 600 samples on, encoded by another encoder."""
    decoder = Decoder(48_000, 1)
    sound = b"".join(decoder.decode(packet) for packet in PROMPT)
    return StreamEncoder(Encoder(48_000, 1, 32_000, 20)).push(sound[2 * (10 * FRAME + 600) :])


def packets(encoded):
    return [((BASE + n * FRAME) % (1 << 32), 1000 + n, one) for n, one in enumerate(encoded)]


def test_the_packet_that_has_a_frames_end_is_that_frame(anew):
    numbered = number(packets(anew), PROMPT)
    assert numbered == [(10 + n, 1000 + n) for n in range(len(anew))]


def test_what_is_lost_leaves_holes_and_shifts_nothing(anew):
    whole = dict(number(packets(anew), PROMPT))
    lost = {3, 4, 17}
    came = [one for n, one in enumerate(packets(anew)) if n not in lost]
    numbered = dict(number(came, PROMPT))
    assert numbered == {index: at for index, at in whole.items() if at - 1000 not in lost}


def test_packets_that_overtook_each_other_keep_their_numbers_and_times(anew):
    order = packets(anew)
    order[5], order[6] = order[6], order[5]
    assert dict(number(order, PROMPT)) == dict(number(packets(anew), PROMPT))


def test_what_is_not_the_prompt_has_no_number():
    noise = np.random.default_rng(1).integers(-9000, 9000, 30 * FRAME).astype("<i2").tobytes()
    encoded = StreamEncoder(Encoder(48_000, 1, 32_000, 20)).push(noise)
    assert number(packets(encoded), PROMPT) == []
    assert number([], PROMPT) == []


def test_a_timestamp_from_nowhere_costs_no_memory(anew):
    strays = [*packets(anew), ((BASE + (1 << 30)) % (1 << 32), 9, anew[0])]
    assert number(strays, PROMPT) == number(packets(anew), PROMPT)
