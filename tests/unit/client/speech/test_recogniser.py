import importlib.util
import io

import msgspec
import pytest

from moqvox_client.speech.orders import HEADER, MAX_PCM_BYTES, Hypothesis, Order
from moqvox_client.speech.recordings import recording
from moqvox_client.speech.wer import compare


@pytest.fixture(scope="module")
def module():
    if importlib.util.find_spec("pocketsphinx") is None:
        pytest.fail("pocketsphinx is missing; install the extra: pip install -e '.[demo]'")
    from moqvox_client.speech import recogniser

    return recogniser


@pytest.fixture(scope="module")
def recogniser(module):
    """Cuts speech after two seconds, so that a sentence has several parts."""
    return module.Recogniser(segment_s=2.0)


def order(kind, pcm=b""):
    return HEADER.pack(kind, len(pcm)) + pcm


def test_audio_needs_an_utterance_and_whole_samples(recogniser):
    with pytest.raises(ValueError, match="audio before its utterance was begun"):
        recogniser.feed(bytes(640))
    recogniser.begin()
    with pytest.raises(ValueError, match="641 bytes are not whole 16-bit samples"):
        recogniser.feed(bytes(641))
    assert recogniser.feed(b"") == ""
    assert recogniser.finish() == ""
    assert recogniser.finish() == ""


@pytest.mark.slow
def test_speech_without_an_end_is_understood_part_by_part(recogniser):
    made = recording("ill-disposed")
    recogniser.begin()
    for at in range(0, len(made.pcm), 1920):
        recogniser.feed(made.pcm[at : at + 1920])
    text = recogniser.finish()
    assert text.startswith("he was not")
    assert compare(made.transcript, text).rate <= 0.7
    assert len(recogniser._earlier) == 1


@pytest.mark.slow
def test_orders_are_answered_one_line_each_without_noise(module, recogniser, monkeypatch, capfd):
    monkeypatch.setattr(module, "Recogniser", lambda: recogniser)
    pcm = recording("amiable-himself").pcm
    audio = [order(Order.AUDIO, pcm[at : at + 60_000]) for at in (0, 60_000)]
    orders = [order(Order.BEGIN), *audio, order(Order.END)]
    answers = io.BytesIO()
    module.serve(io.BytesIO(b"".join(orders)), answers)
    began, early, heard, ended = (
        msgspec.json.decode(line, type=Hypothesis) for line in answers.getvalue().splitlines()
    )
    assert began == Hypothesis()
    assert 0 < len(early.text) < len(heard.text)
    assert not heard.final
    assert ended.text.startswith("he might")
    assert ended.final
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("orders", "message"),
    [
        (HEADER.pack(Order.AUDIO, MAX_PCM_BYTES + 1), "order of 64001 bytes; 64000 are allowed"),
        (HEADER.pack(9, 0), "9 is not a valid Order"),
    ],
)
def test_malformed_orders_are_refused(module, recogniser, monkeypatch, orders, message):
    monkeypatch.setattr(module, "Recogniser", lambda: recogniser)
    with pytest.raises(ValueError, match=message):
        module.serve(io.BytesIO(orders), io.BytesIO())
