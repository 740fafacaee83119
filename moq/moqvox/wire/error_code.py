"""Stream error codes as WebTransport maps them into HTTP/3's. draft-ietf-webtrans-http3, 4.4.

moq-lite peers send the mapped form on raw QUIC as well, so both forms are read anywhere.
"""

from typing import Final

__all__ = ["from_wire", "to_wire"]

_FIRST: Final = 0x52E4A40FA8DB
_LAST: Final = 0x52E5AC983162
_MAX_CODE: Final = 0xFFFF_FFFF


def to_wire(code: int) -> int:
    """Map an application's 32-bit code; a larger one is cut to the largest."""
    code = min(max(code, 0), _MAX_CODE)
    return _FIRST + code + code // 0x1E


def from_wire(code: int) -> int:
    """Undo the mapping; a code that is none of its values is taken as plain."""
    if not _FIRST <= code <= _LAST or (code - 0x21) % 0x1F == 0:
        return code
    shifted = code - _FIRST
    return shifted - shifted // 0x1F
