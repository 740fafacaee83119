"""Options of every verb that dials."""

from typing import Annotated

from moqvox.transport.aioquic import Verify
from moqvox.wire.version import LITE_ALPNS as ALPNS
from moqvox_client import trust
from moqvox_client.flags import TlsFingerprint, TlsInsecure, TlsRoot, Token
from moqvox_client.kinds import Duration
from moqvox_client.options import Flag, Shared

__all__ = ["Reaching", "Versions", "verify"]

Versions = Annotated[
    tuple[str, ...],
    Flag("protocol version to speak, most wanted first", metavar="NAME", split=True),
]


class Reaching(Shared, frozen=True, kw_only=True):
    """How to reach a server."""

    tls_fingerprint: TlsFingerprint = ()
    tls_root: TlsRoot = None
    tls_insecure: TlsInsecure = False
    token: Token = None
    versions: Versions = tuple(ALPNS)
    timeout: Annotated[Duration, Flag("how long to wait for an answer")] = 10.0


def verify(options: Reaching) -> Verify:
    """Decide whom to trust.

    Raises:
        UsageError, CertificateError, LocalError: see `trust.verify`.
    """
    return trust.verify(options.tls_fingerprint, options.tls_root, insecure=options.tls_insecure)
