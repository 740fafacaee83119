"""Certificates and trust, put into the engine's terms."""

import datetime
import ssl

from aioquic.quic.configuration import QuicConfiguration
from aioquic.tls import AlertBadCertificate, AlertCertificateExpired
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization

from moqvox.errors import LocalError
from moqvox.transport.credentials import ServerCertificate, Verify

__all__ = ["check_pin", "identify", "trust"]


def identify(configuration: QuicConfiguration, certificate: ServerCertificate) -> None:
    """Set a server's certificate in an engine's configuration.

    Raises:
        LocalError: the PEM can't be read.
    """
    try:
        chain = x509.load_pem_x509_certificates(certificate.chain_pem)
        key = serialization.load_pem_private_key(certificate.key_pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as exc:
        raise LocalError(f"the server's certificate or key can't be used: {exc}") from exc
    configuration.certificate = chain[0]
    configuration.certificate_chain = chain[1:]
    configuration.private_key = key


def trust(configuration: QuicConfiguration, verify: Verify) -> None:
    """Set in an engine's configuration whether it checks certificates; pins are checked apart.

    Where it does, it does so by the `Roots` that it is given.
    """
    anyone = verify.insecure or verify.fingerprints
    configuration.verify_mode = ssl.CERT_NONE if anyone else ssl.CERT_REQUIRED


def check_pin(leaf: x509.Certificate | None, pins: frozenset[bytes]) -> None:
    """Compare a certificate, whose key has just signed the handshake, with the pinned ones.

    Raises:
        AlertBadCertificate: it is another one.
        AlertCertificateExpired: it is pinned, but not valid now.
    """
    if leaf is None or leaf.fingerprint(hashes.SHA256()) not in pins:
        raise AlertBadCertificate("the certificate's fingerprint is not a pinned one")
    now = datetime.datetime.now(datetime.UTC)
    if not leaf.not_valid_before_utc <= now <= leaf.not_valid_after_utc:
        raise AlertCertificateExpired("the pinned certificate has expired, or is not valid yet")
