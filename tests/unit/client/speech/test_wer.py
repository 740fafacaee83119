import pytest
from hypothesis import given
from hypothesis import strategies as st

from moqvox_client.speech.wer import WordErrors, compare, normalise

texts = st.lists(st.sampled_from(["go", "forward", "ten", "meters", "now"]), max_size=8).map(
    " ".join
)


@pytest.mark.parametrize(
    ("said", "heard", "errors", "words"),
    [
        ("go forward ten meters", "go forward ten meters", 0, 4),
        ("go forward ten meters", "go forward ten years", 1, 4),
        ("go forward ten meters", "go ten meters", 1, 4),
        ("go forward ten meters", "go far forward ten meters", 1, 4),
        ("go forward", "", 2, 2),
        ("", "go", 1, 0),
        ("", "", 0, 0),
    ],
)
def test_each_word_exchanged_left_out_or_put_in_is_one_error(said, heard, errors, words):
    assert compare(said, heard) == WordErrors(errors, words)


def test_case_punctuation_and_hyphens_do_not_count():
    assert normalise("He was NOT an ill-disposed\u2014young man; it\u2019s") == [
        *("he", "was", "not", "an", "ill", "disposed", "young", "man", "it's"),
    ]


def test_rate_is_errors_per_word_and_one_for_words_out_of_nothing():
    assert WordErrors(3, 12).rate == 0.25
    assert WordErrors(2, 0).rate == 1.0
    assert WordErrors(0, 0).rate == 0.0
    assert (WordErrors(1, 4) + WordErrors(2, 8)).rate == 0.25


@given(texts, texts)
def test_errors_are_symmetric_and_between_the_difference_and_the_longer_length(said, heard):
    errors = compare(said, heard).errors
    a, b = len(said.split()), len(heard.split())
    assert errors == compare(heard, said).errors
    assert abs(a - b) <= errors <= max(a, b)
    assert (errors == 0) == (said == heard)
