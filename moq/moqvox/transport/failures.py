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
    "Unreachable",
    "vagueness",
]


class ConnectFailed(MoqError):
    """No connection; the message says what was tried and why it failed."""


class HostUnknown(ConnectFailed):
    """The name has no address."""


class Unreachable(ConnectFailed):
    """No way leads there from here, as the system or the network says."""


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


def vagueness(failure: MoqError) -> int:
    """Tell how little a failure says, when one of several is to be told: 0 says most.

    What a server said, and what was asked for in vain, comes before what is known of its
    machine: silence, or that nothing listens there. Least is that there is no way to it, which
    is often true of one of a name's addresses, as where there is no IPv6.
    """
    if isinstance(failure, Unreachable):
        return 2
    return 1 if isinstance(failure, (NoAnswer, PortRefused)) else 0
