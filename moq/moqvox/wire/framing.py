"""Bytes in any chunking to whole messages, with a bound on what waits."""

from moqvox.errors import RemoteError, SessionCode
from moqvox.wire.varint import Truncated, decode_varint

__all__ = ["Framer", "Oversized"]


class Oversized(RemoteError):
    """A message announces more bytes than the limit allows."""

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(
            SessionCode.EXCESSIVE_LOAD, f"a message of {size} bytes, {limit} are allowed"
        )


class Framer:
    """Collects one stream's bytes and hands out whole units.

    Holds at most one unfinished message beyond the chunk fed last: `limit` and two varints.
    """

    __slots__ = ("_at", "_data", "_limit")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._data: bytes | bytearray = b""
        self._at = 0

    @property
    def buffered(self) -> int:
        """How many bytes wait."""
        return len(self._data) - self._at

    def feed(self, data: bytes) -> None:
        """Append bytes."""
        if self._at == len(self._data):
            self._data, self._at = data, 0
            return
        if not isinstance(self._data, bytearray):
            self._data = bytearray(memoryview(self._data)[self._at :])
        elif self._at:
            del self._data[: self._at]
        self._at = 0
        self._data += data

    def varint(self) -> int | None:
        """Take a varint, or None while it is not whole."""
        try:
            value, self._at = decode_varint(self._data, self._at)
        except Truncated:
            return None
        return value

    def message(self) -> bytes | None:
        """Take the body of a size-prefixed message, or None while it is not whole.

        Raises:
            Oversized: the size passes the limit; the stream is of no more use.
        """
        return self._body(self._at)

    def typed(self) -> tuple[int, bytes] | None:
        """Take a type and a size-prefixed body, or None while they are not whole.

        Raises:
            Oversized: as for `message`.
        """
        try:
            kind, at = decode_varint(self._data, self._at)
        except Truncated:
            return None
        body = self._body(at)
        return None if body is None else (kind, body)

    def rest(self) -> bytes:
        """Take all that waits."""
        rest = bytes(self._data[self._at :] if self._at else self._data)
        self._data, self._at = b"", 0
        return rest

    def _body(self, at: int) -> bytes | None:
        try:
            size, start = decode_varint(self._data, at)
        except Truncated:
            return None
        if size > self._limit:
            raise Oversized(size, self._limit)
        end = start + size
        if end > len(self._data):
            return None
        self._at = end
        return bytes(self._data[start:end])
