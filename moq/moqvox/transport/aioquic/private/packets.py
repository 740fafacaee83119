"""Packets of the usual kind: their protection, what they held, what they hold.

RFC 9000, sections 17.3.1 (short header), 19.3 (ACK), 19.8 (STREAM), 19.19 (CONNECTION_CLOSE);
RFC 9001, section 5.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from aioquic._buffer import Buffer, BufferReadError
from aioquic.quic.crypto import CryptoContext, CryptoPair, KeyUnavailableError
from aioquic.quic.events import ConnectionTerminated
from aioquic.quic.packet import QuicFrameType, QuicPacketType, decode_packet_number
from aioquic.quic.packet_builder import QuicDeliveryState
from aioquic.tls import Epoch
from cryptography.exceptions import InvalidTag

from moqvox.transport.aioquic.varint import encode_varint

if TYPE_CHECKING:
    from moqvox.transport.aioquic.private.sender import Sender

__all__ = [
    "OVERHEAD_BYTES",
    "STREAM_HEAD_BYTES",
    "Fate",
    "PlainPacket",
    "ReceivedAck",
    "ReceivedFrame",
    "SentFrame",
    "Shield",
    "ack_frame",
    "read_close",
    "read_frames",
    "stream_frame",
]

NONCE_BYTES: Final = 12
SAMPLE_OFFSET, SAMPLE_BYTES = 4, 16
SHORT_MASK: Final = 0x1F
"""Bits of a short header's first byte that are protected."""

PHASE_AND_RESERVED: Final = 0x1C
PHASE_SHIFT: Final = 2
NUMBER_BYTES: Final = 2
"""Packet numbers are sent with so many bytes, as upstream does."""

OVERHEAD_BYTES: Final = 1 + NUMBER_BYTES + 16
"""Of a packet: first byte, number and AEAD tag; the connection ID comes on top."""

FIRST_BYTE: Final = 0x40 | (NUMBER_BYTES - 1)
STREAM, STREAM_LAST = 0x08, 0x0F
WITH_OFFSET, WITH_LENGTH, WITH_FIN = 4, 2, 1
STREAM_HEAD_BYTES: Final = 1 + 2
"""Type and length of a STREAM frame; the length has always two bytes, as with upstream."""

TWO_BYTE_VARINT: Final = 0x4000
UNPROTECTED_BYTES: Final = SAMPLE_OFFSET + SAMPLE_BYTES
SAMPLE_START, SAMPLE_STOP = SAMPLE_OFFSET - NUMBER_BYTES, UNPROTECTED_BYTES - NUMBER_BYTES
"""Where the sample for header protection is in what we seal, and in what we open above."""

PADDING, PING, ACK = (
    kind.value for kind in (QuicFrameType.PADDING, QuicFrameType.PING, QuicFrameType.ACK)
)
TRANSPORT_CLOSE: Final = QuicFrameType.TRANSPORT_CLOSE.value
CLOSES: Final = (TRANSPORT_CLOSE, QuicFrameType.APPLICATION_CLOSE.value)

Cipher = Callable[[bytes, bytes, bytes], bytes]
"""Encrypts or decrypts: nonce, data, associated data."""

Fate = tuple[Callable[..., None], tuple[object, ...]]
"""Whom to tell, and with what, when a frame was acknowledged or lost."""

SentFrame = tuple["Sender", int, int, bool]
"""Bytes of a stream that a packet carried: sender, start, stop, and whether its end is in."""


class Shield:
    """The keys of 1-RTT packets, used without detours; made anew when keys change."""

    __slots__ = (
        *("_encrypt", "_send_iv", "_send_mask"),
        *("_decrypt", "_recv_iv", "_recv_mask"),
        "_phase",
    )

    def __init__(self, pair: CryptoPair) -> None:
        self._phase = pair.key_phase << PHASE_SHIFT
        self._encrypt, self._send_iv, self._send_mask = _parts(pair.send, "encrypt")
        self._decrypt, self._recv_iv, self._recv_mask = _parts(pair.recv, "decrypt")

    def seal(self, spin: int, cid: bytes, number: int, payload: bytes) -> bytes:
        """Build a packet; `spin` is the spin bit in its place."""
        first = FIRST_BYTE | self._phase | spin
        truncated = number & 0xFFFF
        header = b"%c%b%b" % (first, cid, truncated.to_bytes(NUMBER_BYTES, "big"))
        nonce = (self._send_iv ^ number).to_bytes(NONCE_BYTES, "big")
        sealed = self._encrypt(nonce, payload, header)
        mask = self._send_mask(sealed[SAMPLE_START:SAMPLE_STOP])
        first ^= mask[0] & SHORT_MASK
        truncated ^= mask[1] << 8 | mask[2]
        return b"%c%b%b%b" % (first, cid, truncated.to_bytes(NUMBER_BYTES, "big"), sealed)

    def open(self, data: bytes, start: int, expected: int) -> tuple[int, int, bytes] | None:
        """Open a packet whose number begins at `start`.

        Returns:
            First byte, packet number and payload in the clear; None when it is damaged, of
            another key phase or not to be trusted for another reason.
        """
        if len(data) < start + UNPROTECTED_BYTES:
            return None
        mask = self._recv_mask(data[start + SAMPLE_OFFSET : start + UNPROTECTED_BYTES])
        first = data[0] ^ (mask[0] & SHORT_MASK)
        if first & PHASE_AND_RESERVED != self._phase:
            return None
        size = (first & 3) + 1
        stop = start + size
        truncated = int.from_bytes(data[start:stop], "big")
        truncated ^= int.from_bytes(mask[1 : 1 + size], "big")
        header = b"%c%b%b" % (first, data[1:start], truncated.to_bytes(size, "big"))
        number = decode_packet_number(truncated, size << 3, expected)
        nonce = (self._recv_iv ^ number).to_bytes(NONCE_BYTES, "big")
        try:
            return first, number, self._decrypt(nonce, data[stop:], header)
        except InvalidTag:
            return None


def _parts(context: CryptoContext, what: str) -> tuple[Cipher, int, Callable[[bytes], bytes]]:
    """Return the cipher, its IV, and what makes five bytes of mask, or more, from a sample."""
    protection = context.hp
    if context.aead is None or protection is None:
        raise KeyUnavailableError("no keys for 1-RTT packets")
    cipher: Cipher = getattr(context.aead._aead, what)  # noqa: SLF001  # skips upstream's wrapper
    mask = protection._mask if protection._is_chacha20 else protection._encryptor.update  # noqa: SLF001  # as above
    return cipher, context.aead._iv, mask  # noqa: SLF001  # as above


class PlainPacket:
    """A packet that was sent. Takes the place of upstream's `QuicSentPacket`.

    Attributes:
        ack: the fate of the ACK frame in it.
        frames: what of streams it carried.
    """

    __slots__ = ("ack", "frames", "in_flight", "packet_number", "sent_bytes", "sent_time")

    epoch: Final = Epoch.ONE_RTT
    packet_type: Final = QuicPacketType.ONE_RTT
    is_crypto_packet: Final = False

    def __init__(
        self, number: int, size: int, now: float, frames: list[SentFrame], ack: Fate | None
    ) -> None:
        self.packet_number = number
        self.sent_bytes = size
        self.sent_time = now
        self.frames = frames
        self.ack = ack
        self.in_flight = bool(frames)

    @property
    def is_ack_eliciting(self) -> bool:
        """Whether the peer acknowledges it by itself."""
        return self.in_flight

    def on_acked(self) -> None:
        """Tell those whom it concerns."""
        for sender, start, stop, fin in self.frames:
            sender.arrived(start, stop, fin)
        if self.ack is not None:
            self.ack[0](QuicDeliveryState.ACKED, *self.ack[1])

    @property
    def delivery_handlers(self) -> list[Fate]:
        """Whom upstream tells of its fate, in the order of the frames."""
        told: list[Fate] = [] if self.ack is None else [self.ack]
        told += [(frame[0].on_data_delivery, frame[1:]) for frame in self.frames]
        return told


ReceivedAck = tuple[int, int, int]
"""First and last packet number, and the delay as encoded."""

ReceivedFrame = tuple[int, int, bytes, bool]
"""Stream, offset, data, and whether the stream ends with it."""


def read_frames(payload: bytes) -> tuple[ReceivedAck | None, ReceivedFrame | None, bool] | None:
    """Read a packet that holds at most one ACK of one range and one STREAM frame, and PING.

    Returns:
        Both, and whether the packet asks for an ACK; None when there is anything else in it.
    """
    buf = Buffer(data=payload)
    pull = buf.pull_uint_var
    ack: ReceivedAck | None = None
    frame: ReceivedFrame | None = None
    asks = False
    try:
        while not buf.eof():
            kind = pull()
            if kind == ACK and ack is None:
                last, delay, more, count = pull(), pull(), pull(), pull()
                if more or count > last:
                    return None
                ack = last - count, last, delay
            elif STREAM <= kind <= STREAM_LAST and frame is None:
                stream_id = pull()
                offset = pull() if kind & WITH_OFFSET else 0
                size = pull() if kind & WITH_LENGTH else buf.capacity - buf.tell()
                frame = stream_id, offset, buf.pull_bytes(size), bool(kind & WITH_FIN)
                asks = True
            elif kind == PING:
                asks = True
            elif kind != PADDING:
                return None
    except (BufferReadError, ValueError):
        return None
    return (ack, frame, asks) if ack or asks else None


def read_close(payload: bytes) -> ConnectionTerminated | None:
    """Read a packet that holds a CONNECTION_CLOSE, and PADDING behind it at most; None: another."""
    buf = Buffer(data=payload)
    pull = buf.pull_uint_var
    try:
        kind = pull()
        if kind not in CLOSES:
            return None
        code = pull()
        frame_type = pull() if kind == TRANSPORT_CLOSE else None
        reason = buf.pull_bytes(pull())
    except (BufferReadError, ValueError):
        return None
    if payload[buf.tell() :].strip(b"\0"):
        return None
    try:
        told = reason.decode()
    except UnicodeDecodeError:
        told = ""
    return ConnectionTerminated(error_code=code, frame_type=frame_type, reason_phrase=told)


def ack_frame(first: int, last: int, delay: int) -> bytes:
    """Encode an ACK of one range."""
    fields = encode_varint(last), encode_varint(delay), 0, encode_varint(last - first)
    return b"%c%b%b%c%b" % (ACK, *fields)


def stream_frame(name: bytes, offset: bytes, data: bytes, *, fin: bool) -> bytes:
    """Encode a STREAM frame with its length.

    Args:
        name: the stream's ID, encoded.
        offset: encoded; empty for 0.
        data: what it carries; `STREAM_HEAD_BYTES` come on top of all three.
        fin: whether the stream ends with it.
    """
    kind = STREAM | WITH_LENGTH | fin | (WITH_OFFSET if offset else 0)
    length = (TWO_BYTE_VARINT | len(data)).to_bytes(2, "big")
    return b"%c%b%b%b%b" % (kind, name, offset, length, data)
