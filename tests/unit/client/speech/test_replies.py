import datetime

import pytest

from moqvox_client.speech import replies
from moqvox_client.speech.replies import Brain, count_to, number_of, tell_time


def at(hour, minute):
    return datetime.datetime(2026, 11, 21, hour, minute, tzinfo=datetime.UTC)


@pytest.fixture
def brain():
    return Brain(lambda: at(16, 5))


@pytest.mark.parametrize(
    ("heard", "answer"),
    [
        ("what time is it", "It is 5 minutes past 4 in the afternoon."),
        ("count to three", "1, 2, 3."),
        ("please count up to five now", "1, 2, 3, 4, 5."),
        ("Count to 4!", "1, 2, 3, 4."),
        ("tell me about quic", replies.ABOUT_QUIC),
        ("tell me more about media over quick please", replies.ABOUT_QUIC),
        ("hello there", replies.HELLO),
        ("what can you do", replies.HELLO),
        ("goodbye", replies.GOODBYE),
        ("repeat after me go forward", "go forward."),
        ("go forward ten meters", "I heard: go forward ten meters."),
        ("he told a story", "I heard: he told a story."),
        ("", replies.NOT_HEARD),
        ("...", replies.NOT_HEARD),
    ],
)
def test_each_request_has_its_answer(brain, heard, answer):
    assert brain.reply(heard) == answer


def test_jokes_are_told_one_after_the_other_and_then_again(brain):
    told = [brain.reply("tell me another joke") for _ in range(len(replies.JOKES) + 1)]
    assert told == [*replies.JOKES, replies.JOKES[0]]


def test_what_was_said_before_is_remembered_by_each_conversation_alone(brain):
    assert brain.reply("what did i say") == "You have said nothing before."
    brain.reply("Go forward!")
    assert brain.reply("what did i say") == "You said: go forward."
    assert brain.reply("say that again") == "You said: go forward."
    assert Brain().reply("what did i say") == "You have said nothing before."


@pytest.mark.parametrize(
    ("words", "number"),
    [
        ("ten", 10),
        ("twenty five please", 25),
        ("ninety nine", 99),
        ("a hundred", 100),
        ("two hundred", 200),
        ("25", 25),
        ("please", None),
        ("", None),
        ("9" * 5000, 999_999_999),
    ],
)
def test_numbers_are_read_from_words_and_digits(words, number):
    assert number_of(words) == number


def test_counting_has_a_bound():
    assert count_to(100).endswith("99, 100.")
    assert count_to(101) == "I count to any number from 1 to 100, not to 101."
    assert count_to(0) == "I count to any number from 1 to 100, not to 0."
    assert count_to(None) == "Count to which number?"


@pytest.mark.parametrize(
    ("hour", "minute", "text"),
    [
        (0, 0, "It is 12 o'clock at night."),
        (9, 1, "It is 1 minute past 9 in the morning."),
        (12, 30, "It is 30 minutes past 12 in the afternoon."),
        (23, 59, "It is 59 minutes past 11 at night."),
    ],
)
def test_time_is_told_as_people_say_it(hour, minute, text):
    assert tell_time(at(hour, minute)) == text


def test_the_long_speech_is_long_enough_to_be_interrupted():
    assert len(replies.ABOUT_QUIC.split()) > 150
