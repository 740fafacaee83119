"""From TLS flags to what the library wants: whom to trust, and who we are."""

import datetime
import logging
from collections.abc import Sequence
from pathlib import Path

import moqvox_certs
from moqvox.transport.credentials import ServerCertificate, Verify
from moqvox_client.errors import UsageError

__all__ = ["identity", "verify"]

log = logging.getLogger("moqvox.client")


def verify(
    fingerprints: Sequence[str] = (), root: Path | None = None, *, insecure: bool = False
) -> Verify:
    """Say whom to trust: the pinned, a root from a file, anyone, or the system's roots.

    Raises:
        UsageError: more than one of them was asked for.
        CertificateError: the root can't be read.
        LocalError: a fingerprint is malformed.
    """
    asked = {
        "--tls-fingerprint": bool(fingerprints),
        "--tls-root": root is not None,
        "--tls-insecure": insecure,
    }
    given = [flag for flag, is_given in asked.items() if is_given]
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)} contradict each other; give one of them")
    if insecure:
        log.warning("the server's certificate is not checked: anyone may listen in")
        return Verify.nothing()
    if fingerprints:
        return Verify.pinned(fingerprints)
    if root is not None:
        return Verify.authority(moqvox_certs.read_roots(root))
    return Verify.system()


def identity(
    cert: Path | None, key: Path | None, generate: Sequence[str], *, now: datetime.datetime
) -> tuple[ServerCertificate, moqvox_certs.Certificate]:
    """Load the server's certificate, or make one for the hosts of `--tls-generate`.

    Returns:
        The same certificate twice: for the library, and with its fingerprint and expiry.

    Raises:
        UsageError: neither or both were asked for, or half of a pair.
        CertificateError: the files can't serve, or a host is malformed.
    """
    if generate and (cert or key):
        raise UsageError("--tls-generate and --tls-cert contradict each other; give one of them")
    if generate:
        found = moqvox_certs.generate(generate, now)
    elif cert is not None and key is not None:
        found = moqvox_certs.load(cert, key, now=now)
        left = moqvox_certs.remaining(found, now=now)
        if left < moqvox_certs.EXPIRY_WARNING:
            log.warning("%s expires on %s", cert, found.not_after.strftime("%Y-%m-%d %H:%M UTC"))
    elif cert is not None or key is not None:
        raise UsageError("--tls-cert and --tls-key go together")
    else:
        raise UsageError("a server needs --tls-cert and --tls-key, or --tls-generate HOST")
    return ServerCertificate(chain_pem=found.cert_pem, key_pem=found.key_pem), found
