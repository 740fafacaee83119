"""QUIC and WebTransport on UDP, over aioquic's core: our own endpoint, send path and windows."""

from typing import Final

from moqvox.transport.aioquic.dial import connect
from moqvox.transport.aioquic.limits import Limits
from moqvox.transport.aioquic.serve import Listener, listen
from moqvox.transport.aioquic.wallet import Wallet
from moqvox.transport.credentials import ServerCertificate, Verify
from moqvox.transport.failures import (
    CertificateRefused,
    ConnectFailed,
    HostUnknown,
    NoAnswer,
    NoCommonProtocol,
    PortRefused,
    RequestRefused,
    Unreachable,
)

__all__ = [
    "LOGGERS",
    "CertificateRefused",
    "ConnectFailed",
    "HostUnknown",
    "Limits",
    "Listener",
    "NoAnswer",
    "NoCommonProtocol",
    "PortRefused",
    "RequestRefused",
    "ServerCertificate",
    "Unreachable",
    "Verify",
    "Wallet",
    "connect",
    "listen",
]

LOGGERS: Final = ("moqvox.transport.aioquic", "quic")
"""Whose words are of a connection's making and course: ours and upstream's."""
