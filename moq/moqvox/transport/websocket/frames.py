"""QMux frames: QUIC's own (RFC 9000, section 19), and the few that QMux adds."""

from collections.abc import Callable
from typing import Final

import msgspec

from moqvox.transport.streams.frames import (
    MaxData,
    MaxStreamData,
    MaxStreams,
    ResetStream,
    Segment,
    StopSending,
    StreamFrame,
)
from moqvox.transport.streams.violation import TransportCode, Violation
from moqvox.transport.websocket.parameters import (
    Parameters,
    decode_parameters,
    encode_parameters,
)
from moqvox.wire.cursor import Reader
from moqvox.wire.varint import encode_varint

__all__ = [
    "Close",
    "Datagram",
    "Frame",
    "Hello",
    "Ping",
    "Pong",
    "decode_record",
    "encode_frame",
]

PADDING: Final = 0x00
RESET_STREAM: Final = 0x04
STOP_SENDING: Final = 0x05
STREAM: Final = 0x08
STREAM_OFFSET: Final = 0x04
STREAM_LENGTH: Final = 0x02
STREAM_FIN: Final = 0x01
MAX_DATA: Final = 0x10
MAX_STREAM_DATA: Final = 0x11
MAX_STREAMS_BIDI: Final = 0x12
MAX_STREAMS_UNI: Final = 0x13
DATA_BLOCKED: Final = 0x14
STREAM_DATA_BLOCKED: Final = 0x15
STREAMS_BLOCKED_BIDI: Final = 0x16
STREAMS_BLOCKED_UNI: Final = 0x17
CONNECTION_CLOSE: Final = 0x1C
APPLICATION_CLOSE: Final = 0x1D
DATAGRAM: Final = 0x30
DATAGRAM_LENGTH: Final = 0x31
QX_PING: Final = 0x348C67529EF8C7BD
QX_PONG: Final = 0x348C67529EF8C7BE
QX_TRANSPORT_PARAMETERS: Final = 0x3F5153300D0A0D0A

MAX_REASON_BYTES: Final = 1024


class Hello(msgspec.Struct, frozen=True):
    """QX_TRANSPORT_PARAMETERS, each side's first frame."""

    parameters: Parameters


class Ping(msgspec.Struct, frozen=True, gc=False):
    """QX_PING; the numbers of one side's pings rise."""

    number: int


class Pong(msgspec.Struct, frozen=True, gc=False):
    """The answer to the ping of that number."""

    number: int


class Datagram(msgspec.Struct, frozen=True, gc=False):
    """DATAGRAM (RFC 9221)."""

    data: bytes


class Close(msgspec.Struct, frozen=True, gc=False):
    """CONNECTION_CLOSE; `is_transport` tells whose codes `code` belongs to."""

    code: int
    is_transport: bool
    reason: str


Frame = StreamFrame | Hello | Ping | Pong | Datagram | Close


def encode_frame(frame: Frame) -> bytes:
    """Write a frame so that others may follow it."""
    return _ENCODERS[type(frame)](frame)


def decode_record(data: bytes) -> list[Frame]:
    """Read the frames of one message; what only informs is left out.

    Raises:
        Violation: a frame of no known type.
        RemoteError: a frame is cut off, or its fields make no sense.
    """
    reader = Reader(data)
    frames: list[Frame] = []
    while reader.remaining:
        kind = reader.varint()
        if kind == PADDING:
            continue
        if STREAM <= kind <= STREAM | STREAM_OFFSET | STREAM_LENGTH | STREAM_FIN:
            frames.append(_segment(reader, kind))
            continue
        decode = _DECODERS.get(kind)
        if decode is None:
            raise Violation(TransportCode.FRAME_ENCODING_ERROR, f"a frame of type {kind:#x}")
        frame = decode(reader)
        if frame is not None:
            frames.append(frame)
    return frames


def _segment(reader: Reader, kind: int) -> Segment:
    stream = reader.varint()
    offset = reader.varint() if kind & STREAM_OFFSET else None
    data = reader.blob() if kind & STREAM_LENGTH else reader.rest()
    return Segment(stream, offset, data, bool(kind & STREAM_FIN))


def _reset(reader: Reader) -> ResetStream:
    return ResetStream(reader.varint(), reader.varint(), reader.varint())


def _stop(reader: Reader) -> StopSending:
    return StopSending(reader.varint(), reader.varint())


def _close(reader: Reader, *, is_transport: bool) -> Close:
    code = reader.varint()
    if is_transport:
        reader.varint()  # type of the frame that was wrong
    return Close(code, is_transport, reader.blob().decode(errors="replace"))


def _pass_over(reader: Reader, fields: int) -> None:
    """Read a frame that says what the peer would like; it gets credit when there is some."""
    for _ in range(fields):
        reader.varint()


_DECODERS: Final[dict[int, Callable[[Reader], Frame | None]]] = {
    RESET_STREAM: _reset,
    STOP_SENDING: _stop,
    MAX_DATA: lambda reader: MaxData(reader.varint()),
    MAX_STREAM_DATA: lambda reader: MaxStreamData(reader.varint(), reader.varint()),
    MAX_STREAMS_BIDI: lambda reader: MaxStreams(True, reader.varint()),
    MAX_STREAMS_UNI: lambda reader: MaxStreams(False, reader.varint()),
    DATA_BLOCKED: lambda reader: _pass_over(reader, 1),
    STREAM_DATA_BLOCKED: lambda reader: _pass_over(reader, 2),
    STREAMS_BLOCKED_BIDI: lambda reader: _pass_over(reader, 1),
    STREAMS_BLOCKED_UNI: lambda reader: _pass_over(reader, 1),
    CONNECTION_CLOSE: lambda reader: _close(reader, is_transport=True),
    APPLICATION_CLOSE: lambda reader: _close(reader, is_transport=False),
    DATAGRAM: lambda reader: Datagram(reader.rest()),
    DATAGRAM_LENGTH: lambda reader: Datagram(reader.blob()),
    QX_PING: lambda reader: Ping(reader.varint()),
    QX_PONG: lambda reader: Pong(reader.varint()),
    QX_TRANSPORT_PARAMETERS: lambda reader: Hello(decode_parameters(reader.take(reader.varint()))),
}


def _varints(*values: int) -> bytes:
    return b"".join(map(encode_varint, values))


def _encode_segment(frame: Segment) -> bytes:
    kind = STREAM | STREAM_OFFSET | STREAM_LENGTH | (STREAM_FIN if frame.fin else 0)
    return _varints(kind, frame.stream, frame.offset or 0, len(frame.data)) + frame.data


def _encode_hello(frame: Hello) -> bytes:
    body = encode_parameters(frame.parameters)
    return _varints(QX_TRANSPORT_PARAMETERS, len(body)) + body


def _encode_streams(frame: MaxStreams) -> bytes:
    return _varints(MAX_STREAMS_BIDI if frame.bidirectional else MAX_STREAMS_UNI, frame.count)


def _encode_close(frame: Close) -> bytes:
    reason = frame.reason.encode(errors="replace")[:MAX_REASON_BYTES]
    if frame.is_transport:
        return _varints(CONNECTION_CLOSE, frame.code, 0, len(reason)) + reason
    return _varints(APPLICATION_CLOSE, frame.code, len(reason)) + reason


_ENCODERS: Final[dict[type, Callable[..., bytes]]] = {
    Hello: _encode_hello,
    Segment: _encode_segment,
    ResetStream: lambda f: _varints(RESET_STREAM, f.stream, f.code, f.final_bytes),
    StopSending: lambda f: _varints(STOP_SENDING, f.stream, f.code),
    MaxData: lambda f: _varints(MAX_DATA, f.limit_bytes),
    MaxStreamData: lambda f: _varints(MAX_STREAM_DATA, f.stream, f.limit_bytes),
    MaxStreams: _encode_streams,
    Ping: lambda f: _varints(QX_PING, f.number),
    Pong: lambda f: _varints(QX_PONG, f.number),
    Datagram: lambda f: _varints(DATAGRAM_LENGTH, len(f.data)) + f.data,
    Close: _encode_close,
}
