"""Streaming speech synthesis, offline: hundreds of times faster than it plays.

Measured by `python bench/speech.py`.
"""

import asyncio
import functools
import re
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Final

import msgspec

from moqvox.errors import LocalError
from moqvox_client.speech.espeak import Espeak, Mark, espeak

__all__ = ["SPEED", "VOICE", "Pcm", "Word", "speak", "voice_rate"]

VOICE: Final = "en"
SPEED: Final = 165
"""Words a minute; the recogniser understands this voice best about here."""

_SLOWEST, _FASTEST = 80, 450

PHRASE_CHARS: Final = 300
"""Longest text synthesised in one go. Nothing is made ahead of the phrase being read, so this
bounds the audio in memory: about 30 seconds at the slowest speed."""

_SENTENCE_END: Final = re.compile(
    r"(?<=[.!?;:])(?<!\bMr\.)(?<!\bMs\.)(?<!\bDr\.)(?<!\bMrs\.)\s+(?=[^a-z])"
)
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]+")
_TOKEN: Final = re.compile(r"\S+")


class Word(msgspec.Struct, frozen=True):
    """A word as it is written, and when it begins, from the start of the speech."""

    text: str
    start_ms: float


class Pcm(msgspec.Struct, frozen=True):
    """A piece of speech.

    Attributes:
        pcm: s16le mono.
        start_ms: where the piece stands in the speech.
        words: those that begin with or after it and were not told before.
    """

    pcm: bytes
    sample_rate: int
    start_ms: float
    words: tuple[Word, ...] = ()


async def voice_rate() -> int:
    """Tell the rate of the synthesiser's audio in Hz.

    Raises:
        SpeechUnavailable: espeakng-loader is not installed.
        SpeechFailed: it does not work.
    """
    return (await asyncio.to_thread(espeak)).sample_rate


async def speak(text: str, voice: str = VOICE, speed: int = SPEED) -> AsyncIterator[Pcm]:
    """Speak a text, in pieces as they are made.

    Synthesis runs in a thread and stops when the iterator is closed or its task cancelled.
    Callers take turns phrase by phrase, so a slow reader holds nobody up.

    Args:
        text: words; blank text is silence of no length.
        voice: one of espeak-ng's, such as "en", "en-us" or, with a variant, "en-us+f3".
        speed: words a minute, 80 to 450.

    Raises:
        SpeechUnavailable: espeakng-loader is not installed.
        SpeechFailed: there is no such voice.
        LocalError: the speed is out of range.
    """
    if not _SLOWEST <= speed <= _FASTEST:
        raise LocalError(f"speed {speed} is not between {_SLOWEST} and {_FASTEST} words a minute")
    engine = await asyncio.to_thread(espeak)
    samples = 0
    for phrase in phrases(text):
        captions = _Captions(phrase, 1000 * samples / engine.sample_rate)
        async for pcm, marks in _synthesise(engine, phrase, voice, speed):
            start_ms = 1000 * samples / engine.sample_rate
            samples += len(pcm) // 2
            words = tuple(captions.take(marks))
            if pcm or words:
                yield Pcm(pcm, engine.sample_rate, start_ms, words)
        end_ms = 1000 * samples / engine.sample_rate
        if unmarked := tuple(captions.rest(end_ms)):
            yield Pcm(b"", engine.sample_rate, end_ms, unmarked)


def phrases(text: str) -> Iterator[str]:
    """Cut a text after its sentences, and where a sentence is too long, between words."""
    for sentence in _SENTENCE_END.split(_CONTROL.sub(" ", text)):
        rest = sentence.strip()
        while len(rest) > PHRASE_CHARS:
            cut = rest.rfind(" ", 1, PHRASE_CHARS)
            cut = cut if cut > 0 else PHRASE_CHARS
            yield rest[:cut]
            rest = rest[cut:].lstrip()
        if rest:
            yield rest


class _Captions:
    """Words as written, from espeak's marks, which name what it pronounces.

    It skips punctuation and marks the parts of "o'clock" or "25" one by one. All that stands
    between two marked words goes with the later one, and the rest of a phrase stands at its end.
    """

    def __init__(self, text: str, start_ms: float) -> None:
        self._tokens = list(_TOKEN.finditer(text))
        self._text = text
        self._start_ms = start_ms
        self._next = 0

    def take(self, marks: list[Mark]) -> Iterator[Word]:
        for mark in marks:
            if self._next < len(self._tokens) and self._tokens[self._next].start() <= mark.at:
                last = self._covering(max(mark.at, mark.end - 1))
                yield self._word(last, mark.start_ms)

    def rest(self, end_ms: float) -> Iterator[Word]:
        if self._next < len(self._tokens):
            yield self._word(len(self._tokens) - 1, end_ms - self._start_ms)

    def _covering(self, at: int) -> int:
        index = self._next
        while index + 1 < len(self._tokens) and self._tokens[index].end() <= at:
            index += 1
        return index

    def _word(self, last: int, start_ms: float) -> Word:
        text = self._text[self._tokens[self._next].start() : self._tokens[last].end()]
        self._next = last + 1
        return Word(text, self._start_ms + start_ms)


async def _synthesise(
    engine: Espeak, text: str, voice: str, speed: int
) -> AsyncIterator[tuple[bytes, list[Mark]]]:
    loop = asyncio.get_running_loop()
    made: asyncio.Queue[tuple[bytes, list[Mark]] | None] = asyncio.Queue()
    stop = threading.Event()

    def take(pcm: bytes, marks: list[Mark]) -> bool:
        if not stop.is_set():
            try:
                loop.call_soon_threadsafe(made.put_nowait, (pcm, marks))
            except RuntimeError:  # the loop was closed meanwhile
                return False
        return not stop.is_set()

    work = functools.partial(engine.synthesise, text, voice, speed, take)
    job = loop.run_in_executor(None, work)
    job.add_done_callback(lambda _job: made.put_nowait(None))
    try:
        while (piece := await made.get()) is not None:
            yield piece
        await job
    finally:
        stop.set()
        job.add_done_callback(_forget)


def _forget(job: "asyncio.Future[None]") -> None:
    """Take the result that nobody waits for any more, or asyncio would complain of it."""
    if not job.cancelled():
        job.exception()
