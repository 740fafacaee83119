"""WAV files and pipes in, 16-bit PCM out; and the other way.

The standard library's `wave` needs a seekable input with a true length and reads no floats;
programs writing to a pipe send neither. This reads what they send.
"""

import struct
from enum import Enum, auto

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from moqvox.errors import LocalError, MediaError

__all__ = ["UNKNOWN_LENGTH", "Reader", "WavFormat", "decode_wav", "encode_wav", "wav_header"]

UNKNOWN_LENGTH = 0xFFFFFFFF
"""What a length field holds when the writer could not know it."""

# sox and arecord promise about 2 GiB to a pipe.
_IMPLAUSIBLE_LENGTH = 0x7FFF_0000

_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_NAMES = {2: "ADPCM", 6: "A-law", 7: "mu-law", 17: "IMA ADPCM", 85: "MP3"}
_MAX_HEADER_BYTES = 1024 * 1024
_MAX_SAMPLE_RATE = 768_000
_FMT = struct.Struct("<HHIIHH")


class WavFormat(Struct, frozen=True):
    """How samples lie in the file; what `Reader` returns is always 16-bit integers."""

    sample_rate: int
    channels: int
    bits: int
    is_float: bool = False

    @property
    def frame_bytes(self) -> int:
        """Bytes of one sample of every channel, in the file."""
        return self.bits // 8 * self.channels


class _Step(Enum):
    RIFF = auto()
    CHUNK = auto()
    SKIP = auto()
    SAMPLES = auto()
    END = auto()


class Reader:
    """Reads a WAV stream from chunks of any size.

    Takes 8, 16, 24 and 32-bit integers and 32-bit floats, mono or stereo. A data length of 0
    or 0xffffffff, as pipes have, means "to the end". Holds at most the header chunk being
    read and a part of one sample.

    `format` is set before the first samples are returned. `truncated` tells, after `finish`,
    that fewer samples came than the header had promised.
    """

    def __init__(self) -> None:
        self.format: WavFormat | None = None
        self.truncated = False
        self._step = _Step.RIFF
        self._buffer = bytearray()
        self._rest: int | None = 0
        self._open_ended = False
        self._riff_rest = UNKNOWN_LENGTH
        self._long_data_bytes: int | None = None

    def push(self, data: bytes) -> bytes:
        """Take the next bytes and return the PCM they complete, channels interleaved.

        Raises:
            MediaError: not WAV, or samples of a kind this does not read.
        """
        self._buffer += data
        pcm: list[bytes] = []
        while self._advance(pcm):
            pass
        return b"".join(pcm)

    def finish(self) -> None:
        """Say that no more bytes come.

        Raises:
            MediaError: the data ends before any sample could begin.
        """
        if self._step not in (_Step.SAMPLES, _Step.END):
            raise MediaError("wav data ends inside its header")
        if self._step is _Step.SAMPLES:
            self.truncated = not self._open_ended and bool(self._rest)

    def _advance(self, pcm: list[bytes]) -> bool:
        """Take one step; return False when more bytes are needed."""
        match self._step:
            case _Step.RIFF:
                return self._read_riff()
            case _Step.CHUNK:
                return self._read_chunk()
            case _Step.SKIP:
                return self._skip()
            case _Step.SAMPLES:
                return self._read_samples(pcm)
            case _Step.END:
                self._buffer.clear()  # chunks after the samples: names, lists, cue points
                return False

    def _read_riff(self) -> bool:
        magic = bytes(self._buffer[:4])
        if not any(known.startswith(magic) for known in (b"RIFF", b"RF64")):
            raise MediaError(f"not a wav file: starts with {magic!r}")
        if len(self._buffer) < 12:
            return False
        if self._buffer[8:12] != b"WAVE":
            raise MediaError(f"a RIFF file, but of {bytes(self._buffer[8:12])!r}, not WAVE")
        self._riff_rest = int.from_bytes(self._buffer[4:8], "little")
        self._consume(12, counted=4)
        self._step = _Step.CHUNK
        return True

    def _read_chunk(self) -> bool:
        if len(self._buffer) < 8:
            return False
        name = bytes(self._buffer[:4])
        size = int.from_bytes(self._buffer[4:8], "little")
        if name == b"data":
            self._consume(8)
            self._begin_samples(size)
            return True
        if size > _MAX_HEADER_BYTES:
            raise MediaError(f"wav chunk {name!r} of {size} bytes before the samples")
        padded = size + size % 2
        if name not in (b"fmt ", b"ds64"):
            self._consume(8)
            self._rest = padded
            self._step = _Step.SKIP
            return True
        if len(self._buffer) < 8 + padded:
            return False
        body = bytes(self._buffer[8 : 8 + size])
        if name == b"fmt ":
            self.format = _parse_format(body)
        elif size >= 16:
            self._long_data_bytes = int.from_bytes(body[8:16], "little")
        self._consume(8 + padded)
        return True

    def _begin_samples(self, size: int) -> None:
        if self.format is None:
            raise MediaError("wav samples come before their format")
        self._open_ended = size >= _IMPLAUSIBLE_LENGTH
        if size == UNKNOWN_LENGTH:
            self._rest = self._long_data_bytes
        elif size == 0 and (self._riff_rest <= 0 or self._riff_rest >= UNKNOWN_LENGTH - 1024):
            # Nothing is said to follow, so whatever does is samples of a pipe.
            self._rest = None
        else:
            self._rest = size
        self._step = _Step.SAMPLES

    def _skip(self) -> bool:
        step = min(len(self._buffer), self._rest or 0)
        self._consume(step)
        self._rest = (self._rest or 0) - step
        if self._rest:
            return False
        self._step = _Step.CHUNK
        return True

    def _read_samples(self, pcm: list[bytes]) -> bool:
        kind = self.format
        if kind is None:
            raise MediaError("wav samples come before their format")
        frame_bytes = kind.frame_bytes
        usable = len(self._buffer) if self._rest is None else min(len(self._buffer), self._rest)
        whole = usable - usable % frame_bytes
        if whole:
            pcm.append(_to_s16(bytes(self._buffer[:whole]), kind))
            del self._buffer[:whole]
        if self._rest is not None:
            self._rest -= whole
            if self._rest < frame_bytes:
                self._step = _Step.END
                return True
        return False

    def _consume(self, count: int, counted: int | None = None) -> None:
        del self._buffer[:count]
        self._riff_rest -= count if counted is None else counted


def decode_wav(data: bytes) -> tuple[WavFormat, bytes]:
    """Read a whole WAV file: its format, and its samples as 16-bit PCM.

    Raises:
        MediaError: see `Reader`.
    """
    reader = Reader()
    pcm = reader.push(data)
    reader.finish()
    if reader.format is None:
        raise MediaError("wav data has no format")
    return reader.format, pcm


def wav_header(sample_rate: int, channels: int = 1, data_bytes: int | None = None) -> bytes:
    """Return the 44 bytes before 16-bit PCM.

    `data_bytes` None is for a pipe: readers then go on to the end. To a file, write it again
    over the first 44 bytes when the length is known.
    """
    if not 0 < sample_rate <= _MAX_SAMPLE_RATE or channels not in (1, 2):
        raise LocalError(f"no wav of {channels} channels at {sample_rate} Hz")
    if data_bytes is None:
        riff = size = UNKNOWN_LENGTH
    elif 0 <= data_bytes <= UNKNOWN_LENGTH - 37:
        riff, size = data_bytes + 36, data_bytes
    else:
        raise LocalError(f"a wav file cannot hold {data_bytes} bytes of samples")
    frame = 2 * channels
    fmt = _FMT.pack(_PCM, channels, sample_rate, sample_rate * frame, frame, 16)
    return struct.pack("<4sI8sI16s4sI", b"RIFF", riff, b"WAVEfmt ", 16, fmt, b"data", size)


def encode_wav(pcm: bytes, sample_rate: int, channels: int = 1) -> bytes:
    """Return a whole WAV file of 16-bit PCM."""
    return wav_header(sample_rate, channels, len(pcm)) + pcm


def _parse_format(body: bytes) -> WavFormat:
    if len(body) < _FMT.size:
        raise MediaError(f"wav format has at least {_FMT.size} bytes, got {len(body)}")
    code, channels, rate, _, frame_bytes, bits = _FMT.unpack_from(body)
    if code == _EXTENSIBLE and len(body) >= 26:
        code = int.from_bytes(body[24:26], "little")
    if code not in (_PCM, _FLOAT):
        raise MediaError(f"wav encoding {_NAMES.get(code, code)} is not read, PCM and float are")
    if bits not in ((32,) if code == _FLOAT else (8, 16, 24, 32)):
        kind = "floats" if code == _FLOAT else "integers"
        raise MediaError(f"wav {kind} of {bits} bits are not read")
    if channels not in (1, 2) or not 0 < rate <= _MAX_SAMPLE_RATE:
        raise MediaError(
            f"wav of {channels} channels at {rate} Hz is not read, mono and stereo are"
        )
    parsed = WavFormat(sample_rate=rate, channels=channels, bits=bits, is_float=code == _FLOAT)
    if frame_bytes != parsed.frame_bytes:
        raise MediaError(f"wav frames of {frame_bytes} bytes cannot hold {channels} x {bits} bits")
    return parsed


def _to_s16(data: bytes, kind: WavFormat) -> bytes:
    """Convert whole frames; wider integers lose their low bits, floats are rounded."""
    if kind.is_float:
        floats: npt.NDArray[np.float32] = np.nan_to_num(np.frombuffer(data, "<f4"))
        return (
            np.clip(np.rint(floats.astype(np.float64) * 32768), -32768, 32767)
            .astype("<i2")
            .tobytes()
        )
    if kind.bits == 16:
        return data
    if kind.bits == 8:
        return ((np.frombuffer(data, np.uint8).astype("<i2") - 128) << 8).tobytes()
    step = kind.bits // 8
    return np.frombuffer(data, np.uint8).reshape(-1, step)[:, step - 2 :].tobytes()
