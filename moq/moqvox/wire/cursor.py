"""Fields of one message: a `Reader` that refuses what is missing or left over, a `Writer`."""

from moqvox.errors import LocalError, RemoteError, SessionCode
from moqvox.wire.varint import Truncated, decode_varint, encode_varint

__all__ = ["Reader", "Writer", "violation"]


def violation(reason: str) -> RemoteError:
    """Build the error for bytes that break the protocol."""
    return RemoteError(SessionCode.PROTOCOL_VIOLATION, reason)


class Reader:
    """Takes fields off a whole message, front to back.

    Every method raises `RemoteError` with PROTOCOL_VIOLATION when the message is too short
    or a field breaks its format.
    """

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes | bytearray | memoryview) -> None:
        self._data = memoryview(data)
        self._at = 0

    @property
    def remaining(self) -> int:
        """How many bytes are left."""
        return len(self._data) - self._at

    def varint(self) -> int:
        """Take a varint."""
        try:
            value, self._at = decode_varint(self._data, self._at)
        except Truncated as exc:
            raise violation(f"message too short: {exc}") from exc
        return value

    def u8(self) -> int:
        """Take one byte."""
        return self.take(1)[0]

    def flag(self) -> bool:
        """Take a byte that is 0 or 1."""
        value = self.u8()
        if value > 1:
            raise violation(f"a flag of {value}, not 0 or 1")
        return value == 1

    def optional(self) -> int | None:
        """Take a varint that is moved up by one, 0 standing for nothing."""
        value = self.varint()
        return value - 1 if value else None

    def take(self, size: int) -> memoryview:
        """Take `size` bytes; the view lives as long as the message."""
        end = self._at + size
        if end > len(self._data):
            raise violation(f"message too short: a field of {size} bytes, {self.remaining} left")
        taken = self._data[self._at : end]
        self._at = end
        return taken

    def rest(self) -> bytes:
        """Take all that is left."""
        return bytes(self.take(self.remaining))

    def blob(self) -> bytes:
        """Take length-prefixed bytes."""
        return bytes(self.take(self.varint()))

    def text(self) -> str:
        """Take length-prefixed UTF-8."""
        try:
            return str(self.take(self.varint()), "utf-8")
        except UnicodeDecodeError as exc:
            raise violation("a text that is not UTF-8") from exc

    def varints(self) -> tuple[int, ...]:
        """Take a count and that many varints."""
        count = self.varint()
        if count > self.remaining:
            raise violation(f"a list of {count} in {self.remaining} bytes")
        return tuple(self.varint() for _ in range(count))

    def finish(self) -> None:
        """Refuse what is left over."""
        if self.remaining:
            raise violation(f"{self.remaining} bytes behind the message's last field")


class Writer:
    """Gathers fields. Every method raises `LocalError` for a value outside its format."""

    __slots__ = ("_out",)

    def __init__(self) -> None:
        self._out = bytearray()

    def varint(self, value: int) -> None:
        """Append a varint."""
        self._out += encode_varint(value)

    def u8(self, value: int) -> None:
        """Append one byte."""
        if not 0 <= value <= 0xFF:
            raise LocalError(f"a byte holds 0 to 255, not {value}")
        self._out.append(value)

    def flag(self, value: bool) -> None:
        """Append a byte of 0 or 1."""
        self._out.append(1 if value else 0)

    def optional(self, value: int | None) -> None:
        """Append a varint moved up by one, 0 standing for None."""
        self._out += encode_varint(0 if value is None else value + 1)

    def raw(self, data: bytes) -> None:
        """Append bytes as they are."""
        self._out += data

    def blob(self, data: bytes) -> None:
        """Append length-prefixed bytes."""
        self._out += encode_varint(len(data))
        self._out += data

    def text(self, value: str) -> None:
        """Append length-prefixed UTF-8."""
        try:
            self.blob(value.encode())
        except UnicodeEncodeError as exc:
            raise LocalError("a text with lone surrogates") from exc

    def varints(self, values: tuple[int, ...]) -> None:
        """Append a count and that many varints."""
        self.varint(len(values))
        for value in values:
            self.varint(value)

    def getvalue(self) -> bytes:
        """Return what was gathered."""
        return bytes(self._out)
