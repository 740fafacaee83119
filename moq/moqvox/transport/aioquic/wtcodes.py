"""WebTransport's stream codes as HTTP/3 codes. draft-ietf-webtrans-http3, section 4.3."""

from typing import Final

__all__ = ["BUFFERED_STREAM_REJECTED", "SESSION_GONE", "from_http", "to_http"]

FIRST: Final = 0x52E4A40FA8DB
LAST: Final = 0x52E5AC983162
MAX_CODE: Final = 0xFFFFFFFF

SESSION_GONE: Final = 0x170D7B68
BUFFERED_STREAM_REJECTED: Final = 0x3994BD84


def to_http(code: int) -> int:
    """Map a code; those above 32 bits become the largest."""
    code = min(code, MAX_CODE)
    return FIRST + code + code // 0x1E


def from_http(code: int) -> int:
    """Map back; codes that are not WebTransport's become 0."""
    if not FIRST <= code <= LAST or (code - 0x21) % 0x1F == 0:
        return 0
    shifted = code - FIRST
    return shifted - shifted // 0x1F
