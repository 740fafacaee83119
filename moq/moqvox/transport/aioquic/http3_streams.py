"""The HTTP/3 streams of a connection, apart from those of a WebTransport session."""

from collections.abc import Callable
from typing import Final, Protocol

from aioquic.h3.connection import FrameType, StreamType

from moqvox.transport.aioquic.capsules import CapsuleError, CapsuleReader
from moqvox.transport.aioquic.http3 import (
    MAX_SECTION_BYTES,
    MAX_SETTINGS_BYTES,
    REFUSED_ON_CONTROL,
    REFUSED_ON_REQUEST,
    FrameReader,
    H3Code,
    H3Error,
    check_encoder_stream,
)

__all__ = [
    "ControlStream",
    "EncoderStream",
    "ExchangeStream",
    "HttpStream",
    "IgnoredStream",
    "uni_stream",
]


class HttpStream(Protocol):
    """The receiving side of one stream."""

    @property
    def is_critical(self) -> bool:
        """Whether its end is the end of the connection (RFC 9114, section 6.2.1)."""

    def feed(self, data: bytes, *, fin: bool) -> None:
        """Take bytes in order.

        Raises:
            H3Error: they break HTTP/3.
        """


class ControlStream:
    """The peer's control stream: SETTINGS first, then what doesn't concern us."""

    is_critical: Final = True

    def __init__(self, on_settings: Callable[[bytes], None]) -> None:
        self._on_settings = on_settings
        self._frames = FrameReader({FrameType.SETTINGS: MAX_SETTINGS_BYTES}, REFUSED_ON_CONTROL)
        self._has_settings = False

    def feed(self, data: bytes, *, fin: bool) -> None:
        """Take bytes."""
        if fin:
            raise H3Error(H3Code.CLOSED_CRITICAL_STREAM, "the control stream ended")
        for _, payload in self._frames.feed(data):
            if self._has_settings:
                raise H3Error(H3Code.FRAME_UNEXPECTED, "SETTINGS twice")
            self._has_settings = True
            self._on_settings(payload)
        if self._frames.first_kind not in (None, FrameType.SETTINGS):
            raise H3Error(H3Code.MISSING_SETTINGS, "the control stream begins without SETTINGS")


class EncoderStream:
    """The peer's QPACK encoder stream, which has nothing to say to a table of capacity 0."""

    is_critical: Final = True

    def feed(self, data: bytes, *, fin: bool) -> None:
        """Take bytes."""
        if fin:
            raise H3Error(H3Code.CLOSED_CRITICAL_STREAM, "the QPACK encoder stream ended")
        check_encoder_stream(data)


class IgnoredStream:
    """A stream whose bytes are dropped: the QPACK decoder's, or one of an unknown type."""

    def __init__(self, *, is_critical: bool = False) -> None:
        self.is_critical = is_critical

    def feed(self, data: bytes, *, fin: bool) -> None:
        """Take bytes."""
        if fin and self.is_critical:
            raise H3Error(H3Code.CLOSED_CRITICAL_STREAM, "the QPACK decoder stream ended")


class ExchangeStream:
    """One request or response: a field section, then a body that is read as capsules."""

    is_critical: Final = False

    def __init__(
        self,
        on_fields: Callable[[bytes], None],
        on_capsule: Callable[[int, bytes], None],
        on_end: Callable[[], None],
    ) -> None:
        self._on_fields = on_fields
        self._on_capsule = on_capsule
        self._on_end = on_end
        self._frames = FrameReader({FrameType.HEADERS: MAX_SECTION_BYTES}, REFUSED_ON_REQUEST)
        self._capsules = CapsuleReader()
        self._has_fields = False

    def feed(self, data: bytes, *, fin: bool) -> None:
        """Take bytes."""
        for kind, payload in self._frames.feed(data):
            if kind == FrameType.HEADERS:
                self._take_fields(payload)
            else:
                self._take_body(payload)
        if fin:
            if not self._frames.is_between_frames:
                raise H3Error(H3Code.FRAME_ERROR, "a stream ended within a frame")
            self._on_end()

    def _take_fields(self, section: bytes) -> None:
        """Read the first section; trailers have nothing for us."""
        if not self._has_fields:
            self._has_fields = True
            self._on_fields(section)

    def _take_body(self, payload: bytes) -> None:
        if not self._has_fields:
            raise H3Error(H3Code.FRAME_UNEXPECTED, "DATA before HEADERS")
        try:
            for kind, value in self._capsules.feed(payload):
                self._on_capsule(kind, value)
        except CapsuleError as exc:
            raise H3Error(H3Code.MESSAGE_ERROR, str(exc)) from exc


def uni_stream(kind: int, on_settings: Callable[[bytes], None]) -> HttpStream:
    """Build the reader of the peer's unidirectional stream.

    Raises:
        H3Error: a push, which nobody allowed.
    """
    if kind == StreamType.CONTROL:
        return ControlStream(on_settings)
    if kind == StreamType.QPACK_ENCODER:
        return EncoderStream()
    if kind == StreamType.PUSH:
        raise H3Error(H3Code.ID_ERROR, "a push that was not allowed")
    return IgnoredStream(is_critical=kind == StreamType.QPACK_DECODER)
