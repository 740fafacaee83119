"""A server's certificate: read it, check it, name it by its fingerprint."""

import datetime
import errno
import ipaddress
from pathlib import Path
from typing import Final

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

__all__ = [
    "EXPIRY_WARNING",
    "Certificate",
    "CertificateError",
    "fingerprint",
    "load",
    "parse",
    "pin_obstacles",
    "read_pem",
    "remaining",
]

EXPIRY_WARNING: Final = datetime.timedelta(days=2)
"""Less than this left is worth a warning to an operator."""

PINNED_VALIDITY: Final = datetime.timedelta(days=14)
"""Longest total validity that `serverCertificateHashes` accepts (W3C WebTransport, 6.7)."""

MAX_PEM_BYTES: Final = 1 << 20
"""A chain of ten certificates is 20 KiB; a larger file is some other file."""

MIN_RSA_BITS: Final = 2048

PrivateKey = (
    ec.EllipticCurvePrivateKey
    | rsa.RSAPrivateKey
    | ed25519.Ed25519PrivateKey
    | ed448.Ed448PrivateKey
)


class CertificateError(Exception):
    """A certificate or key that can't be used; the message says which file and why."""


class Certificate(msgspec.Struct, frozen=True):
    """A TLS server's identity. Its `repr` never shows the key.

    Attributes:
        cert_pem: the leaf first, then any intermediates.
        key_pem: the leaf's private key, PKCS #8, not encrypted.
        ca_pem: the root that a client may trust; empty when loaded from files.
        fingerprint_hex: SHA-256 of the leaf's DER, 64 lower-case digits.
        not_after: UTC; the last moment at which the leaf is valid.
    """

    cert_pem: bytes
    key_pem: bytes
    ca_pem: bytes
    fingerprint_hex: str
    not_after: datetime.datetime

    def __repr__(self) -> str:
        return f"Certificate({self.fingerprint_hex}, until {self.not_after:%Y-%m-%d %H:%M} UTC)"

    @property
    def hosts(self) -> list[str]:
        """List the names and addresses that the leaf is good for."""
        leaf = x509.load_pem_x509_certificate(self.cert_pem)
        try:
            names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except x509.ExtensionNotFound:
            return []
        addresses: list[ipaddress.IPv4Address | ipaddress.IPv6Address] = [
            address
            for address in names.get_values_for_type(x509.IPAddress)
            if isinstance(address, ipaddress.IPv4Address | ipaddress.IPv6Address)
        ]
        return [*names.get_values_for_type(x509.DNSName), *map(str, addresses)]


def fingerprint(leaf: x509.Certificate) -> str:
    """Name a certificate as browsers and `--tls-fingerprint` do: SHA-256 of its DER, in hex."""
    return leaf.fingerprint(hashes.SHA256()).hex()


def load(cert_file: Path, key_file: Path, *, now: datetime.datetime) -> Certificate:
    """Read a chain (leaf first) and its private key, and check that they can serve.

    Raises:
        CertificateError: a file is missing, unreadable or not PEM; the two files are
            swapped; the key is encrypted, weak or belongs to another certificate; the
            leaf is expired or not valid yet.
    """
    cert_pem = read_pem(cert_file, "certificate")
    key_pem = read_pem(key_file, "private key")
    if b"CERTIFICATE-----" not in cert_pem and b"PRIVATE KEY-----" in cert_pem:
        raise CertificateError(
            f"{cert_file} holds a private key, not a certificate; are the two files swapped?"
        )
    if b"PRIVATE KEY-----" not in key_pem and b"CERTIFICATE-----" in key_pem:
        raise CertificateError(
            f"{key_file} holds a certificate, not a private key; are the two files swapped?"
        )
    certificate = parse(cert_pem, key_pem, cert_name=str(cert_file), key_name=str(key_file))
    remaining(certificate, now=now, name=str(cert_file))
    return certificate


def parse(
    cert_pem: bytes,
    key_pem: bytes,
    *,
    cert_name: str = "the certificate",
    key_name: str = "the key",
) -> Certificate:
    """Check that a chain and a key are well formed and belong together, at any time.

    Raises:
        CertificateError: they are not, or do not.
    """
    try:
        chain = x509.load_pem_x509_certificates(cert_pem)
    except ValueError as exc:
        raise CertificateError(f"{cert_name} is not a PEM certificate: {exc}") from exc
    key = parse_key(key_pem, key_name)
    if not _belongs(key, chain[0]):
        if any(_belongs(key, other) for other in chain[1:]):
            raise CertificateError(
                f"{cert_name} has its certificates in the wrong order: the leaf comes first"
            )
        raise CertificateError(f"{key_name} does not belong to {cert_name}")
    return Certificate(
        cert_pem=cert_pem,
        key_pem=key_pem,
        ca_pem=b"",
        fingerprint_hex=fingerprint(chain[0]),
        not_after=chain[0].not_valid_after_utc,
    )


def remaining(
    certificate: Certificate, *, now: datetime.datetime, name: str = "the certificate"
) -> datetime.timedelta:
    """Tell how long the leaf stays valid; compare with `EXPIRY_WARNING`.

    Raises:
        CertificateError: it is expired, or not valid yet.
    """
    starts = x509.load_pem_x509_certificate(certificate.cert_pem).not_valid_before_utc
    if now < starts:
        raise CertificateError(
            f"{name} is not valid before {starts:%Y-%m-%d %H:%M} UTC; is this clock right?"
        )
    if now > certificate.not_after:
        raise CertificateError(f"{name} expired on {certificate.not_after:%Y-%m-%d %H:%M} UTC")
    return certificate.not_after - now


def pin_obstacles(certificate: Certificate) -> list[str]:
    """Say why a browser would not accept the leaf by its hash; empty when it would.

    The rules are those of W3C WebTransport, 6.7 (`serverCertificateHashes`): ECDSA P-256
    and a validity of at most 14 days. Rust clients also refuse a CA certificate as a leaf.
    """
    leaf = x509.load_pem_x509_certificate(certificate.cert_pem)
    found = []
    key = leaf.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        found.append("its key is not ECDSA P-256")
    validity = leaf.not_valid_after_utc - leaf.not_valid_before_utc
    if validity > PINNED_VALIDITY:
        found.append(f"it is valid for {validity.days} days, and at most 14 are allowed")
    try:
        constraints = leaf.extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        return found
    if constraints.ca:
        found.append("it is a CA certificate")
    return found


def read_pem(file: Path, what: str) -> bytes:
    """Read a small file.

    Raises:
        CertificateError: it is missing, unreadable, empty or far too large.
    """
    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_PEM_BYTES + 1)
    except FileNotFoundError as exc:
        raise CertificateError(f"no {what} at {file}") from exc
    except OSError as exc:
        reason = exc.strerror or errno.errorcode.get(exc.errno or 0, "unreadable")
        raise CertificateError(f"cannot read the {what} {file}: {reason.lower()}") from exc
    if not data.strip():
        raise CertificateError(f"the {what} {file} is empty")
    if len(data) > MAX_PEM_BYTES:
        raise CertificateError(f"{file} is too large for a {what}: more than 1 MiB")
    return data


def read_roots(file: Path) -> bytes:
    """Read certificates to trust.

    Raises:
        CertificateError: it can't be read, or holds none.
    """
    data = read_pem(file, "CA certificate")
    try:
        x509.load_pem_x509_certificates(data)
    except ValueError as exc:
        raise CertificateError(f"{file} holds no PEM certificate that could be trusted") from exc
    return data


def parse_key(key_pem: bytes, name: str) -> PrivateKey:
    """Decode a private key that can sign a TLS 1.3 handshake.

    Raises:
        CertificateError: it is encrypted, malformed, weak or of a kind TLS 1.3 has no use for.
    """
    try:
        key = serialization.load_pem_private_key(key_pem, password=None)
    except TypeError as exc:
        raise CertificateError(f"{name} is encrypted; decrypt it first") from exc
    except (ValueError, UnsupportedAlgorithm) as exc:
        raise CertificateError(f"{name} is not a PEM private key") from exc
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size < MIN_RSA_BITS:
        raise CertificateError(f"{name} is an RSA key of {key.key_size} bits, 2048 is the least")
    if isinstance(key, PrivateKey):
        return key
    raise CertificateError(f"{name} is neither an ECDSA, RSA nor Ed25519 key, which TLS 1.3 needs")


def _belongs(key: PrivateKey, certificate: x509.Certificate) -> bool:
    def spki(public: object) -> bytes:
        if not isinstance(
            public,
            ec.EllipticCurvePublicKey
            | rsa.RSAPublicKey
            | ed25519.Ed25519PublicKey
            | ed448.Ed448PublicKey,
        ):
            return b""
        return public.public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    return spki(key.public_key()) == spki(certificate.public_key())
