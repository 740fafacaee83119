"""Ogg pages: the framing under Ogg Opus (RFC 3533, section 6)."""

import struct
import zlib

from msgspec import Struct

from moqvox.errors import MediaError

__all__ = ["MAX_PAGE_BYTES", "NO_GRANULE", "Page", "lace", "paginate", "parse_page"]

_HEADER = struct.Struct("<4sBBqIIIB")
_MAGIC = b"OggS"
_CONTINUED, _FIRST, _LAST = 0x1, 0x2, 0x4
_MAX_SEGMENTS = 255
_CRC_AT = 22

MAX_PAGE_BYTES = _HEADER.size + _MAX_SEGMENTS + _MAX_SEGMENTS * 255
NO_GRANULE = -1
"""Granule position of a page on which no packet ends."""

_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


class Page(Struct, frozen=True):
    """One page. `lacing` holds the segment sizes; a packet goes on while they are 255."""

    granule: int
    serial: int
    sequence: int
    lacing: bytes
    body: bytes
    continued: bool = False
    first: bool = False
    last: bool = False

    def encode(self) -> bytes:
        """Return the page with its checksum."""
        flags = _CONTINUED * self.continued | _FIRST * self.first | _LAST * self.last
        header = _HEADER.pack(
            _MAGIC, 0, flags, self.granule, self.serial, self.sequence, 0, len(self.lacing)
        )
        page = b"".join((header, self.lacing, self.body))
        checksum = struct.pack("<I", _checksum(page))
        return b"".join((page[:_CRC_AT], checksum, page[_CRC_AT + 4 :]))

    def pieces(self) -> list[tuple[bytes, bool]]:
        """Split the body into packets, each with whether it ends on this page."""
        found: list[tuple[bytes, bool]] = []
        start = end = 0
        for size in self.lacing:
            end += size
            if size < 255:
                found.append((self.body[start:end], True))
                start = end
        if self.lacing and self.lacing[-1] == 255:
            found.append((self.body[start:end], False))
        return found


def parse_page(data: bytes | bytearray, at: int = 0) -> tuple[Page, int] | None:
    """Read the page at `at`; return it and the offset after it, or None if bytes are missing.

    Raises:
        MediaError: no capture pattern, a version other than 0, or a wrong checksum.
    """
    magic = bytes(data[at : at + 4])
    if magic != _MAGIC[: len(magic)]:
        raise MediaError(f"not an ogg page: starts with {magic!r}")
    if len(data) - at < _HEADER.size:
        return None
    _, version, flags, granule, serial, sequence, checksum, count = _HEADER.unpack_from(data, at)
    if version != 0:
        raise MediaError(f"ogg version {version} is not supported, 0 is")
    body_at = at + _HEADER.size + count
    lacing = bytes(data[at + _HEADER.size : body_at])
    end = body_at + sum(lacing)
    if len(lacing) < count or len(data) < end:
        return None
    page = bytearray(data[at:end])
    page[_CRC_AT : _CRC_AT + 4] = bytes(4)
    if _checksum(page) != checksum:
        raise MediaError(f"ogg page {sequence} has a wrong checksum")
    parsed = Page(
        granule=granule,
        serial=serial,
        sequence=sequence,
        lacing=lacing,
        body=bytes(data[body_at:end]),
        continued=bool(flags & _CONTINUED),
        first=bool(flags & _FIRST),
        last=bool(flags & _LAST),
    )
    return parsed, end


def lace(size: int) -> bytes:
    """Return the segment sizes that stand for one packet of `size` bytes."""
    return b"\xff" * (size // 255) + bytes((size % 255,))


def paginate(packet: bytes, granule: int, serial: int, sequence: int) -> list[Page]:
    """Spread one packet over as many pages as it needs, the granule on the last."""
    lacing = lace(len(packet))
    pages: list[Page] = []
    for index in range(0, len(lacing), _MAX_SEGMENTS):
        ends = index + _MAX_SEGMENTS >= len(lacing)
        pages.append(
            Page(
                granule=granule if ends else NO_GRANULE,
                serial=serial,
                sequence=sequence + len(pages),
                lacing=lacing[index : index + _MAX_SEGMENTS],
                body=packet[index * 255 : (index + _MAX_SEGMENTS) * 255],
                continued=index > 0,
            )
        )
    return pages


def _checksum(page: bytes | bytearray) -> int:
    # Ogg's CRC-32 has zlib's polynomial with the bits in the other order and neither its
    # preset nor its final inversion. Mirroring the bytes lets zlib do the work in C.
    mirrored = zlib.crc32(page.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int.from_bytes(mirrored.to_bytes(4, "little").translate(_REVERSED), "big")
