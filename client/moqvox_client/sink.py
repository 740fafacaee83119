"""Where audio goes: Ogg-Opus (as it crossed the wire), WAV or raw PCM files, or a speaker."""

import enum
import sys
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from moqvox.media import ogg
from moqvox.media.codec import Decoder
from moqvox.media.opus import SAMPLE_RATE
from moqvox.media.wav import wav_header
from moqvox_client.errors import Failed
from moqvox_client.output import OutputClosed

__all__ = ["Container", "FileSink", "Sink", "Speaker", "check_sink", "open_sink"]

PACKETS_A_PAGE: Final = 25


class Container(enum.Enum):
    """How audio is written."""

    OGG = "ogg"
    WAV = "wav"
    PCM = "pcm"


ENDINGS: Final = {
    ".ogg": Container.OGG,
    ".opus": Container.OGG,
    ".wav": Container.WAV,
    ".pcm": Container.PCM,
    ".raw": Container.PCM,
}


class Sink(Protocol):
    """Takes Opus packets in order."""

    def write(self, packet: bytes) -> None:
        """Take one packet."""

    def close(self) -> None:
        """Complete what was written."""


class FileSink:
    """Writes a file or stdout as packets arrive; a WAV's length is filled in at the end."""

    def __init__(self, stream: BinaryIO, container: Container, *, seekable: bool) -> None:
        self._stream = stream
        self._container = container
        self._seekable = seekable
        self._ogg = ogg.Writer(packets_per_page=PACKETS_A_PAGE)
        self._decoder = None if container is Container.OGG else Decoder(SAMPLE_RATE, 1)
        self._pcm_bytes = 0
        if container is Container.WAV:
            self._put(wav_header(SAMPLE_RATE, 1, None))

    def write(self, packet: bytes) -> None:
        """Write one packet, decoded where the container holds PCM."""
        if self._decoder is None:
            self._put(self._ogg.write(packet))
            return
        pcm = self._decoder.decode(packet)
        self._pcm_bytes += len(pcm)
        self._put(pcm)

    def close(self) -> None:
        """Write the end and close; stdout stays open."""
        if self._container is Container.OGG:
            self._put(self._ogg.finish())
        elif self._container is Container.WAV and self._seekable:
            self._stream.seek(0)
            self._put(wav_header(SAMPLE_RATE, 1, self._pcm_bytes))
        if self._stream is sys.stdout.buffer:
            self._stream.flush()
        else:
            self._stream.close()

    def _put(self, data: bytes) -> None:
        try:
            self._stream.write(data)
            if not self._seekable:
                self._stream.flush()
        except BrokenPipeError as exc:
            raise OutputClosed("stdout") from exc
        except OSError as exc:
            raise Failed(f"can't write audio: {exc.strerror}") from exc


class Speaker:
    """Plays s16le mono PCM at 48 kHz on the default device; a slow device never blocks us.

    Raises:
        Failed: the `mic` extra or a device is missing.
    """

    def __init__(self) -> None:
        try:
            import sounddevice  # the optional extra `mic`
        except (ImportError, OSError) as exc:
            raise Failed(
                f"no speaker: {exc}; pip install 'moqvox[mic]' and, on Debian, libportaudio2"
            ) from exc
        try:
            self._stream = sounddevice.RawOutputStream(
                samplerate=SAMPLE_RATE, channels=1, dtype="int16"
            )
            self._stream.start()
        except sounddevice.PortAudioError as exc:
            raise Failed(f"no speaker: {exc}") from exc

    def play(self, pcm: bytes) -> None:
        """Queue PCM; what the device has no room for now is left out."""
        room = 2 * int(self._stream.write_available)
        self._stream.write(pcm[:room])

    def close(self) -> None:
        """Stop the device."""
        self._stream.stop()
        self._stream.close()


def check_sink(name: str, container: Container | None) -> Container:
    """Tell how a file will be written: as asked for, else by its ending, or Ogg to stdout.

    Raises:
        Failed: an unknown ending, or there is no such directory.
    """
    if name == "-":
        return container or Container.OGG
    path = Path(name)
    container = container or ENDINGS.get(path.suffix.lower())
    if container is None:
        raise Failed(f"{name}: unknown ending; known are {', '.join(ENDINGS)}, or give --format")
    if not path.parent.is_dir():
        raise Failed(f"{name}: no such directory")
    return container


def open_sink(name: str, container: Container | None) -> FileSink:
    """Open a file by its ending (.ogg, .opus, .wav, .pcm, .raw), or `-` for stdout (Ogg).

    Raises:
        Failed: see `check_sink`, or the file can't be made.
    """
    container = check_sink(name, container)
    if name == "-":
        return FileSink(sys.stdout.buffer, container, seekable=False)
    try:
        return FileSink(Path(name).open("wb"), container, seekable=True)
    except OSError as exc:
        raise Failed(f"{name}: {(exc.strerror or str(exc)).lower()}") from exc
