"""T17: frames that have no business where they are, each told by its code. RFC 9000, 12 and 19."""

import pytest
from tests.attack.attacker import Attacker, ack_frame, crypto_frame, stream_frame, varint

pytestmark = pytest.mark.net

FLOW, LIMIT, STATE, FINAL, ENCODING = 3, 4, 5, 6, 7
VIOLATION, BUFFER = 0x0A, 0x0D
CID_LIMIT, HUGE = 9, (1 << 62) - 1


def new_id(sequence: int, retire: int, cid: bytes) -> bytes:
    return b"\x18" + varint(sequence, retire) + bytes([len(cid)]) + cid + bytes(16)


OFFENCES = {
    "HANDSHAKE_DONE from a client": (b"\x1e", {VIOLATION}),
    "NEW_TOKEN from a client": (b"\x07" + varint(4) + b"abcd", {VIOLATION}),
    "an unknown frame type": (varint(0x3F) + b"xx", {ENCODING}),
    "a truncated frame": (b"\x0a\x00\x40", {ENCODING}),
    "a frame longer than its packet": (varint(0x0A, 0, 5000) + b"x", {ENCODING}),
    "data on a stream that only we may write": (stream_frame(3, 0, b"x"), {STATE}),
    "data on a stream of ours that we never opened": (stream_frame(1, 0, b"x"), {STATE}),
    "a stream beyond the limit": (stream_frame(4 * 5000, 0, b"x"), {LIMIT}),
    "a uni stream beyond the limit": (stream_frame(4 * 5000 + 2, 0, b"x"), {LIMIT}),
    "an offset beyond 2^62": (varint(0x0E, 0, HUGE, 1) + b"x", {FLOW, ENCODING}),
    "data beyond the stream's window": (stream_frame(0, 1 << 24, b"x"), {FLOW}),
    "two ends": (
        stream_frame(0, 0, b"ab", fin=True) + stream_frame(0, 0, b"abc", fin=True),
        {FINAL},
    ),
    "a reset with another final size": (
        stream_frame(0, 0, b"abc") + varint(0x04, 0, 0, 1),
        {FINAL},
    ),
    "a reset beyond the window": (varint(0x04, 0, 0, 1 << 40), {FLOW}),
    "STOP_SENDING of what we can't send": (varint(0x05, 2, 0), {STATE}),
    "STOP_SENDING of what we never opened": (varint(0x05, 1, 0), {STATE}),
    "MAX_STREAM_DATA of what we can't send": (varint(0x11, 2, 9), {STATE}),
    "MAX_STREAMS above 2^60": (varint(0x12, (1 << 60) + 1), {ENCODING}),
    "STREAMS_BLOCKED above 2^60": (varint(0x16, (1 << 60) + 1), {ENCODING, LIMIT}),
    "RETIRE_CONNECTION_ID of one never issued": (varint(0x19, 4000), {VIOLATION}),
    "retire_prior_to above the sequence number": (new_id(9, 10, bytes(8)), {ENCODING, VIOLATION}),
    "a connection ID of no bytes": (new_id(9, 0, b""), {ENCODING}),
    "a connection ID of 21 bytes": (new_id(9, 0, bytes(21)), {ENCODING}),
    "more connection IDs than we take": (
        b"".join(new_id(i, 0, i.to_bytes(8)) for i in range(9, 25)),
        {CID_LIMIT},
    ),
    "an ACK of the future": (ack_frame(1 << 40), {VIOLATION}),
    "an ACK with more packets than there are": (ack_frame(1, first=9), {ENCODING, VIOLATION}),
    "an ACK whose ranges go below zero": (ack_frame(2, 5, 5), {ENCODING, VIOLATION}),
    "CRYPTO beyond the buffer": (crypto_frame(1 << 30, b"x"), {BUFFER}),
    "CRYPTO beyond 2^62": (crypto_frame(HUGE, b"x"), {ENCODING, BUFFER}),
    "a handshake message from nowhere": (crypto_frame(0, b"\x7f\0\0\1x"), {0x10A}),
}

ALLOWED = {
    "PING and PADDING": b"\x01" + bytes(20),
    "DATA_BLOCKED": varint(0x14, 5),
    "STREAMS_BLOCKED": varint(0x17, 5),
    "STREAM_DATA_BLOCKED": varint(0x15, 2, 5),
    "MAX_DATA that allows less": varint(0x10, 1),
    "an empty end": stream_frame(0, 0, b"", fin=True),
    "the same bytes twice": stream_frame(0, 0, b"abc") * 2,
    "a reset that ends where the data did": stream_frame(0, 0, b"abc") + varint(0x04, 0, 0, 3),
    "an empty datagram": b"\x30",
    # A receiver MAY close for these two (RFC 9000, 12.4 and 19.18): it need not.
    "a type that is not in its shortest form": b"\x40\x01",
    "a PATH_RESPONSE that nobody asked for": b"\x1b" + bytes(8),
}


@pytest.mark.parametrize("name", OFFENCES)
def test_an_offence_closes_the_connection_with_its_code(ours, name):
    frames, codes = OFFENCES[name]
    with Attacker(ours.address).connect() as attacker:
        attacker.forge(frames)
        assert attacker.pump(1.0, lambda: attacker.closed is not None)
        assert attacker.closed.error_code in codes


@pytest.mark.parametrize("name", ALLOWED)
def test_what_is_odd_but_allowed_does_no_harm(ours, name):
    with Attacker(ours.address).connect() as attacker:
        attacker.open()  # stream 0, on which frames are forged below the engine's books
        attacker.forge(ALLOWED[name])
        attacker.pump(0.02)
        assert attacker.closed is None
        assert attacker.ask(b"still fine?") == b"still fine?"
