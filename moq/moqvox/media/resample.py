"""Sample-rate conversion and channel mixing of 16-bit PCM streams, by soxr.

Opus needs none of it for its own five rates; this is for 44.1 kHz files and odd devices.
"""

import numpy as np
import numpy.typing as npt
import soxr

from moqvox.errors import LocalError

__all__ = ["Resampler", "to_mono", "to_stereo"]

_MAX_RATE = 768_000


class Resampler:
    """Converts one stream, chunk by chunk; how it is chunked does not change the result.

    soxr computes in 32-bit floats here: its 16-bit mode adds noise (dither) that differs from
    run to run. Output lags input by a few milliseconds until `flush`.
    """

    def __init__(self, in_rate: int, out_rate: int, channels: int = 1) -> None:
        if not (0 < in_rate <= _MAX_RATE and 0 < out_rate <= _MAX_RATE):
            raise LocalError(f"cannot resample from {in_rate} to {out_rate} Hz")
        if channels not in (1, 2):
            raise LocalError(f"resampling takes 1 or 2 channels, not {channels}")
        self.in_rate = in_rate
        self.out_rate = out_rate
        self.channels = channels
        self._frame_bytes = 2 * channels
        self._held = b""
        self._stream: soxr.ResampleStream | None = None
        if in_rate != out_rate:
            self._stream = soxr.ResampleStream(in_rate, out_rate, channels, dtype="float32")

    def push(self, pcm: bytes) -> bytes:
        """Take PCM at `in_rate` and return what it yields at `out_rate`.

        A part of a sample at the end of a chunk waits for the next.
        """
        data = self._held + pcm
        whole = len(data) - len(data) % self._frame_bytes
        self._held = data[whole:]
        if self._stream is None:
            return data[:whole]
        return self._run(data[:whole], last=False)

    def flush(self) -> bytes:
        """Return the rest of the stream; the next `push` begins a new one."""
        self._held = b""
        if self._stream is None:
            return b""
        tail = self._run(b"", last=True)
        self._stream.clear()
        return tail

    def _run(self, pcm: bytes, *, last: bool) -> bytes:
        if self._stream is None:
            return pcm
        floats = np.frombuffer(pcm, "<i2").reshape(-1, self.channels).astype(np.float32)
        out: npt.NDArray[np.float32] = self._stream.resample_chunk(floats, last=last)
        return np.clip(np.rint(out), -32768, 32767).astype("<i2").tobytes()


def to_mono(pcm: bytes, channels: int) -> bytes:
    """Average interleaved channels into one; mono passes through.

    Raises:
        LocalError: `pcm` is not whole samples of every channel.
    """
    if channels < 1 or len(pcm) % (2 * channels):
        raise LocalError(f"{len(pcm)} bytes are not whole samples of {channels} channels")
    if channels == 1:
        return pcm
    samples = np.frombuffer(pcm, "<i2").reshape(-1, channels).astype(np.int32)
    sums: npt.NDArray[np.int32] = samples.sum(axis=1)
    return (sums // channels).astype("<i2").tobytes()


def to_stereo(pcm: bytes) -> bytes:
    """Put mono on both of two channels.

    Raises:
        LocalError: `pcm` is not whole samples.
    """
    if len(pcm) % 2:
        raise LocalError(f"{len(pcm)} bytes are not whole 16-bit samples")
    return np.repeat(np.frombuffer(pcm, "<i2"), 2).tobytes()
