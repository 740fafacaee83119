"""Issue development certificates: a CA, and short-lived leaves under it. RFC 5280."""

import datetime
import ipaddress
import re
from collections.abc import Sequence
from typing import Final

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from moqvox_certs.certificate import Certificate, CertificateError, fingerprint

__all__ = ["MAX_DAYS", "Authority", "create_authority", "generate", "issue"]

MAX_DAYS: Final = 13
"""One day under the browsers' limit of 14, so that a clock may be a little off."""

CA_DAYS: Final = 3650
MAX_HOSTS: Final = 100
BACKDATE: Final = datetime.timedelta(hours=1)
"""A leaf is valid from an hour ago: a client whose clock is slow still accepts it."""

_LABEL: Final = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")


class Authority(msgspec.Struct, frozen=True):
    """A development CA. Its `repr` never shows the key.

    Attributes:
        cert_pem: what a client trusts.
        key_pem: what signs leaves; whoever holds it can impersonate any host to that client.
        not_after: UTC.
    """

    cert_pem: bytes
    key_pem: bytes
    not_after: datetime.datetime

    def __repr__(self) -> str:
        return f"Authority(until {self.not_after:%Y-%m-%d} UTC)"


def generate(hosts: Sequence[str], now: datetime.datetime, days: float = MAX_DAYS) -> Certificate:
    """Make a leaf for `hosts` under a fresh CA whose key is thrown away.

    Args:
        hosts: DNS names (a leading `*.` is allowed) and IP addresses, at least one.
        now: the current time, with a time zone.
        days: total validity, the backdated hour included; above 0, at most 13.

    Raises:
        CertificateError: a name is malformed, or the validity is out of range.
    """
    return issue(create_authority(now), hosts, now, days)


def create_authority(now: datetime.datetime) -> Authority:
    """Make a CA that may sign leaves only, no further CA."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name("moqvox development CA")
    not_after = _whole(now) + datetime.timedelta(days=CA_DAYS)
    certificate = (
        x509.CertificateBuilder(issuer_name=name, subject_name=name)
        .not_valid_before(_whole(now) - BACKDATE)
        .not_valid_after(not_after)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
    )
    return Authority(_sign(certificate, key, key)[0], _key_pem(key), not_after)


def issue(
    authority: Authority,
    hosts: Sequence[str],
    now: datetime.datetime,
    days: float = MAX_DAYS,
) -> Certificate:
    """Sign a new ECDSA P-256 leaf with a new key; arguments as for `generate`.

    Raises:
        CertificateError: a name is malformed, the validity is out of range, or the CA ends
            before the leaf would.
    """
    if not 0 < days <= MAX_DAYS:
        raise CertificateError(
            f"{days:g} days of validity; more than 0 and at most {MAX_DAYS} are allowed"
        )
    names = _subject_names(hosts)
    starts = _whole(now) - BACKDATE
    not_after = starts + datetime.timedelta(days=days)
    if not_after > authority.not_after:
        raise CertificateError(f"the CA expires on {authority.not_after:%Y-%m-%d}, too soon")
    ca = x509.load_pem_x509_certificate(authority.cert_pem)
    ca_key = serialization.load_pem_private_key(authority.key_pem, password=None)
    if not isinstance(ca_key, ec.EllipticCurvePrivateKey):
        raise CertificateError("the CA's key is not an ECDSA key")
    key = ec.generate_private_key(ec.SECP256R1())
    leaf = (
        x509.CertificateBuilder(ca.subject, _name("moqvox development server"))
        .not_valid_before(starts)
        .not_valid_after(not_after)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()),
            critical=False,
        )
    )
    cert_pem, digest = _sign(leaf, key, ca_key)
    return Certificate(cert_pem, _key_pem(key), authority.cert_pem, digest, not_after)


def _sign(
    builder: x509.CertificateBuilder,
    key: ec.EllipticCurvePrivateKey,
    ca_key: ec.EllipticCurvePrivateKey,
) -> tuple[bytes, str]:
    """Complete a certificate for `key`: its PEM and its fingerprint."""
    public = key.public_key()
    certificate = (
        builder.public_key(public)
        .serial_number(x509.random_serial_number())
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM), fingerprint(certificate)


def _subject_names(hosts: Sequence[str]) -> list[x509.GeneralName]:
    if not hosts:
        raise CertificateError("no host to issue a certificate for; name at least one")
    if len(hosts) > MAX_HOSTS:
        raise CertificateError(f"{len(hosts)} hosts in one certificate, at most {MAX_HOSTS}")
    return [_subject_name(host) for host in dict.fromkeys(hosts)]


def _subject_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host.strip("[]")))
    except ValueError:
        pass
    try:
        name = host.encode("idna").decode("ascii").lower().removesuffix(".")
    except UnicodeError as exc:
        raise CertificateError(f"{host!r} is not a host name") from exc
    labels = name.removeprefix("*.").split(".")
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise CertificateError(f"{host!r} is neither a host name nor an IP address")
    if labels[-1].isdigit():
        raise CertificateError(f"{host!r} looks like an IP address, but is none")
    return x509.DNSName(name)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _whole(now: datetime.datetime) -> datetime.datetime:
    """Drop what X.509 can't carry: fractions of a second."""
    return now.astimezone(datetime.UTC).replace(microsecond=0)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
