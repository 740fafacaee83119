"""What a peer can do wrong, under QUIC's codes."""

from enum import IntEnum

from moqvox.errors import RemoteError, SessionCode

__all__ = ["TransportCode", "Violation"]


class TransportCode(IntEnum):
    """Codes of CONNECTION_CLOSE (RFC 9000, section 20.1)."""

    NO_ERROR = 0x0
    INTERNAL_ERROR = 0x1
    FLOW_CONTROL_ERROR = 0x3
    STREAM_LIMIT_ERROR = 0x4
    STREAM_STATE_ERROR = 0x5
    FINAL_SIZE_ERROR = 0x6
    FRAME_ENCODING_ERROR = 0x7
    TRANSPORT_PARAMETER_ERROR = 0x8
    PROTOCOL_VIOLATION = 0xA


class Violation(RemoteError):
    """The peer broke the rules of the transport; the connection ends.

    Attributes:
        transport_code: what it is told.
    """

    def __init__(self, transport_code: TransportCode, reason: str) -> None:
        super().__init__(SessionCode.PROTOCOL_VIOLATION, reason)
        self.transport_code = transport_code
