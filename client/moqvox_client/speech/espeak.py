"""espeak-ng's library, through ctypes.

The library and its voices come with the package espeakng-loader. espeak-ng is GPL-3.0-or-later:
an optional extra that users install themselves, never part of this distribution.
"""

import ctypes
import functools
import threading
from collections.abc import Callable
from enum import IntEnum
from typing import Final

import msgspec

from moqvox_client.speech.errors import SpeechFailed, require

__all__ = ["Espeak", "Mark", "espeak"]

_BUFFER_MS: Final = 50
_SYNCHRONOUS: Final = 2
_DONT_EXIT: Final = 0x8000
_UTF8: Final = 0x1
_END_PAUSE: Final = 0x1000
_CONTINUE, _ABORT = 0, 1


class _EventKind(IntEnum):
    END_OF_LIST = 0
    WORD = 1


class _Parameter(IntEnum):
    RATE = 1


class _Event(ctypes.Structure):
    _fields_ = [  # type: ignore[mutable-override]  # typeshed wants a Sequence, ctypes a list
        ("kind", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", ctypes.c_char * 8),
    ]


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.POINTER(_Event))


class Mark(msgspec.Struct, frozen=True):
    """A word begins: from and to which character of the text, and when in its audio."""

    at: int
    end: int
    start_ms: float


class Espeak:
    """The library, loaded once: its voice and parameters are global to the process.

    Raises:
        SpeechUnavailable: espeakng-loader is not installed.
        SpeechFailed: the library can't be loaded, or does not find its data.
    """

    def __init__(self) -> None:
        require("espeakng_loader", "speech synthesis")
        import espeakng_loader  # the optional extra `demo`

        data = str(espeakng_loader.get_data_path())
        try:
            self._library = ctypes.CDLL(str(espeakng_loader.get_library_path()))
        except OSError as exc:
            raise SpeechFailed(f"espeak-ng can't be loaded: {exc}") from exc
        self._declare()
        rate = self._library.espeak_Initialize(_SYNCHRONOUS, _BUFFER_MS, data.encode(), _DONT_EXIT)
        if rate <= 0:
            raise SpeechFailed(f"espeak-ng can't read its voices in {data}")
        self.sample_rate = int(rate)
        self._lock = threading.Lock()

    def synthesise(
        self, text: str, voice: str, speed: int, take: Callable[[bytes, list[Mark]], bool]
    ) -> None:
        """Speak a text; other callers wait until it is done. Blocks: for threads.

        Args:
            text: without NUL characters.
            voice: a name such as "en", "en-us" or, with a variant, "en-us+f3".
            speed: words a minute.
            take: gets s16le PCM as it is made, and the words that begin in it; False ends
                the synthesis at once.

        Raises:
            SpeechFailed: there is no such voice.
        """
        encoded = text.encode()
        callback = _Callback(functools.partial(_deliver, take))
        with self._lock:
            if self._library.espeak_SetVoiceByName(voice.encode()) != 0:
                raise SpeechFailed(f"espeak-ng has no voice {voice!r}")
            self._library.espeak_SetParameter(_Parameter.RATE, speed, 0)
            self._library.espeak_SetSynthCallback(callback)
            size = len(encoded) + 1
            flags = _UTF8 | _END_PAUSE
            status = self._library.espeak_Synth(encoded, size, 0, 0, 0, flags, None, None)
        if status != 0:
            raise SpeechFailed(f"espeak-ng failed with status {status}")

    def _declare(self) -> None:
        integer, unsigned, text = ctypes.c_int, ctypes.c_uint, ctypes.c_char_p
        library = self._library
        library.espeak_Initialize.argtypes = (integer, integer, text, integer)
        library.espeak_SetVoiceByName.argtypes = (text,)
        library.espeak_SetParameter.argtypes = (integer, integer, integer)
        library.espeak_SetSynthCallback.argtypes = (_Callback,)
        library.espeak_SetSynthCallback.restype = None
        library.espeak_Synth.argtypes = (
            text,
            ctypes.c_size_t,
            unsigned,
            integer,
            unsigned,
            unsigned,
            ctypes.c_void_p,
            ctypes.c_void_p,
        )


def _deliver(
    take: Callable[[bytes, list[Mark]], bool],
    samples: int | None,
    count: int,
    events: "ctypes._Pointer[_Event]",
) -> int:
    marks: list[Mark] = []
    index = 0
    while (event := events[index]).kind != _EventKind.END_OF_LIST:
        if event.kind == _EventKind.WORD:
            at = event.text_position - 1
            marks.append(Mark(at, at + event.length, float(event.audio_position)))
        index += 1
    pcm = ctypes.string_at(samples, 2 * count) if samples and count > 0 else b""
    return _CONTINUE if take(pcm, marks) else _ABORT


@functools.cache
def espeak() -> Espeak:
    """Load the library, or give the one that is loaded.

    Raises:
        SpeechUnavailable: espeakng-loader is not installed.
        SpeechFailed: it does not work.
    """
    return Espeak()
