"""Whom a client trusts, kept ready to be asked.

Upstream reads and parses its roots anew for every certificate that it checks, between a server's
word and the answer to it; with a system's hundred and fifty of them that takes longer than all the
rest of a handshake. Here they are read once and kept. What is checked of a certificate, and when,
is the same: nothing of that is remembered.
"""

import datetime
import functools
import ipaddress
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import service_identity
from aioquic.tls import AlertBadCertificate, AlertCertificateExpired
from cryptography import x509
from OpenSSL import crypto
from service_identity.cryptography import (
    extract_patterns,
    verify_certificate_hostname,
    verify_certificate_ip_address,
)

from moqvox.errors import LocalError

__all__ = ["Roots"]

MAX_STORES: Final = 16


class Roots:
    """Checks certificates of servers: by roots that are given, or by the system's."""

    def __init__(self, ca_pem: bytes | None) -> None:
        """Take roots; None: the system's, or those of certifi where it has none.

        Raises:
            LocalError: they can't be read.
        """
        self._ca_pem = ca_pem
        if ca_pem is not None:
            self._store()

    def get_ready(self) -> None:
        """Read the system's roots, if that was not done yet: in a pause rather than when asked."""
        self._store()

    def check(
        self, leaf: x509.Certificate | None, chain: Sequence[x509.Certificate], name: str
    ) -> None:
        """Check a certificate whose key has signed the handshake: dates, name, issuers.

        Raises:
            AlertBadCertificate: it is another's, or of somebody who is not trusted.
            AlertCertificateExpired: it is not valid now.
        """
        if leaf is None:
            raise AlertBadCertificate("there is no certificate")
        _check_dates(leaf)
        _check_name(leaf, name)
        convert = crypto.X509.from_cryptography
        issuers = [convert(each) for each in chain]
        try:
            crypto.X509StoreContext(self._store(), convert(leaf), issuers).verify_certificate()
        except crypto.X509StoreContextError as exc:
            raise AlertBadCertificate(exc.args[0]) from exc

    def _store(self) -> crypto.X509Store:
        """Find the store; a system's is read again when its file has changed."""
        if self._ca_pem is not None:
            return _given(self._ca_pem)
        found = ssl.get_default_verify_paths().cafile
        file = Path(found) if found is not None else None
        if file is None or not file.is_file():
            import certifi  # most systems have roots of their own

            file = Path(certifi.where())
        facts = file.stat()
        return _read(file, facts.st_mtime_ns, facts.st_size)


@functools.lru_cache(maxsize=MAX_STORES)
def _given(ca_pem: bytes) -> crypto.X509Store:
    store = crypto.X509Store()
    try:
        roots = x509.load_pem_x509_certificates(ca_pem)
    except ValueError as exc:
        raise LocalError(f"the roots to trust can't be read: {exc}") from exc
    for root in roots:
        store.add_cert(crypto.X509.from_cryptography(root))
    return store


@functools.lru_cache(maxsize=1)
def _read(file: Path, _changed_ns: int, _size: int) -> crypto.X509Store:
    store = crypto.X509Store()
    store.load_locations(str(file))
    return store


def _check_dates(leaf: x509.Certificate) -> None:
    now = datetime.datetime.now(datetime.UTC)
    if now < leaf.not_valid_before_utc:
        raise AlertCertificateExpired("Certificate is not valid yet")
    if now > leaf.not_valid_after_utc:
        raise AlertCertificateExpired("Certificate is no longer valid")


def _check_name(leaf: x509.Certificate, name: str) -> None:
    verify: Callable[[x509.Certificate, str], None] = verify_certificate_hostname
    try:
        ipaddress.ip_address(name)
        verify = verify_certificate_ip_address
    except ValueError:
        pass
    try:
        verify(leaf, name)
    except ValueError as exc:  # extensions are parsed when they are looked at
        raise AlertBadCertificate("Certificate extensions could not be parsed") from exc
    except (service_identity.CertificateError, service_identity.VerificationError) as exc:
        known = ", ".join(repr(pattern) for pattern in extract_patterns(leaf))
        reason = f"hostname {name!r} doesn't match {known}" if known else str(exc)
        raise AlertBadCertificate(reason) from exc
