"""Speech recognition by pocketsphinx, and the process it runs in.

pocketsphinx computes with Python's global lock held, for 20 ms and more at a time, which
would stop an event loop even from another thread. So it runs as a process of its own
(`python -m moqvox_client.speech.recogniser`), which takes `orders` and ends with its input.
"""

import importlib.resources
import signal
import sys
from collections.abc import Iterable
from typing import BinaryIO, Final

import msgspec
import pocketsphinx

from moqvox_client.speech.orders import HEADER, MAX_PCM_BYTES, SAMPLE_RATE, Hypothesis, Order

__all__ = ["Recogniser", "serve"]

SEGMENT_S: Final = 60
"""Speech without an end is cut after this, because the search keeps all of it in memory."""

COMMAND_S: Final = 8
"""No command is longer."""

COVERAGE: Final = 0.7
"""Share of the words' time that a command must explain to be taken for all that was said."""

SPEECH_MEAN: Final = "52,7,-7,22,-19,11,-11,-8,3,-3,4,-5,3"
"""Where cepstral mean normalisation starts: rounded from `Decoder.get_cmn` after it heard three
recorded sentences (see README.md) twice. The model's own default is far off, and the first
seconds suffer from it."""

_PHONES: Final = (
    "AA AE AH AO AW AY B CH D DH EH ER EY F G HH IH IY JH K L M N NG OW OY P R S SH T TH UH UW V "
    "W Y Z ZH"
)
_PHONE_WORD: Final = "phone-"
_FRAMES_PER_S: Final = 100


class Recogniser:
    """Understands one utterance after the other; for one thread.

    Two searches hear the same audio: dictation, by a language model of general English, and
    commands, by a small grammar. When the grammar explains what was said, it is the better
    judge by far; with synthetic voices it is the only usable one.

    Args:
        segment_s: cut speech without an end after that many seconds.
    """

    def __init__(self, segment_s: float = SEGMENT_S) -> None:
        self._segment_bytes = int(2 * SAMPLE_RATE * segment_s)
        self._dictation = _decoder()
        self._commands = _decoder(lm=None)
        _add_words(self._commands)
        self._commands.add_jsgf_string("commands", _grammar())
        self._commands.activate_search("commands")
        self._earlier: list[str] = []
        self._bytes = 0
        self._open = False

    def begin(self) -> None:
        """Start an utterance; what was not finished is forgotten."""
        self._close()
        self._earlier.clear()
        self._start()

    def feed(self, pcm: bytes) -> str:
        """Take s16le mono PCM and return what is understood so far.

        Raises:
            ValueError: not whole samples, or nothing was begun.
        """
        if len(pcm) % 2:
            raise ValueError(f"{len(pcm)} bytes are not whole 16-bit samples")
        if not self._open:
            raise ValueError("audio before its utterance was begun")
        if pcm:
            if self._bytes >= self._segment_bytes:
                self._cut()
            self._bytes += len(pcm)
            self._dictation.process_raw(pcm)
            if self._may_be_command():
                self._commands.process_raw(pcm)
        return self._joined(_text(self._dictation))

    def finish(self) -> str:
        """End the utterance and return all of it, in lower case without punctuation."""
        self._close()
        text = _text(self._dictation) if self._bytes else ""
        if self._bytes and not self._earlier and self._is_command():
            text = _text(self._commands)
        self._bytes = 0
        return self._joined(text)

    def _start(self) -> None:
        for decoder in (self._dictation, self._commands):
            decoder.set_cmn(SPEECH_MEAN)
            decoder.start_utt()
        self._bytes = 0
        self._open = True

    def _close(self) -> None:
        if self._open:
            self._dictation.end_utt()
            self._commands.end_utt()
            self._open = False

    def _cut(self) -> None:
        self._close()
        self._earlier.append(_text(self._dictation))
        self._start()

    def _joined(self, text: str) -> str:
        return " ".join(filter(None, (*self._earlier, text)))

    def _may_be_command(self) -> bool:
        return not self._earlier and self._bytes <= 2 * SAMPLE_RATE * COMMAND_S

    def _is_command(self) -> bool:
        words = _text(self._commands).split()
        if not words or not self._may_be_command():
            return False
        if any(word.startswith(_PHONE_WORD) for word in words):
            return False
        return _spoken_s(self._commands) >= COVERAGE * _spoken_s(self._dictation)


def serve(orders: BinaryIO, answers: BinaryIO) -> None:
    """Carry out orders until they end.

    Raises:
        ValueError: an order is malformed.
    """
    recogniser = Recogniser()
    encoder = msgspec.json.Encoder()
    while header := orders.read(HEADER.size):
        kind, size = HEADER.unpack(header)
        if size > MAX_PCM_BYTES:
            raise ValueError(f"order of {size} bytes; {MAX_PCM_BYTES} are allowed")
        pcm = orders.read(size)
        hypothesis = Hypothesis()
        match Order(kind):
            case Order.BEGIN:
                recogniser.begin()
            case Order.AUDIO:
                hypothesis = Hypothesis(recogniser.feed(pcm))
            case Order.END:
                hypothesis = Hypothesis(recogniser.finish(), final=True)
        answers.write(encoder.encode(hypothesis) + b"\n")
        answers.flush()


def _decoder(**settings: object) -> pocketsphinx.Decoder:
    # The second passes (fwdflat, bestpath) cost 100 to 250 ms at the end of each utterance.
    return pocketsphinx.Decoder(
        samprate=SAMPLE_RATE, loglevel="FATAL", fwdflat=False, bestpath=False, **settings
    )


def _add_words(decoder: pocketsphinx.Decoder) -> None:
    """Teach the name that no dictionary has, and each phone as a word of its own."""
    decoder.add_word("quic", "K W IH K", False)
    phones = _PHONES.split()
    for phone in phones:
        decoder.add_word(_PHONE_WORD + phone.lower(), phone, phone == phones[-1])


def _grammar() -> str:
    file = importlib.resources.files("moqvox_client.speech") / "commands.gram"
    phones = " | ".join(_PHONE_WORD + phone.lower() for phone in _PHONES.split())
    return file.read_text("utf-8").replace("PHONES", phones)


def _text(decoder: pocketsphinx.Decoder) -> str:
    hypothesis = decoder.hyp()
    return "" if hypothesis is None else str(hypothesis.hypstr)


def _spoken_s(decoder: pocketsphinx.Decoder) -> float:
    """Add up the time of the words, without silence and noise."""
    segments: Iterable[pocketsphinx.Segment] = decoder.seg() or ()
    frames = sum(
        segment.end_frame - segment.start_frame + 1
        for segment in segments
        if segment.word[0].isalpha()
    )
    return float(frames) / _FRAMES_PER_S


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when it is over
    serve(sys.stdin.buffer, sys.stdout.buffer)
