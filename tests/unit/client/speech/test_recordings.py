import importlib.resources

import numpy as np
import pytest

from moqvox.errors import LocalError
from moqvox.media.codec import Decoder
from moqvox_client.speech.recordings import MAIN, TRANSCRIPTS, main_recording, recording


@pytest.mark.parametrize("name", TRANSCRIPTS)
def test_each_recording_is_speech_of_a_few_seconds_in_a_small_file(name):
    made = recording(name)
    samples = np.frombuffer(made.pcm, "<i2").astype(float)
    assert 2500 <= made.duration_ms <= 8000
    assert made.duration_ms == len(samples) / 16
    assert 300 < np.sqrt(np.mean(samples**2)) < 10_000
    clip = importlib.resources.files("moqvox_client.speech") / "clips" / f"{name}.ogg"
    assert len(clip.read_bytes()) <= 60_000


def test_the_packets_are_the_recording():
    made = main_recording()
    decoder = Decoder(made.sample_rate)
    assert made.pcm in b"".join(decoder.decode(packet) for packet in made.opus)


def test_the_demo_speaks_a_sentence_of_four_to_eight_seconds():
    assert main_recording() == recording(MAIN)
    assert 4000 <= main_recording().duration_ms <= 8000
    assert main_recording().transcript.startswith("Had he married")


def test_every_recording_is_credited():
    credits = (importlib.resources.files("moqvox_client.speech") / "README.md").read_text("utf-8")
    for name, transcript in TRANSCRIPTS.items():
        assert f"`{name}`" in credits
        assert transcript in credits


def test_an_unknown_recording_is_refused_with_the_known_names():
    with pytest.raises(LocalError, match="no recording 'x'; there are amiable-woman, "):
        recording("x")
