"""Capsules on the CONNECT stream. RFC 9297, section 3; draft-ietf-webtrans-http3, section 6."""

from typing import Final

from moqvox.transport.aioquic.varint import encode_varint, pull_varint

__all__ = ["CLOSE_SESSION", "DRAIN_SESSION", "CapsuleError", "CapsuleReader", "close_capsule"]

CLOSE_SESSION: Final = 0x2843
DRAIN_SESSION: Final = 0x78AE

MAX_REASON_BYTES: Final = 1024
MAX_CODE: Final = 0xFFFFFFFF


class CapsuleError(Exception):
    """A capsule that is malformed or too large."""


class CapsuleReader:
    """Cuts bytes into capsules; those of unknown kinds are skipped without being kept."""

    def __init__(self) -> None:
        self._held = bytearray()
        self._skip = 0

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """Take bytes; returns the known capsules that are complete, kind and value.

        Raises:
            CapsuleError: a known capsule is too large.
        """
        skipped = min(self._skip, len(data))
        self._skip -= skipped
        self._held += data[skipped:]
        found: list[tuple[int, bytes]] = []
        while (capsule := self._next()) is not None:
            if capsule[0] in (CLOSE_SESSION, DRAIN_SESSION):
                found.append(capsule)
        return found

    def _next(self) -> tuple[int, bytes] | None:
        kind = pull_varint(self._held, 0)
        length = pull_varint(self._held, kind[1]) if kind is not None else None
        if kind is None or length is None:
            return None
        end = length[1] + length[0]
        if kind[0] in (CLOSE_SESSION, DRAIN_SESSION):
            if length[0] > MAX_REASON_BYTES + 4:
                raise CapsuleError(f"a capsule of {length[0]} bytes")
            if end > len(self._held):
                return None
        value = bytes(self._held[length[1] : end])
        self._skip = max(0, end - len(self._held))
        del self._held[:end]
        return kind[0], value


def close_capsule(code: int, reason: str) -> bytes:
    """Encode WT_CLOSE_SESSION; code and reason are cut to what it can carry."""
    words = reason.encode()[:MAX_REASON_BYTES].decode(errors="ignore").encode()
    value = min(code, MAX_CODE).to_bytes(4, "big") + words
    return encode_varint(CLOSE_SESSION) + encode_varint(len(value)) + value


def read_close(value: bytes) -> tuple[int, str]:
    """Decode WT_CLOSE_SESSION: code and reason.

    Raises:
        CapsuleError: it is too short, or its reason is not UTF-8.
    """
    if len(value) < 4:
        raise CapsuleError(f"a close capsule of {len(value)} bytes")
    try:
        return int.from_bytes(value[:4], "big"), value[4:].decode()
    except UnicodeDecodeError as exc:
        raise CapsuleError("a close reason that is not UTF-8") from exc
