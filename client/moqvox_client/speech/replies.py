"""What the demo agent answers: a few rules, no model."""

import datetime
import re
from collections.abc import Callable
from typing import Final

from moqvox_client.speech.wer import normalise

__all__ = ["Brain", "local_time", "number_of"]

MAX_COUNT: Final = 100

NOT_HEARD: Final = "I did not catch that. Ask me for the time, a joke, or to count to ten."

HELLO: Final = (
    "Hello, I am the demo agent of moqvox. Ask me for the time, for a joke, to count to twenty, "
    "or to tell you about QUIC. Say anything else, and I repeat what I heard."
)

GOODBYE: Final = "Goodbye."

JOKES: Final = (
    "I would tell you a joke about UDP, but you might not get it.",
    "A packet walks into a bar. The barman says: we do not serve duplicates here.",
    "There are two hard problems in streaming. Exactly once delivery, and, exactly once delivery.",
    "Why did the datagram cross the road? Nobody knows, it never reported back.",
)

ABOUT_QUIC: Final = (
    "QUIC is a transport on top of UDP. Let me tell you about it at some length, and interrupt "
    "me whenever you have heard enough. "
    "A connection carries many streams, and each stream is delivered whole and in order. When a "
    "packet is lost, only the streams that had data in it wait for it; the others go on. "
    "Encryption is part of the protocol, so that the first round trip agrees on keys and "
    "parameters at once. "
    "A connection is not tied to an address. When your telephone leaves the house and its "
    "network, the connection moves with it, and nothing that was said is lost. "
    "Media over QUIC puts live media on those streams. A publisher announces a broadcast, a "
    "broadcast has tracks, and a track is cut into groups. Here, each thing you say is one "
    "group on one stream, and so is each thing that I say. "
    "Nothing in a group is thrown away for being late, because a sentence with a hole in it is "
    "a different sentence. "
    "My answers are made much faster than you can listen. They are sent at once and wait on "
    "your side, so that a gap in the network goes by unheard. When you interrupt me, what is "
    "left is dropped there and then, and I am told how much of it you really heard. "
    "That is all there is to it."
)

_UNITS: Final = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen eighteen nineteen"
)
_TENS: Final = "twenty thirty forty fifty sixty seventy eighty ninety"
_VALUES: Final = {
    **{word: value for value, word in enumerate(_UNITS.split())},
    **{word: 10 * value for value, word in enumerate(_TENS.split(), 2)},
}

_TIME: Final = re.compile(r"\b(what time|the time)\b")
_COUNT: Final = re.compile(r"\bcount (?:up )?to (?P<number>.+)")
_ABOUT: Final = re.compile(r"\babout (?:media over )?(?:quic|quick)\b")
_JOKE: Final = re.compile(r"\b(?:a|another) joke\b")
_REPEAT: Final = re.compile(r"\b(?:say that again|repeat that|what did i say)\b")
_ECHO: Final = re.compile(r"^(?:repeat after me|say) (?P<words>.+)")
_HELLO: Final = re.compile(r"^(?:hello|hi|good morning|help)\b|\b(?:who are you|what can you do)\b")
_GOODBYE: Final = re.compile(r"^(?:goodbye|bye bye|stop|be quiet)\b")


def local_time() -> datetime.datetime:
    """Tell the time of day here."""
    return datetime.datetime.now().astimezone()


class Brain:
    """One conversation: remembers what was said last and which jokes are told.

    Args:
        clock: tells the time of day.
    """

    def __init__(self, clock: Callable[[], datetime.datetime] = local_time) -> None:
        self._clock = clock
        self._last = ""
        self._jokes_told = 0

    def reply(self, transcript: str) -> str:
        """Answer what was heard; text that fits no rule is repeated."""
        heard = " ".join(normalise(transcript))
        if not heard:
            return NOT_HEARD
        if _REPEAT.search(heard):
            return f"You said: {self._last}." if self._last else "You have said nothing before."
        self._last = heard
        return self._answer(heard)

    def _answer(self, heard: str) -> str:
        if counting := _COUNT.search(heard):
            return count_to(number_of(counting["number"]))
        if echo := _ECHO.search(heard):
            return f"{echo['words']}."
        if _JOKE.search(heard):
            self._jokes_told += 1
            return JOKES[(self._jokes_told - 1) % len(JOKES)]
        if _TIME.search(heard):
            return tell_time(self._clock())
        for pattern, answer in ((_ABOUT, ABOUT_QUIC), (_HELLO, HELLO), (_GOODBYE, GOODBYE)):
            if pattern.search(heard):
                return answer
        return f"I heard: {heard}."


def number_of(words: str) -> int | None:
    """Read the number at the start of a text: "25", "twenty five please", "a hundred"."""
    total: int | None = None
    for word in words.split():
        if word.isascii() and word.isdigit() and total is None:
            return int(word[:9])
        if word == "hundred":
            return 100 * (1 if total is None else total)
        if word in _VALUES:
            total = (total or 0) + _VALUES[word]
        elif word != "a":
            break
    return total


def count_to(last: int | None) -> str:
    """Count aloud from one."""
    if last is None:
        return "Count to which number?"
    if not 1 <= last <= MAX_COUNT:
        return f"I count to any number from 1 to {MAX_COUNT}, not to {last}."
    return ", ".join(str(number) for number in range(1, last + 1)) + "."


def tell_time(now: datetime.datetime) -> str:
    """Say a time of day so that it reads well aloud."""
    parts = ((5, "at night"), (12, "in the morning"), (18, "in the afternoon"), (24, "at night"))
    part = next(name for until, name in parts if now.hour < until)
    hour = now.hour % 12 or 12
    if now.minute == 0:
        return f"It is {hour} o'clock {part}."
    minutes = "1 minute" if now.minute == 1 else f"{now.minute} minutes"
    return f"It is {minutes} past {hour} {part}."
