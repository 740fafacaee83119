"""The two header packets of Ogg Opus (RFC 7845, section 5).

`OpusHead` also serves as the decoder description in a hang catalog.
"""

import struct

from msgspec import Struct

from moqvox.errors import LocalError, MediaError

__all__ = ["MAX_TAGS_BYTES", "OpusHead", "OpusTags"]

MAX_TAGS_BYTES = 8 * 1024 * 1024
"""Comments beyond this are refused; cover art rarely passes a megabyte."""

_HEAD = struct.Struct("<8sBBHIhB")
_HEAD_MAGIC = b"OpusHead"
_TAGS_MAGIC = b"OpusTags"
_MAX_CHANNELS = 2


class OpusHead(Struct, frozen=True):
    """Identification header.

    `pre_skip` counts samples at 48 kHz to throw away when decoding starts. `sample_rate` is
    that of the original input (0: unknown) and says nothing about decoding. `output_gain` is
    in 1/256 dB.
    """

    channels: int = 1
    pre_skip: int = 312
    sample_rate: int = 48_000
    output_gain: int = 0

    def encode(self) -> bytes:
        """Return the 19 bytes of the packet, mapping family 0.

        Raises:
            LocalError: a field is out of range.
        """
        try:
            return _HEAD.pack(
                _HEAD_MAGIC,
                1,
                self.channels,
                self.pre_skip,
                self.sample_rate,
                self.output_gain,
                0,
            )
        except struct.error as error:
            raise LocalError(f"opus header field out of range: {error}") from error

    @staticmethod
    def decode(packet: bytes) -> "OpusHead":
        """Read an identification header; later minor versions may be longer.

        Raises:
            MediaError: not an OpusHead, a major version other than 0, or surround sound.
        """
        if packet[:8] != _HEAD_MAGIC:
            raise MediaError(f"not an OpusHead packet: starts with {packet[:8]!r}")
        if len(packet) < _HEAD.size:
            raise MediaError(f"OpusHead has at least {_HEAD.size} bytes, got {len(packet)}")
        _, version, channels, pre_skip, rate, gain, family = _HEAD.unpack_from(packet)
        if version & 0xF0:
            raise MediaError(f"OpusHead version {version} is not supported, 0 to 15 are")
        if not 1 <= channels <= _MAX_CHANNELS or family not in (0, 1):
            raise MediaError(
                f"only mono and stereo opus is supported, got {channels} channels"
                f" in mapping family {family}"
            )
        return OpusHead(channels=channels, pre_skip=pre_skip, sample_rate=rate, output_gain=gain)


class OpusTags(Struct, frozen=True):
    """Comment header: `comments` are (name, value) pairs, in order; names may repeat."""

    vendor: str = "moqvox"
    comments: tuple[tuple[str, str], ...] = ()

    def encode(self) -> bytes:
        """Return the packet.

        Raises:
            LocalError: a name that is not printable ASCII without `=`, or too large.
        """
        fields = [self.vendor.encode()]
        for name, value in self.comments:
            if not name or any(not " " <= letter <= "}" or letter == "=" for letter in name):
                raise LocalError(f"opus comment name {name!r} is not printable ascii without '='")
            fields.append(f"{name}={value}".encode())
        parts = [_TAGS_MAGIC]
        for index, field in enumerate(fields):
            parts.append(len(field).to_bytes(4, "little"))
            parts.append(field)
            if index == 0:
                parts.append(len(self.comments).to_bytes(4, "little"))
        packet = b"".join(parts)
        if len(packet) > MAX_TAGS_BYTES:
            raise LocalError(f"opus comments of {len(packet)} bytes pass {MAX_TAGS_BYTES}")
        return packet

    @staticmethod
    def decode(packet: bytes) -> "OpusTags":
        """Read a comment header; text that is not UTF-8 is replaced, not refused.

        Raises:
            MediaError: not OpusTags, or a length that overruns the packet.
        """
        if packet[:8] != _TAGS_MAGIC:
            raise MediaError(f"not an OpusTags packet: starts with {packet[:8]!r}")
        vendor, at = _text(packet, 8)
        count, at = _length(packet, at)
        if count > (len(packet) - at) // 4:
            raise MediaError(f"{count} opus comments cannot fit in {len(packet) - at} bytes")
        comments: list[tuple[str, str]] = []
        for _ in range(count):
            field, at = _text(packet, at)
            name, _, value = field.partition("=")
            comments.append((name, value))
        return OpusTags(vendor=vendor, comments=tuple(comments))


def _length(packet: bytes, at: int) -> tuple[int, int]:
    if at + 4 > len(packet):
        raise MediaError("OpusTags ends inside a length")
    return int.from_bytes(packet[at : at + 4], "little"), at + 4


def _text(packet: bytes, at: int) -> tuple[str, int]:
    length, at = _length(packet, at)
    if length > len(packet) - at:
        raise MediaError(f"OpusTags field claims {length} of {len(packet) - at} bytes")
    return packet[at : at + length].decode(errors="replace"), at + length
