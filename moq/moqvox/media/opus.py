"""What an Opus packet says about itself, without decoding it (RFC 6716, section 3).

Enough to time, validate and file packets on machines that have no codec at all.
"""

from enum import Enum

from msgspec import Struct

from moqvox.errors import MediaError

__all__ = [
    "MAX_FRAME_BYTES",
    "MAX_PACKET_BYTES",
    "MAX_PACKET_SAMPLES",
    "SAMPLE_RATE",
    "SAMPLE_RATES",
    "Bandwidth",
    "Mode",
    "Packet",
    "packet_duration_us",
    "packet_samples",
    "parse_packet",
]

SAMPLE_RATE = 48_000
"""Durations are counted at 48 kHz, whatever rate the audio was captured at."""

SAMPLE_RATES = (8_000, 12_000, 16_000, 24_000, 48_000)
"""The rates Opus encodes from and decodes to by itself."""

MAX_FRAME_BYTES = 1275
MAX_PACKET_SAMPLES = 5760
"""120 ms at 48 kHz, the longest packet [R5]."""

MAX_PACKET_BYTES = 48 * (MAX_FRAME_BYTES + 2) + 2
"""48 frames of 2.5 ms, each with its length, TOC and count: no unpadded packet is larger."""

_TWO_BYTE_LENGTH = 252
_FLAG_VBR = 0x80
_FLAG_PADDING = 0x40
_COUNT_MASK = 0x3F


class Mode(Enum):
    """Which of the two coders, or both, made the frames."""

    SILK = "silk"
    HYBRID = "hybrid"
    CELT = "celt"


class Bandwidth(Enum):
    """The audio band; the value is the highest frequency in Hz."""

    NARROW = 4_000
    MEDIUM = 6_000
    WIDE = 8_000
    SUPER_WIDE = 12_000
    FULL = 20_000


class Packet(Struct, frozen=True):
    """The facts of one packet; `frame_samples` counts at 48 kHz, per channel."""

    mode: Mode
    bandwidth: Bandwidth
    channels: int
    frame_samples: int
    frame_sizes: tuple[int, ...]

    @property
    def frame_count(self) -> int:
        """How many frames the packet holds, 1 to 48."""
        return len(self.frame_sizes)

    @property
    def samples(self) -> int:
        """Length at 48 kHz, per channel."""
        return self.frame_samples * len(self.frame_sizes)

    @property
    def duration_us(self) -> int:
        """Length in microseconds; exact, every Opus length is a multiple of 2.5 ms."""
        return self.samples * 125 // 6

    @property
    def is_dtx(self) -> bool:
        """Whether every frame is empty: the encoder had only silence to tell of."""
        return all(size <= 1 for size in self.frame_sizes)


def _configurations() -> tuple[tuple[Mode, Bandwidth, int], ...]:
    silk = (480, 960, 1920, 2880)
    celt = (120, 240, 480, 960)
    rows: list[tuple[Mode, Bandwidth, int]] = []
    for band in (Bandwidth.NARROW, Bandwidth.MEDIUM, Bandwidth.WIDE):
        rows += [(Mode.SILK, band, samples) for samples in silk]
    for band in (Bandwidth.SUPER_WIDE, Bandwidth.FULL):
        rows += [(Mode.HYBRID, band, samples) for samples in silk[:2]]
    for band in (Bandwidth.NARROW, Bandwidth.WIDE, Bandwidth.SUPER_WIDE, Bandwidth.FULL):
        rows += [(Mode.CELT, band, samples) for samples in celt]
    return tuple(rows)


_CONFIGURATIONS = _configurations()
_FRAME_SAMPLES = tuple(samples for _, _, samples in _CONFIGURATIONS)


def packet_samples(packet: bytes) -> int:
    """Return a packet's length at 48 kHz, reading its first two bytes only.

    Raises:
        MediaError: no bytes, no frames, or more than 120 ms.
    """
    if not packet:
        raise MediaError("an opus packet has at least one byte, got none")
    toc = packet[0]
    code = toc & 0x3
    if code == 3:
        if len(packet) < 2:
            raise MediaError("an opus packet of code 3 ends before its frame count")
        count = packet[1] & _COUNT_MASK
    else:
        count = 1 if code == 0 else 2
    samples = count * _FRAME_SAMPLES[toc >> 3]
    if not 0 < samples <= MAX_PACKET_SAMPLES:
        raise MediaError(
            f"an opus packet holds 1 to {MAX_PACKET_SAMPLES} samples, this one claims {samples}"
        )
    return samples


def packet_duration_us(packet: bytes) -> int:
    """Return a packet's length in microseconds; see `packet_samples`."""
    return packet_samples(packet) * 125 // 6


def parse_packet(packet: bytes) -> Packet:
    """Read and validate a whole packet (RFC 6716, section 3.2, requirements R1 to R7).

    Raises:
        MediaError: the packet breaks one of them.
    """
    packet_samples(packet)
    toc = packet[0]
    mode, bandwidth, frame_samples = _CONFIGURATIONS[toc >> 3]
    sizes = _frame_sizes(packet, toc & 0x3)
    largest = max(sizes)
    if largest > MAX_FRAME_BYTES:
        raise MediaError(f"an opus frame has at most {MAX_FRAME_BYTES} bytes, got {largest}")
    return Packet(
        mode=mode,
        bandwidth=bandwidth,
        channels=2 if toc & 0x4 else 1,
        frame_samples=frame_samples,
        frame_sizes=sizes,
    )


def _frame_sizes(packet: bytes, code: int) -> tuple[int, ...]:
    rest = len(packet) - 1
    if code == 0:
        return (rest,)
    if code == 1:
        if rest % 2:
            raise MediaError(f"two equal opus frames cannot share {rest} bytes")
        return (rest // 2, rest // 2)
    if code == 2:
        first, at = _frame_length(packet, 1)
        if first > len(packet) - at:
            raise MediaError(f"first opus frame claims {first} of {len(packet) - at} bytes")
        return (first, len(packet) - at - first)
    return _counted_frame_sizes(packet)


def _counted_frame_sizes(packet: bytes) -> tuple[int, ...]:
    flags = packet[1]
    count = flags & _COUNT_MASK
    at = 2
    padding = 0
    if flags & _FLAG_PADDING:
        padding, at = _padding_length(packet, at)
    if not flags & _FLAG_VBR:
        body = len(packet) - at - padding
        if body < 0 or body % count:
            raise MediaError(f"{count} equal opus frames cannot share {body} bytes")
        return (body // count,) * count
    sizes: list[int] = []
    for _ in range(count - 1):
        size, at = _frame_length(packet, at)
        sizes.append(size)
    last = len(packet) - at - padding - sum(sizes)
    if last < 0:
        raise MediaError(f"opus frames and padding overrun their packet by {-last} bytes")
    return (*sizes, last)


def _frame_length(packet: bytes, at: int) -> tuple[int, int]:
    if at >= len(packet):
        raise MediaError("an opus packet ends before a frame length")
    first = packet[at]
    if first < _TWO_BYTE_LENGTH:
        return first, at + 1
    if at + 1 >= len(packet):
        raise MediaError("an opus packet ends inside a frame length")
    return packet[at + 1] * 4 + first, at + 2


def _padding_length(packet: bytes, at: int) -> tuple[int, int]:
    padding = 0
    while True:
        if at >= len(packet):
            raise MediaError("an opus packet ends inside its padding length")
        step = packet[at]
        at += 1
        if step < 255:
            return padding + step, at
        padding += 254
