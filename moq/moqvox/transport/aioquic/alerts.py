"""What a QUIC handshake's TLS alert means to whoever dialled."""

from typing import Final

from moqvox.transport.failures import CertificateRefused, ConnectFailed, NoCommonProtocol

__all__ = ["explain_alert"]

NO_APPLICATION_PROTOCOL: Final = 120
CERTIFICATE_ALERTS: Final = frozenset((42, 43, 44, 45, 46, 48))
CRYPTO_ERROR: Final = 0x100


def explain_alert(where: str, code: int, reason: str) -> ConnectFailed:
    """Build the failure that a transport error means (RFC 9001, section 4.8)."""
    alert = code - CRYPTO_ERROR
    if alert == NO_APPLICATION_PROTOCOL:
        return NoCommonProtocol(f"{where} speaks none of the protocols offered")
    if alert in CERTIFICATE_ALERTS:
        words = reason or "it refuses the certificate"
        return CertificateRefused(f"the certificate of {where} is not trusted: {words}")
    return ConnectFailed(f"{where} ended the handshake with {code:#x}: {reason or 'no reason'}")
