"""What all moq-lite messages have in common: a size, and nothing missing or left over.

draft-lcurley-moq-lite, section "Message Length".
"""

from typing import Protocol, TypeVar

from moqvox.wire.cursor import Reader, Writer
from moqvox.wire.varint import encode_varint
from moqvox.wire.version import LiteVersion

__all__ = ["Message", "decode", "encode", "encode_typed"]

Self_co = TypeVar("Self_co", covariant=True)
M = TypeVar("M")


class Writable(Protocol):
    """A message that can be written."""

    def write(self, out: Writer, version: LiteVersion) -> None:
        """Append the fields that `version` has."""


class Message(Protocol[Self_co]):
    """The type of a message that can be read."""

    def read(self, body: Reader, version: LiteVersion) -> Self_co:
        """Take the fields that `version` has."""


def encode(message: Writable, version: LiteVersion) -> bytes:
    """Encode with the size in front.

    Raises:
        LocalError: a field does not fit its format.
    """
    out = Writer()
    message.write(out, version)
    body = out.getvalue()
    return encode_varint(len(body)) + body


def encode_typed(kind: int, message: Writable, version: LiteVersion) -> bytes:
    """Encode with a type and the size in front; raises as `encode`."""
    return encode_varint(kind) + encode(message, version)


def decode(kind: Message[M], body: bytes, version: LiteVersion) -> M:
    """Decode a whole body (without its size).

    Raises:
        RemoteError: PROTOCOL_VIOLATION for missing or left-over bytes and broken fields.
    """
    reader = Reader(body)
    message = kind.read(reader, version)
    reader.finish()
    return message
