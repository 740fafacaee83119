"""What one side lets the other send before it has read anything."""

import msgspec

__all__ = ["Grant"]


class Grant(msgspec.Struct, frozen=True):
    """The first limits (RFC 9000, section 18.2, whose names these are).

    Attributes:
        max_data: bytes of all streams, until MAX_DATA.
        max_stream_data_bidi_local: bytes of a bidirectional stream that the granter opened.
        max_stream_data_bidi_remote: bytes of one that the other side opened.
        max_stream_data_uni: bytes of a unidirectional stream.
        max_streams_bidi: streams that the other side may open.
        max_streams_uni: as above.
    """

    max_data: int = 0
    max_stream_data_bidi_local: int = 0
    max_stream_data_bidi_remote: int = 0
    max_stream_data_uni: int = 0
    max_streams_bidi: int = 0
    max_streams_uni: int = 0
