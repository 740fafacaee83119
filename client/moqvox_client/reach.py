"""Options of every verb that dials."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from moqvox.connect import connect
from moqvox.driver import Driver
from moqvox.errors import SessionClosed
from moqvox.model.origin import Origin
from moqvox.transport.credentials import Verify
from moqvox.wire.version import LITE_ALPNS as ALPNS
from moqvox_client import trust
from moqvox_client.flags import TlsFingerprint, TlsInsecure, TlsRoot, Token
from moqvox_client.kinds import Duration
from moqvox_client.options import Flag, Shared
from moqvox_client.output import Output

__all__ = ["Reaching", "Versions", "gone", "reach", "verify"]

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


@asynccontextmanager
async def reach(
    url: str,
    options: Reaching,
    output: Output,
    *,
    publish: Origin | None = None,
    consume: Origin | None = None,
) -> AsyncIterator[Driver]:
    """Open a session that ends with the block, and tell what was agreed on.

    Raises:
        UsageError, CertificateError: see `verify`.
        MoqError: see `moqvox.connect.connect`.
    """
    origin = publish or consume
    async with connect(
        url,
        publish=publish,
        consume=consume,
        verify=verify(options),
        token=options.token or "",
        versions=options.versions,
        origin_id=origin.id if origin is not None else None,
        timeout=options.timeout,
        websocket=options.websocket,
    ) as driver:
        output.event(
            "connected",
            version=driver.session.version,
            transport=driver.connection.kind.value,
            address=driver.connection.remote_address,
        )
        yield driver


async def gone(driver: Driver) -> SessionClosed:
    """Say why a session is over."""
    closed = await driver.wait_closed()
    reason = closed.reason
    if not reason:
        reason = "the connection was lost" if closed.lost else f"closed with code {closed.code:#x}"
    return SessionClosed(closed.code, f"session ended: {reason}", remote=closed.remote)
