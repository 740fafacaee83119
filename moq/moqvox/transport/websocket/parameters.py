"""QMux transport parameters: a subset of QUIC's, and the size of a record."""

from typing import Final

import msgspec

from moqvox.transport.streams.grant import Grant
from moqvox.transport.streams.violation import TransportCode, Violation
from moqvox.wire.cursor import Reader
from moqvox.wire.varint import encode_varint, varint_size

__all__ = ["DEFAULT_RECORD_BYTES", "Parameters", "decode_parameters", "encode_parameters"]

DEFAULT_RECORD_BYTES: Final = 16382
"""What every peer takes; a smaller limit may not be announced."""

_MAX_RECORD_SIZE: Final = 0x0571C59429CD0845

_FIELDS: Final = {
    0x01: "max_idle_timeout_ms",
    0x04: "max_data",
    0x05: "max_stream_data_bidi_local",
    0x06: "max_stream_data_bidi_remote",
    0x07: "max_stream_data_uni",
    0x08: "max_streams_bidi",
    0x09: "max_streams_uni",
    0x20: "max_datagram_frame_bytes",
    _MAX_RECORD_SIZE: "max_record_bytes",
}

_FORBIDDEN: Final = frozenset((0x00, 0x02, 0x03, *range(0x0A, 0x11)))
"""Parameters of QUIC that make no sense without packets."""


class Parameters(Grant, frozen=True):
    """What one side takes from the other (RFC 9000, section 18.2, as QMux cuts it down).

    Attributes:
        max_idle_timeout_ms: silence after which it gives up; 0: never.
        max_datagram_frame_bytes: largest DATAGRAM frame; 0: none.
        max_record_bytes: largest message.
    """

    max_idle_timeout_ms: int = 0
    max_datagram_frame_bytes: int = 0
    max_record_bytes: int = DEFAULT_RECORD_BYTES


def encode_parameters(parameters: Parameters) -> bytes:
    """Write what is not zero."""
    out = bytearray()
    for key, field in _FIELDS.items():
        value: int = getattr(parameters, field)
        if value:
            out += encode_varint(key)
            out += encode_varint(varint_size(value))
            out += encode_varint(value)
    return bytes(out)


def decode_parameters(data: bytes | memoryview) -> Parameters:
    """Read parameters; unknown ones are passed over.

    Raises:
        Violation: one is twice there, forbidden, or out of range.
        RemoteError: the bytes end too early.
    """
    reader = Reader(data)
    found: dict[str, int] = {}
    while reader.remaining:
        key = reader.varint()
        value = Reader(reader.take(reader.varint()))
        if key in _FORBIDDEN:
            raise _refuse(f"transport parameter {key:#x} has no place in QMux")
        field = _FIELDS.get(key)
        if field is None:
            continue
        if field in found:
            raise _refuse(f"transport parameter {key:#x} is there twice")
        found[field] = value.varint()
        value.finish()
    parameters = msgspec.convert(found, Parameters)
    if parameters.max_record_bytes < DEFAULT_RECORD_BYTES:
        raise _refuse(
            f"records of {parameters.max_record_bytes} bytes at most,"
            f" {DEFAULT_RECORD_BYTES} is the least"
        )
    return parameters


def _refuse(reason: str) -> Violation:
    return Violation(TransportCode.TRANSPORT_PARAMETER_ERROR, reason)
