"""Just enough Ogg to hand Opus packets over by file. RFC 3533, RFC 7845.

Written apart from moqvox's own reader and writer, which it is used to check.
"""

import hashlib
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from interop.failure import Failure

__all__ = ["packet_digests", "read_packets", "write_opus"]

PAGE: Final = struct.Struct("<4sBBqIIIB")
SERIAL: Final = 0x6D6F7178
SAMPLES_PER_PACKET: Final = 960
FIRST, LAST, CONTINUED = 2, 4, 1
TAGS: Final = b"OpusTags" + struct.pack("<I", 7) + b"interop" + struct.pack("<I", 0)


def _crc_table() -> list[int]:
    table = []
    for byte in range(256):
        crc = byte << 24
        for _ in range(8):
            crc = ((crc << 1) ^ 0x04C11DB7) if crc & 0x80000000 else crc << 1
        table.append(crc & 0xFFFFFFFF)
    return table


CRC_TABLE: Final = _crc_table()


def _crc(data: bytes) -> int:
    crc = 0
    for byte in data:
        crc = ((crc << 8) & 0xFFFFFFFF) ^ CRC_TABLE[(crc >> 24) ^ byte]
    return crc


def _page(packet: bytes, sequence: int, granule: int, flags: int) -> bytes:
    """Put one packet on one page."""
    lacing = bytes([255] * (len(packet) // 255) + [len(packet) % 255])
    if len(lacing) > 255:
        raise ValueError(f"a packet of {len(packet)} bytes does not fit on a page")

    def header(crc: int) -> bytes:
        fields = (b"OggS", 0, flags, granule, SERIAL, sequence, crc, len(lacing))
        return PAGE.pack(*fields) + lacing

    return header(_crc(header(0) + packet)) + packet


def write_opus(file: Path, head: bytes, packets: Sequence[bytes]) -> None:
    """Write 20 ms packets as Ogg-Opus, each on its own page."""
    pages = [_page(head, 0, 0, FIRST), _page(TAGS, 1, 0, 0)]
    for at, packet in enumerate(packets):
        flags = LAST if at == len(packets) - 1 else 0
        pages.append(_page(packet, at + 2, (at + 1) * SAMPLES_PER_PACKET, flags))
    file.write_bytes(b"".join(pages))


def read_packets(file: Path) -> list[bytes]:
    """Read the audio packets of an Ogg-Opus file, without its two headers.

    Raises:
        Failure: it is damaged, or not Ogg-Opus.
    """
    data, at, pending = file.read_bytes(), 0, b""
    packets: list[bytes] = []
    while at < len(data):
        if len(data) - at < PAGE.size or data[at : at + 4] != b"OggS":
            raise Failure(f"{file.name} has no Ogg page at byte {at}")
        *_, crc, segments = PAGE.unpack_from(data, at)
        body = at + PAGE.size + segments
        lacing = data[at + PAGE.size : body]
        end = body + sum(lacing)
        page = data[at : at + 22] + bytes(4) + data[at + 26 : end]
        if len(data) < end or _crc(page) != crc:
            raise Failure(f"{file.name} has a damaged Ogg page at byte {at}")
        for size in lacing:
            pending += data[body : body + size]
            body += size
            if size < 255:
                packets.append(pending)
                pending = b""
        at = end
    if not packets or not packets[0].startswith(b"OpusHead"):
        raise Failure(f"{file.name} is not Ogg-Opus")
    return packets[2:]


def packet_digests(file: Path) -> list[str]:
    """Name each audio packet of a file by its content."""
    return [hashlib.sha256(packet).hexdigest() for packet in read_packets(file)]
