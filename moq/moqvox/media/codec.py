"""Opus encoding and decoding of 16-bit PCM.

Opus runs at 8, 12, 16, 24 or 48 kHz by itself and any packet decodes at any of them, so
speech recognisers at 16 kHz need no resampler. States are not shared between threads.
"""

import ctypes
from enum import Enum

from moqvox.errors import LocalError, MediaError
from moqvox.media.libopus import Setting, WrappedEncoder, load, reason_of
from moqvox.media.opus import SAMPLE_RATE, SAMPLE_RATES, packet_samples

__all__ = ["Application", "Decoder", "Encoder", "StreamEncoder"]

_FRAME_MS = (2.5, 5, 10, 20, 40, 60)
_MAX_PACKET_MS = 120
_MAX_CONCEAL_MS = 1000
_MIN_BITRATE, _MAX_BITRATE = 500, 512_000


class Application(Enum):
    """What the encoder optimises for; the values are libopus's names."""

    VOIP = "voip"
    AUDIO = "audio"
    LOW_DELAY = "restricted_lowdelay"


class Encoder:
    """Encodes frames of one fixed length.

    Args:
        sample_rate: of the PCM, one of `SAMPLE_RATES`.
        channels: 1 or 2, interleaved.
        bitrate: target in bits per second.
        frame_ms: 2.5, 5, 10, 20, 40 or 60.
        application: an `Application` or its value.
        dtx: send next to nothing in silence.
        fec: put a coarse copy of each frame into the next packet, as far as
            `expected_loss_percent` makes that worth its bits. Useless on reliable streams.
        expected_loss_percent: 0 to 100.
        complexity: 0 (cheap) to 10; None leaves it to the library.

    Raises:
        LocalError: an argument Opus does not have.
        OpusUnavailable: there is no libopus.
    """

    def __init__(
        self,
        sample_rate: int = SAMPLE_RATE,
        channels: int = 1,
        bitrate: int = 24_000,
        frame_ms: float = 20,
        application: Application | str = Application.VOIP,
        *,
        dtx: bool = False,
        fec: bool = False,
        expected_loss_percent: int = 0,
        complexity: int | None = None,
    ) -> None:
        _check_format(sample_rate, channels)
        _check_range("bitrate", bitrate, _MIN_BITRATE, _MAX_BITRATE)
        _check_range("expected loss", expected_loss_percent, 0, 100)
        _check_range("complexity", complexity or 0, 0, 10)
        _check_frame_ms(frame_ms)
        name = _application(application).value
        self.sample_rate = sample_rate
        self.channels = channels
        self.frame_samples = int(sample_rate * frame_ms) // 1000
        self.frame_bytes = self.frame_samples * channels * 2
        settings = {
            Setting.BITRATE: bitrate,
            Setting.DTX: int(dtx),
            Setting.FEC: int(fec),
            Setting.EXPECTED_LOSS: expected_loss_percent,
        }
        if complexity is not None:
            settings[Setting.COMPLEXITY] = complexity
        library = load()
        self._error = library.error
        try:
            self._state: WrappedEncoder = library.encoder(sample_rate, channels, name)
            for setting, value in settings.items():
                library.configure(self._state, setting, value)
            self.lookahead: int = self._state.lookahead
        except library.error as error:
            raise LocalError(f"opus encoder refused: {reason_of(error)}") from error

    @property
    def pre_skip(self) -> int:
        """The codec's delay at 48 kHz, as OpusHead tells it; `lookahead` is at `sample_rate`."""
        return self.lookahead * SAMPLE_RATE // self.sample_rate

    def encode(self, pcm: bytes) -> bytes:
        """Encode exactly one frame and return its packet.

        Raises:
            LocalError: `pcm` is not `frame_bytes` long.
        """
        if len(pcm) != self.frame_bytes:
            raise LocalError(f"an opus frame takes {self.frame_bytes} bytes here, got {len(pcm)}")
        try:
            return self._state.encode(pcm, self.frame_samples)
        except self._error as error:
            raise LocalError(f"opus encoder failed: {reason_of(error)}") from error

    def reset(self) -> None:
        """Forget what was encoded, keeping the settings: for the next utterance."""
        self._state.reset_state()


class Decoder:
    """Decodes packets in order, and fills in for missing ones.

    Packets of either channel count decode to `channels`, mixed by libopus.

    Raises:
        LocalError: a rate or channel count Opus does not have.
        OpusUnavailable: there is no libopus.
    """

    def __init__(self, sample_rate: int = SAMPLE_RATE, channels: int = 1) -> None:
        _check_format(sample_rate, channels)
        self.sample_rate = sample_rate
        self.channels = channels
        self._library = load()
        self._state = self._library.decoder(sample_rate, channels)
        self._longest = sample_rate * _MAX_PACKET_MS // 1000
        self._step = sample_rate // 400
        self._pcm = (ctypes.c_int16 * (self._longest * channels))()

    def decode(self, packet: bytes) -> bytes:
        """Decode one packet.

        Raises:
            MediaError: it is not an Opus packet. The state stays usable.
        """
        packet_samples(packet)  # libopus would conceal for an empty packet
        return self._run(packet, self._longest, fec=False)

    def conceal(self, samples: int) -> bytes:
        """Make up `samples` per channel at `sample_rate` for audio that never came.

        libopus works in steps of 2.5 ms; a length between two steps is cut from the longer.
        What it makes up fades to silence.

        Raises:
            LocalError: negative, or more than a second.
        """
        _check_range("samples to conceal", samples, 0, self.sample_rate * _MAX_CONCEAL_MS // 1000)
        parts: list[bytes] = []
        rest = -(-samples // self._step) * self._step
        while rest:
            length = min(rest, self._longest)
            parts.append(self._run(None, length, fec=False))
            rest -= length
        return b"".join(parts)[: samples * self.channels * 2]

    def decode_fec(self, packet: bytes, samples: int | None = None) -> bytes:
        """Recover the audio lost just before `packet` from the copy inside it.

        Call it before `decode(packet)`. Without such a copy in the packet this conceals.

        Args:
            packet: the packet after the lost one.
            samples: the lost length per channel, a multiple of 2.5 ms; by default as long as
                `packet` itself.

        Raises:
            MediaError: it is not an Opus packet.
            LocalError: a length libopus cannot make.
        """
        own = packet_samples(packet) * self.sample_rate // SAMPLE_RATE
        length = own if samples is None else samples
        if not 0 < length <= self._longest or length % self._step:
            raise LocalError(
                f"opus recovers multiples of {self._step} samples up to {self._longest},"
                f" not {length}"
            )
        return self._run(packet, length, fec=True)

    def reset(self) -> None:
        """Forget what was decoded: for the next utterance."""
        self._state.reset_state()

    def _run(self, packet: bytes | None, samples: int, *, fec: bool) -> bytes:
        count = self._library.decode(self._state, packet, self._pcm, samples, fec)
        if count < 0:
            raise MediaError(f"opus packet does not decode: {reason_of(count)}")
        return ctypes.string_at(self._pcm, count * self.channels * 2)


class StreamEncoder:
    """Cuts PCM of any chunk size into frames for an encoder.

    `samples` counts what was encoded, per channel, at the encoder's rate.
    """

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder
        self.samples = 0
        self._held = bytearray()

    def push(self, pcm: bytes) -> list[bytes]:
        """Take the next PCM and return the packets it completes."""
        self._held += pcm
        size = self.encoder.frame_bytes
        whole = len(self._held) - len(self._held) % size
        frames = [bytes(self._held[at : at + size]) for at in range(0, whole, size)]
        del self._held[:whole]
        self.samples += len(frames) * self.encoder.frame_samples
        return [self.encoder.encode(frame) for frame in frames]

    def flush(self) -> tuple[list[bytes], int]:
        """End the stream: pad with silence until the last sample has left the encoder.

        Returns:
            The last packets, and how many samples at 48 kHz to trim from their end, as
            `moqvox.media.ogg.Writer.finish` takes it. The encoder is reset for a next stream.
        """
        encoder = self.encoder
        sample_bytes = 2 * encoder.channels
        rest = len(self._held) // sample_bytes
        if not self.samples + rest:
            self._held.clear()
            return [], 0
        tail = bytes(self._held[: rest * sample_bytes])
        self._held.clear()
        count = -(-(rest + encoder.lookahead) // encoder.frame_samples)
        packets = self.push(tail.ljust(count * encoder.frame_bytes, b"\x00"))
        trim = count * encoder.frame_samples - encoder.lookahead - rest
        encoder.reset()
        self.samples = 0
        return packets, trim * SAMPLE_RATE // encoder.sample_rate


def _application(application: Application | str) -> Application:
    try:
        return Application(application)
    except ValueError:
        names = ", ".join(kind.value for kind in Application)
        raise LocalError(f"opus applications are {names}, not {application!r}") from None


def _check_format(sample_rate: int, channels: int) -> None:
    if sample_rate not in SAMPLE_RATES:
        raise LocalError(f"opus runs at {SAMPLE_RATES} Hz, not {sample_rate}: resample first")
    if channels not in (1, 2):
        raise LocalError(f"opus takes 1 or 2 channels, not {channels}")


def _check_frame_ms(frame_ms: float) -> None:
    if frame_ms not in _FRAME_MS:
        raise LocalError(f"opus frames last {_FRAME_MS} ms, not {frame_ms}")


def _check_range(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise LocalError(f"{name} is {low} to {high}, not {value}")
