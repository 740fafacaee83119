"""Finding a libopus through the Python wrappers that bring or bind one.

Two wrappers share one API. `opuslib_next`, from the package opuslib-next-bundled, carries its
own libopus, so it works on a machine that has none; measured on x86-64 it also encodes faster
than Debian 12's libopus 1.3.1 through the same calls. It comes first. `opuslib` needs a libopus
of the system and raises a bare `Exception` at import without one; it serves where there is no
bundled wheel (Linux on ARM, musl). `OPUSLIB_NEXT_USE_SYSTEM_LIB=1` makes the first wrapper take
the system's library too.

Nothing is loaded before `load` is called: files, containers and relays need no codec.
"""

import ctypes
import importlib
import warnings
from collections.abc import Callable
from enum import Enum
from functools import cache
from types import ModuleType
from typing import Protocol

from moqvox.errors import LocalError

__all__ = [
    "Libopus",
    "OpusUnavailable",
    "Setting",
    "WrappedDecoder",
    "WrappedEncoder",
    "find",
    "load",
    "reason_of",
]

_WRAPPERS = ("opuslib_next", "opuslib")

_ADVICE = (
    "install a codec: `pip install opuslib-next-bundled` (Linux x86-64, macOS on ARM,"
    " Windows), or libopus itself for opuslib to find: `apt install libopus0`,"
    " `dnf install opus`, `apk add opus`, `brew install opus`"
)

_REASONS = {
    -1: "bad argument",
    -2: "buffer too small",
    -3: "internal error",
    -4: "corrupted packet",
    -5: "not implemented",
    -6: "invalid state",
    -7: "out of memory",
}


class OpusUnavailable(LocalError):
    """No wrapper has a libopus to offer; the message says what was tried and what to install."""


class Setting(Enum):
    """What can be set on an encoder; the values are the wrappers' names."""

    BITRATE = "set_bitrate"
    COMPLEXITY = "set_complexity"
    DTX = "set_dtx"
    FEC = "set_inband_fec"
    EXPECTED_LOSS = "set_packet_loss_perc"


class WrappedEncoder(Protocol):
    """What both wrappers' `Encoder` offer that is used here."""

    encoder_state: object

    @property
    def lookahead(self) -> int:
        """Delay of the encoder in samples at its rate."""

    def encode(self, pcm_data: bytes, frame_size: int) -> bytes:
        """Encode `frame_size` samples per channel."""

    def reset_state(self) -> None:
        """Go back to the state of a new encoder, settings kept."""


class WrappedDecoder(Protocol):
    """What both wrappers' `Decoder` offer that is used here: the state, and its lifetime."""

    decoder_state: object

    def reset_state(self) -> None:
        """Go back to the state of a new decoder."""


class Libopus:
    """One loaded wrapper and the library under it."""

    def __init__(self, module: ModuleType) -> None:
        self.wrapper: str = module.__name__
        self.error: type[Exception] = module.OpusError
        self._encoder: Callable[[int, int, str], WrappedEncoder] = module.Encoder
        self._decoder: Callable[[int, int], WrappedDecoder] = module.Decoder
        self._control: Callable[[object, object, int], object] = module.api.encoder.encoder_ctl
        self._settings = {kind: getattr(module.api.ctl, kind.value) for kind in Setting}
        library: ctypes.CDLL = module.api.libopus
        self.path: str = library._name  # noqa: SLF001 - CDLL tells its path nowhere else
        _declare_variadic(module)
        # A function looked up by item is a new object each time, so that declaring its types
        # leaves the wrapper's own declaration alone.
        self._decode = library["opus_decode"]
        self._decode.restype = ctypes.c_int
        self._decode.argtypes = (
            ctypes.c_void_p,
            ctypes.c_char_p,
            ctypes.c_int32,
            ctypes.c_void_p,
            ctypes.c_int,
            ctypes.c_int,
        )
        name = library["opus_get_version_string"]
        name.restype = ctypes.c_char_p
        self.version: str = name().decode(errors="replace")

    def encoder(self, sample_rate: int, channels: int, application: str) -> WrappedEncoder:
        """Create an encoder state, freed with the object."""
        return self._encoder(sample_rate, channels, application)

    def configure(self, encoder: WrappedEncoder, setting: Setting, value: int) -> None:
        """Set one thing on an encoder.

        Not through the wrapper's attributes: opuslib has none for DTX, and its one for FEC
        forgets to pass the value on.
        """
        self._control(encoder.encoder_state, self._settings[setting], value)

    def decoder(self, sample_rate: int, channels: int) -> WrappedDecoder:
        """Create a decoder state, freed with the object."""
        return self._decoder(sample_rate, channels)

    def decode(
        self,
        decoder: WrappedDecoder,
        packet: bytes | None,
        pcm: "ctypes.Array[ctypes.c_int16]",
        samples: int,
        fec: bool = False,
    ) -> int:
        """Call `opus_decode`: into `pcm`, at most `samples` per channel; None conceals.

        Both wrappers' own `decode` takes the length of the packet before it looks at it, so
        neither can conceal, and both pass the samples through a Python list, which takes
        longer than the decoding.

        Returns:
            The samples decoded per channel, or a negative libopus code.
        """
        length = 0 if packet is None else len(packet)
        count: int = self._decode(decoder.decoder_state, packet, length, pcm, samples, int(fec))
        return count


def reason_of(error: object) -> str:
    """Put a libopus code, or the wrapper's exception that carries one, in words."""
    code = getattr(error, "code", error)
    # opuslib raises its OpusError with a text for a code, and then cannot print it.
    if isinstance(code, int):
        return _REASONS.get(code, f"libopus error {code}")
    return str(code)


def _declare_variadic(module: ModuleType) -> None:
    # The control functions are variadic, which 64-bit ARM passes differently on macOS: ctypes
    # must know where the fixed arguments end. opuslib says so for the encoder of neither.
    for api in (module.api.encoder, module.api.decoder):
        api.libopus_ctl.argtypes = (ctypes.c_void_p, ctypes.c_int)


def find() -> Libopus:
    """Try the wrappers in order and return the first that has a library.

    Raises:
        OpusUnavailable: none has.
    """
    tried: list[str] = []
    for name in _WRAPPERS:
        try:
            return Libopus(_wrapper(name))
        except Exception as error:  # noqa: BLE001 - opuslib raises a bare Exception at import
            tried.append(f"{name}: {error}")
    raise OpusUnavailable(f"no libopus found ({'; '.join(tried)}); {_ADVICE}")


def _wrapper(name: str) -> ModuleType:
    with warnings.catch_warnings():
        # opuslib compares numbers with `is`, which newer Pythons remark on at compile time.
        warnings.simplefilter("ignore", SyntaxWarning)
        module = importlib.import_module(name)
        for part in ("api", "api.ctl", "api.encoder", "api.decoder"):
            importlib.import_module(f"{name}.{part}")
    return module


@cache
def load() -> Libopus:
    """Return the library of this process, looked for once.

    Raises:
        OpusUnavailable: see `find`; a later call looks again.
    """
    return find()
