"""Why a connection did not come about, in words for whoever asked for it."""

from moqvox.errors import MoqError

__all__ = [
    "CertificateRefused",
    "ConnectFailed",
    "HostUnknown",
    "NoAnswer",
    "NoCommonProtocol",
    "PortRefused",
    "RequestRefused",
    "explain_alert",
]


class ConnectFailed(MoqError):
    """No connection; the message says what was tried and why it failed."""


class HostUnknown(ConnectFailed):
    """The name has no address."""


class PortRefused(ConnectFailed):
    """The machine answers, but nothing listens on that UDP port."""


class NoAnswer(ConnectFailed):
    """Nothing came back in time."""


class CertificateRefused(ConnectFailed):
    """The server's certificate is not one that was asked for."""


class NoCommonProtocol(ConnectFailed):
    """Both sides speak QUIC, but no common application protocol."""


class RequestRefused(ConnectFailed):
    """The HTTP server refused the WebTransport request.

    Attributes:
        status: the HTTP status code.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


NO_APPLICATION_PROTOCOL = 120
CERTIFICATE_ALERTS = frozenset((42, 43, 44, 45, 46, 48))
CRYPTO_ERROR = 0x100


def explain_alert(where: str, code: int, reason: str) -> ConnectFailed:
    """Build the failure that a transport error means (RFC 9001, section 4.8)."""
    alert = code - CRYPTO_ERROR
    if alert == NO_APPLICATION_PROTOCOL:
        return NoCommonProtocol(f"{where} speaks none of the protocols offered")
    if alert in CERTIFICATE_ALERTS:
        words = reason or "it refuses the certificate"
        return CertificateRefused(f"the certificate of {where} is not trusted: {words}")
    return ConnectFailed(f"{where} ended the handshake with {code:#x}: {reason or 'no reason'}")
