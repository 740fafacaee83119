"""Frames of a hang media track: a timestamp and the codec's bytes.

`legacy`, which every hang peer writes by default, is a QUIC varint of microseconds followed by
the codec's bytes. A frame without codec bytes is a marker: the content ends at its timestamp.
"""

from enum import Enum

from msgspec import Struct

from moqvox.errors import MediaError
from moqvox.media.loc import decode_loc, encode_loc
from moqvox.wire.varint import Truncated, decode_varint, encode_varint

__all__ = [
    "ContainerKind",
    "MediaFrame",
    "decode_frame",
    "decode_legacy",
    "encode_frame",
    "encode_legacy",
    "end_marker",
]


class ContainerKind(Enum):
    """The containers of hang's catalog; `cmaf` (fragmented MP4) is known but not read."""

    LEGACY = "legacy"
    LOC = "loc"
    CMAF = "cmaf"


class MediaFrame(Struct, frozen=True):
    """One frame; `timestamp_us` is media time, from an origin of the publisher's choice."""

    timestamp_us: int
    payload: bytes

    @property
    def is_end(self) -> bool:
        """Whether this marks the end of the content and holds no audio."""
        return not self.payload


def encode_legacy(timestamp_us: int, payload: bytes) -> bytes:
    """Return a `legacy` frame.

    Raises:
        LocalError: the timestamp is negative or has more than 62 bits.
    """
    return encode_varint(timestamp_us) + payload


def decode_legacy(frame: bytes) -> MediaFrame:
    """Read a `legacy` frame.

    Raises:
        MediaError: it is cut inside its timestamp.
    """
    try:
        timestamp_us, at = decode_varint(frame)
    except Truncated as error:
        raise MediaError(f"media frame ends inside its timestamp: {error}") from error
    return MediaFrame(timestamp_us=timestamp_us, payload=frame[at:])


def end_marker(timestamp_us: int, kind: ContainerKind = ContainerKind.LEGACY) -> bytes:
    """Return the frame that says the content ends at `timestamp_us`."""
    return encode_frame(kind, timestamp_us, b"")


def encode_frame(kind: ContainerKind, timestamp_us: int, payload: bytes) -> bytes:
    """Return a frame of the container a rendition names.

    Raises:
        MediaError: `cmaf`, which is not written here.
    """
    match kind:
        case ContainerKind.LEGACY:
            return encode_legacy(timestamp_us, payload)
        case ContainerKind.LOC:
            return encode_loc(timestamp_us, payload)
        case ContainerKind.CMAF:
            raise MediaError("cmaf frames are not written, legacy and loc are")


def decode_frame(kind: ContainerKind, frame: bytes) -> MediaFrame:
    """Read a frame of the container a rendition names.

    Raises:
        MediaError: it breaks its format, or is `cmaf`, which is not read here.
    """
    match kind:
        case ContainerKind.LEGACY:
            return decode_legacy(frame)
        case ContainerKind.LOC:
            loc = decode_loc(frame)
            return MediaFrame(timestamp_us=loc.timestamp_us, payload=loc.payload)
        case ContainerKind.CMAF:
            raise MediaError("cmaf frames are not read, legacy and loc are")
