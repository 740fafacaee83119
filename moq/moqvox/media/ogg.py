"""Ogg Opus files and pipes, read and written without touching the codec (RFC 7845).

Positions count samples at 48 kHz from the start of the stream, pre-skip included, so the
position of a packet is also its time on the wire: nothing shifts when a file is published.
"""

from collections.abc import Iterator

from msgspec import Struct

from moqvox.errors import LocalError, MediaError
from moqvox.media.ogg_page import NO_GRANULE, Page, lace, paginate, parse_page
from moqvox.media.opus import MAX_PACKET_BYTES, packet_samples
from moqvox.media.opus_head import MAX_TAGS_BYTES, OpusHead, OpusTags

__all__ = ["OggPacket", "Reader", "Writer"]

_MAX_FOREIGN_STREAMS = 16
_MAX_SEGMENTS = 255
_MAX_SERIAL = 0xFFFFFFFF


class OggPacket(Struct, frozen=True):
    """One Opus packet of a file.

    `start` is the position of its first sample and `samples` its length, both at 48 kHz.
    The last `trim_end` samples are not part of the recording (end trimming, section 4.4).
    """

    payload: bytes
    start: int
    samples: int
    trim_end: int = 0


class Reader:
    """Reads one Ogg Opus stream from chunks of any size.

    Pages of other streams multiplexed into the file (a video, say) are skipped. A second
    stream after the end (chaining) is refused, since its timing has no relation to the first.
    Holds at most one page, one unfinished packet and the chunk being read.
    """

    def __init__(self) -> None:
        self.head: OpusHead | None = None
        self.tags: OpusTags | None = None
        self.ended = False
        self._buffer = bytearray()
        self._serial: int | None = None
        self._foreign: set[int] = set()
        self._foreign_magic = b""
        self._next_sequence = 0
        self._partial: bytearray | None = None
        self._position: int | None = None

    def push(self, data: bytes) -> list[OggPacket]:
        """Take the next bytes and return the audio packets they complete.

        `head` and `tags` are set before the first packet is returned.

        Raises:
            MediaError: not Ogg, not Opus, damaged, chained, or over a bound. What was
                returned before stays good; nothing can be read after.
        """
        self._buffer += data
        packets: list[OggPacket] = []
        at = 0
        while at < len(self._buffer):
            parsed = parse_page(self._buffer, at)
            if parsed is None:
                break
            page, at = parsed
            packets += self._take_page(page)
        del self._buffer[:at]
        return packets

    def finish(self) -> None:
        """Say that no more bytes come.

        A stream without an end-of-stream page is accepted (`ended` tells), as a recording
        that was cut off leaves one.

        Raises:
            MediaError: the bytes end inside a page, a packet or the headers.
        """
        if self._buffer:
            raise MediaError(f"ogg data ends inside a page, {len(self._buffer)} bytes into it")
        if self.head is None:
            raise MediaError(self._no_opus())
        if self.tags is None:
            raise MediaError("ogg data ends before the opus comment header")
        if self._partial is not None:
            raise MediaError("ogg data ends inside a packet")

    def _no_opus(self) -> str:
        if self._foreign:
            return f"no opus stream in this ogg file, found {self._foreign_magic!r}"
        return "no ogg pages at all"

    def _take_page(self, page: Page) -> list[OggPacket]:
        if page.first and not self._begin(page):
            return []
        if page.serial != self._serial:
            if page.serial in self._foreign:
                return []
            if self._serial is None:
                raise MediaError(self._no_opus())
            raise MediaError(f"ogg page of unknown stream {page.serial:#010x}")
        if self.ended:
            raise MediaError("ogg page after the end of its stream")
        if page.sequence != self._next_sequence:
            raise MediaError(f"ogg page {self._next_sequence} is missing, got {page.sequence}")
        self._next_sequence = (page.sequence + 1) & 0xFFFFFFFF
        bodies = list(self._complete(page))
        self.ended = page.last
        return self._time(bodies, page)

    def _begin(self, page: Page) -> bool:
        """Look at a first page; return whether it begins the stream to be read."""
        if self.ended:
            raise MediaError("chained ogg streams are not supported, a second one starts here")
        if self._serial is None and page.body.startswith(b"OpusHead"):
            self._serial = page.serial
            self._next_sequence = page.sequence
            return True
        if page.serial == self._serial:
            raise MediaError("ogg stream starts twice")
        if len(self._foreign) >= _MAX_FOREIGN_STREAMS:
            raise MediaError(f"more than {_MAX_FOREIGN_STREAMS} other streams in an ogg file")
        self._foreign.add(page.serial)
        self._foreign_magic = self._foreign_magic or page.body[:8]
        return False

    def _complete(self, page: Page) -> Iterator[bytes]:
        if page.continued != (self._partial is not None):
            raise MediaError(f"ogg page {page.sequence} does not continue the packet before it")
        for piece, ends in page.pieces():
            held = len(self._partial) if self._partial is not None else 0
            limit = MAX_PACKET_BYTES if self.tags is not None else MAX_TAGS_BYTES
            if held + len(piece) > limit:
                raise MediaError(f"ogg packet of more than {limit} bytes")
            if not ends:
                self._partial = self._partial if self._partial is not None else bytearray()
                self._partial += piece
                return
            whole = piece if self._partial is None else bytes(self._partial + piece)
            self._partial = None
            if not self._take_header(whole):
                yield whole

    def _take_header(self, packet: bytes) -> bool:
        if self.head is None:
            self.head = OpusHead.decode(packet)
            return True
        if self.tags is None:
            self.tags = OpusTags.decode(packet)
            return True
        return False

    def _time(self, bodies: list[bytes], page: Page) -> list[OggPacket]:
        """Give the packets that end on a page their positions (section 4)."""
        if not bodies:
            return []
        lengths = [packet_samples(body) for body in bodies]
        total = sum(lengths)
        trim = 0
        if page.granule == NO_GRANULE:
            raise MediaError(f"ogg page {page.sequence} ends packets but has no position")
        if self._position is None:
            if page.granule < total and not page.last:
                raise MediaError(
                    f"first ogg audio page ends at {page.granule} but holds {total} samples"
                )
            self._position = max(0, page.granule - total)
        elif not page.last:
            # A jump ahead is lost audio. A step back has no meaning; counting goes on.
            self._position = max(self._position, page.granule - total)
        if page.last:
            trim = min(total, max(0, self._position + total - page.granule))
        packets: list[OggPacket] = []
        for body, samples in zip(bodies, lengths, strict=True):
            # Trimming may reach over more than the last packet.
            after = total - samples
            total = after
            cut = min(samples, max(0, trim - after))
            packets.append(OggPacket(body, self._position, samples, cut))
            self._position += samples
        return packets


class Writer:
    """Writes Opus packets as an Ogg Opus stream, to a file or a pipe.

    Each page is given out when the packet after it arrives, because the last page must say
    that it is the last: with `packets_per_page=1` a pipe runs one packet behind.

    `serial` only has to differ between streams of one file. `sample_rate` is that of the
    original input, for players to show; it does not affect decoding.
    """

    def __init__(
        self,
        channels: int = 1,
        sample_rate: int = 48_000,
        pre_skip: int = 312,
        tags: OpusTags | None = None,
        *,
        packets_per_page: int = 50,
        serial: int = 1,
    ) -> None:
        if not 1 <= packets_per_page <= _MAX_SEGMENTS:
            raise LocalError(f"a page takes 1 to {_MAX_SEGMENTS} packets, not {packets_per_page}")
        if not 0 <= serial <= _MAX_SERIAL:
            raise LocalError(f"an ogg serial number has 32 bits, got {serial}")
        self.head = OpusHead(channels=channels, pre_skip=pre_skip, sample_rate=sample_rate)
        self.tags = tags if tags is not None else OpusTags()
        self.samples = 0
        self._packets_per_page = packets_per_page
        self._serial = serial
        self._sequence = 0
        self._started = False
        self._finished = False
        self._page_start = 0
        self._lacing: list[bytes] = []
        self._bodies: list[bytes] = []
        self._segments = 0

    def write(self, packet: bytes) -> bytes:
        """Add a packet and return the bytes that are ready, often none.

        Raises:
            MediaError: not an Opus packet.
            LocalError: `finish` was called.
        """
        if self._finished:
            raise LocalError("this ogg stream is finished")
        samples = packet_samples(packet)
        if len(packet) > MAX_PACKET_BYTES:
            raise MediaError(f"opus packet of {len(packet)} bytes, at most {MAX_PACKET_BYTES}")
        lacing = lace(len(packet))
        out = self._headers()
        full = len(self._bodies) >= self._packets_per_page
        if full or self._segments + len(lacing) > _MAX_SEGMENTS:
            out += self._page(self.samples, last=False)
        self._lacing.append(lacing)
        self._bodies.append(packet)
        self._segments += len(lacing)
        self.samples += samples
        return out

    def finish(self, trim_end: int = 0) -> bytes:
        """End the stream and return its last bytes; a stream without audio has its headers.

        `trim_end` samples at 48 kHz are cut from the end, less than the last page holds.

        Raises:
            LocalError: called twice, or more trimmed than the last page holds.
        """
        if self._finished:
            raise LocalError("this ogg stream is finished")
        held = self.samples - self._page_start
        if trim_end < 0 or (trim_end and trim_end >= held):
            raise LocalError(f"cannot trim {trim_end} samples from a last page of {held}")
        out = self._headers()
        self._finished = True
        return out + self._page(self.samples - trim_end, last=True)

    def _headers(self) -> bytes:
        if self._started:
            return b""
        self._started = True
        head = self.head.encode()
        first = Page(
            granule=0,
            serial=self._serial,
            sequence=0,
            lacing=lace(len(head)),
            body=head,
            first=True,
        )
        pages = [first, *paginate(self.tags.encode(), 0, self._serial, 1)]
        self._sequence = len(pages)
        return b"".join(page.encode() for page in pages)

    def _page(self, granule: int, *, last: bool) -> bytes:
        page = Page(
            granule=granule,
            serial=self._serial,
            sequence=self._sequence,
            lacing=b"".join(self._lacing),
            body=b"".join(self._bodies),
            last=last,
        )
        self._sequence += 1
        self._page_start = self.samples
        self._lacing.clear()
        self._bodies.clear()
        self._segments = 0
        return page.encode()
