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
]


class ConnectFailed(MoqError):
    """No connection; the message says what was tried and why it failed."""


class HostUnknown(ConnectFailed):
    """The name has no address."""


class PortRefused(ConnectFailed):
    """The machine answers, but nothing listens on that port."""


class NoAnswer(ConnectFailed):
    """Nothing came back in time."""


class CertificateRefused(ConnectFailed):
    """The server's certificate is not one that was asked for."""


class NoCommonProtocol(ConnectFailed):
    """Both sides speak the transport, but no common application protocol."""


class RequestRefused(ConnectFailed):
    """The HTTP server refused the WebTransport request.

    Attributes:
        status: the HTTP status code.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
