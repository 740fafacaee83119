"""Who a server is, and how a client makes sure of it."""

import datetime
import ssl
from collections.abc import Iterable
from pathlib import Path

import msgspec
from aioquic.quic.configuration import QuicConfiguration
from aioquic.tls import AlertBadCertificate, AlertCertificateExpired
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization

from moqvox.errors import LocalError

__all__ = ["ServerCertificate", "Verify", "check_pin"]

SHA256_BYTES = 32


class ServerCertificate(msgspec.Struct, frozen=True):
    """A server's identity. Its `repr` never shows the key.

    Attributes:
        chain_pem: the leaf first, then any intermediates.
        key_pem: the leaf's private key, not encrypted.
    """

    chain_pem: bytes
    key_pem: bytes

    def __repr__(self) -> str:
        return f"ServerCertificate({len(self.chain_pem)} bytes)"

    def apply(self, configuration: QuicConfiguration) -> None:
        """Set it in an engine's configuration.

        Raises:
            LocalError: the PEM can't be read.
        """
        try:
            chain = x509.load_pem_x509_certificates(self.chain_pem)
            key = serialization.load_pem_private_key(self.key_pem, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as exc:
            raise LocalError(f"the server's certificate or key can't be used: {exc}") from exc
        configuration.certificate = chain[0]
        configuration.certificate_chain = chain[1:]
        configuration.private_key = key


class Verify(msgspec.Struct, frozen=True):
    """How a client checks the server's certificate; made by one of the four functions below.

    Attributes:
        ca_pem: roots to trust instead of the system's.
        fingerprints: SHA-256 of the leaf's DER, any of which is enough; names and issuers
            are not looked at then, as with a browser's `serverCertificateHashes`.
        insecure: accept anything.
    """

    ca_pem: bytes | None = None
    fingerprints: frozenset[bytes] = frozenset()
    insecure: bool = False

    @staticmethod
    def system() -> "Verify":
        """Trust the system's roots."""
        return Verify()

    @staticmethod
    def authority(ca_pem: bytes) -> "Verify":
        """Trust these roots, and no others."""
        return Verify(ca_pem=ca_pem)

    @staticmethod
    def pinned(fingerprints: Iterable[str]) -> "Verify":
        """Trust certificates by fingerprint: 64 hex digits, colons allowed.

        Raises:
            LocalError: one is malformed, or there is none.
        """
        pins = frozenset(_fingerprint(text) for text in fingerprints)
        if not pins:
            raise LocalError("no fingerprint to trust")
        return Verify(fingerprints=pins)

    @staticmethod
    def nothing() -> "Verify":
        """Trust anyone: for tests on a machine of one's own."""
        return Verify(insecure=True)

    def apply(self, configuration: QuicConfiguration) -> None:
        """Set it in an engine's configuration."""
        if self.insecure or self.fingerprints:
            configuration.verify_mode = ssl.CERT_NONE
            return
        configuration.verify_mode = ssl.CERT_REQUIRED
        if self.ca_pem is not None:
            configuration.load_verify_locations(cadata=self.ca_pem)
            return
        paths = ssl.get_default_verify_paths()
        if paths.cafile is not None and Path(paths.cafile).is_file():
            configuration.load_verify_locations(cafile=paths.cafile)


def _fingerprint(text: str) -> bytes:
    try:
        pin = bytes.fromhex(text.replace(":", ""))
    except ValueError:
        pin = b""
    if len(pin) != SHA256_BYTES:
        raise LocalError(f"{text[:100]!r} is not a SHA-256 fingerprint: 64 hex digits are")
    return pin


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
