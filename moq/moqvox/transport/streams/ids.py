"""Stream IDs (RFC 9000, section 2.1): two bits of kind, and a running number."""

from typing import Final

__all__ = ["STEP", "first_id", "index_of", "is_bidirectional", "is_from"]

STEP: Final = 4
"""IDs of one kind are this far apart."""


def first_id(*, by_client: bool, bidirectional: bool) -> int:
    """Return the ID of the first stream of a kind."""
    return (0 if by_client else 1) | (0 if bidirectional else 2)


def index_of(stream: int) -> int:
    """Number the streams of one kind from 0."""
    return stream // STEP


def is_bidirectional(stream: int) -> bool:
    """Whether both sides send on it."""
    return stream & 2 == 0


def is_from(stream: int, *, client: bool) -> bool:
    """Whether that side opened it."""
    return (stream & 1 == 0) is client
