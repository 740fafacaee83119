"""Frames about streams and their limits (RFC 9000, section 19), decoded."""

import msgspec

__all__ = [
    "MaxData",
    "MaxStreamData",
    "MaxStreams",
    "ResetStream",
    "Segment",
    "StopSending",
    "StreamFrame",
]


class Segment(msgspec.Struct, frozen=True, gc=False):
    """STREAM: bytes of a stream; where order is kept below, some peers leave out the offset."""

    stream: int
    offset: int | None
    data: bytes
    fin: bool


class ResetStream(msgspec.Struct, frozen=True, gc=False):
    """RESET_STREAM: the sender abandons a stream after `final_bytes`."""

    stream: int
    code: int
    final_bytes: int


class StopSending(msgspec.Struct, frozen=True, gc=False):
    """STOP_SENDING: the receiver wants no more of a stream."""

    stream: int
    code: int


class MaxData(msgspec.Struct, frozen=True, gc=False):
    """MAX_DATA: credit for all streams together, counted from the start."""

    limit_bytes: int


class MaxStreamData(msgspec.Struct, frozen=True, gc=False):
    """MAX_STREAM_DATA: credit for one stream, counted from its start."""

    stream: int
    limit_bytes: int


class MaxStreams(msgspec.Struct, frozen=True, gc=False):
    """MAX_STREAMS: how many streams of a direction the peer may ever have opened."""

    bidirectional: bool
    count: int


StreamFrame = Segment | ResetStream | StopSending | MaxData | MaxStreamData | MaxStreams
