"""Who a server is, and how a client makes sure of it."""

from collections.abc import Iterable

import msgspec

from moqvox.errors import LocalError

__all__ = ["ServerCertificate", "Verify"]

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


def _fingerprint(text: str) -> bytes:
    try:
        pin = bytes.fromhex(text.replace(":", ""))
    except ValueError:
        pin = b""
    if len(pin) != SHA256_BYTES:
        raise LocalError(f"{text[:100]!r} is not a SHA-256 fingerprint: 64 hex digits are")
    return pin
