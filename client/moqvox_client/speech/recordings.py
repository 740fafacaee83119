"""Recorded human sentences that come with the package; `README.md` tells whose they are."""

import functools
import importlib.resources
from typing import Final

import msgspec

from moqvox.errors import LocalError
from moqvox.media import ogg
from moqvox.media.codec import Decoder

__all__ = ["MAIN", "SAMPLE_RATE", "TRANSCRIPTS", "Recording", "main_recording", "recording"]

SAMPLE_RATE: Final = 16_000
"""Of the recordings, and what the recogniser takes."""

MAIN: Final = "amiable-woman"
"""The one the demo speaks: of those long enough, the one recognised best."""

TRANSCRIPTS: Final = {
    "amiable-woman": (
        "Had he married a more amiable woman, he might have been made still more respectable "
        "than he was."
    ),
    "amiable-himself": "He might even have been made amiable himself.",
    "ill-disposed": "He was not an ill-disposed young man.",
}
"""What is said, by name."""

_CODEC_RATE: Final = 48_000


class Recording(msgspec.Struct, frozen=True):
    """A sentence, spoken by a human.

    Attributes:
        transcript: what is said.
        pcm: s16le mono at `sample_rate`.
        opus: the Opus packets of 20 ms it is shipped as, to be sent without transcoding.
    """

    name: str
    transcript: str
    pcm: bytes
    opus: tuple[bytes, ...]
    sample_rate: int = SAMPLE_RATE

    @property
    def duration_ms(self) -> float:
        """How long it is."""
        return len(self.pcm) / 2 / self.sample_rate * 1000


@functools.cache
def recording(name: str) -> Recording:
    """Load a recording by a name of `TRANSCRIPTS`.

    Raises:
        LocalError: there is none of that name.
    """
    if name not in TRANSCRIPTS:
        raise LocalError(f"no recording {name!r}; there are {', '.join(TRANSCRIPTS)}")
    file = importlib.resources.files("moqvox_client.speech") / "clips" / f"{name}.ogg"
    reader = ogg.Reader()
    packets = reader.push(file.read_bytes())
    reader.finish()
    if reader.head is None:
        raise LocalError(f"the recording {name!r} has no header")
    decoder = Decoder(SAMPLE_RATE)
    pcm = b"".join(decoder.decode(packet.payload) for packet in packets)
    samples = sum(packet.samples - packet.trim_end for packet in packets)
    first, last = (2 * (at * SAMPLE_RATE // _CODEC_RATE) for at in (reader.head.pre_skip, samples))
    return Recording(
        name, TRANSCRIPTS[name], pcm[first:last], tuple(packet.payload for packet in packets)
    )


def main_recording() -> Recording:
    """Load the sentence that the demo speaks."""
    return recording(MAIN)
