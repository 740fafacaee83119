"""Options of every verb that dials."""

from typing import Annotated

from moqvox.driver import Driver
from moqvox.errors import SessionClosed
from moqvox.transport.credentials import Verify
from moqvox.wire.version import LITE_ALPNS as ALPNS
from moqvox_client import trust
from moqvox_client.flags import TlsFingerprint, TlsInsecure, TlsRoot, Token
from moqvox_client.kinds import Duration
from moqvox_client.options import Flag, Shared

__all__ = ["Reaching", "Versions", "gone", "verify"]

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
    websocket: Annotated[
        bool, Flag("go over WebSocket (TCP) to an https:// server that UDP does not reach")
    ] = True

    @property
    def learns(self) -> bool:
        """Servers that UDP does not reach are remembered, where WebSocket may stand in."""
        return self.websocket


def verify(options: Reaching) -> Verify:
    """Decide whom to trust.

    Raises:
        UsageError, CertificateError, LocalError: see `trust.verify`.
    """
    return trust.verify(options.tls_fingerprint, options.tls_root, insecure=options.tls_insecure)


async def gone(driver: Driver) -> SessionClosed:
    """Say why a session is over."""
    closed = await driver.wait_closed()
    reason = closed.reason
    if not reason:
        reason = "the connection was lost" if closed.lost else f"closed with code {closed.code:#x}"
    return SessionClosed(closed.code, f"session ended: {reason}", remote=closed.remote)
