"""QUIC and WebTransport on UDP, over aioquic's core: our own endpoint, send path and windows."""

from moqvox.transport.aioquic.binding import bind_workers
from moqvox.transport.aioquic.connection_ids import (
    ConnectionIds,
    RandomIds,
    RoutableIds,
    Routing,
    Steering,
)
from moqvox.transport.aioquic.dial import connect
from moqvox.transport.aioquic.keys import Keys
from moqvox.transport.aioquic.limits import Limits
from moqvox.transport.aioquic.serve import Listener, listen
from moqvox.transport.credentials import ServerCertificate, Verify
from moqvox.transport.failures import (
    CertificateRefused,
    ConnectFailed,
    HostUnknown,
    NoAnswer,
    NoCommonProtocol,
    PortRefused,
    RequestRefused,
)

__all__ = [
    "CertificateRefused",
    "ConnectFailed",
    "ConnectionIds",
    "HostUnknown",
    "Keys",
    "Limits",
    "Listener",
    "NoAnswer",
    "NoCommonProtocol",
    "PortRefused",
    "RandomIds",
    "RequestRefused",
    "RoutableIds",
    "Routing",
    "ServerCertificate",
    "Steering",
    "Verify",
    "bind_workers",
    "connect",
    "listen",
]
