"""The composition root: builds a relay's parts in order and owns the task group above them."""

import asyncio
import datetime
import logging
from collections.abc import Sequence

import msgspec

from moqvox.driver.scope import scope
from moqvox.errors import SessionCode
from moqvox.listen import Incoming, Server, listen
from moqvox.model import cache
from moqvox.model.origin import Limits, Origin
from moqvox.transport.credentials import ServerCertificate
from moqvox_certs import generate, load
from moqvox_relay.auth import Authority
from moqvox_relay.config import Config
from moqvox_relay.connection import Peer
from moqvox_relay.ops import Ops
from moqvox_relay.upstream import Line

__all__ = ["Relay", "Started"]

log = logging.getLogger("moqvox.relay")


class Started(msgspec.Struct, frozen=True):
    """Where a relay can be reached.

    Attributes:
        addresses: bound host and port pairs.
        fingerprint: SHA-256 of the certificate, hex.
        tcp: the port is bound over TCP as well.
    """

    addresses: tuple[tuple[str, int], ...]
    fingerprint: str
    tcp: bool = False


class Relay:
    """One relay. `run` serves until cancelled.

    Attributes:
        started: set once the port is bound; then `where` tells it.
        served: sessions so far.
    """

    def __init__(self, config: Config) -> None:
        config.check()
        self.started = asyncio.Event()
        self.where = Started((), "")
        self.origin = Origin(limits=Limits(max_bytes=config.cache_total))
        self.line: Line | None = None
        self._config = config
        self._limits = cache.Limits(max_bytes=config.cache_bytes, max_age=config.cache_age)
        self._authority = Authority.load(config.auth_key, config.public)
        self.served = 0
        self._peers = 0
        self._server: Server | None = None

    async def run(self) -> None:
        """Serve until cancelled; then clients are asked to move, and after `drain` closed.

        Raises:
            LocalError: the port is taken, the certificate unusable, a setting wrong.
        """
        config = self._config
        certificate, fingerprint = self._certificate()
        async with (
            listen(
                config.bind,
                tls=certificate,
                versions=config.versions,
                origin_id=self.origin.id,
                cache_limits=self._limits,
                budget=self.origin.budget,
                linger=config.linger,
                websocket=config.websocket,
                http=Ops(fingerprint, self._metrics) if config.http else None,
            ) as server,
            scope() as tasks,
        ):
            self._server = server
            addresses = tuple((host, port) for host, port in server.addresses)
            if config.upstream is not None:
                self.line = Line(
                    config.upstream,
                    self.origin,
                    versions=config.versions,
                    limits=self._limits,
                    linger=config.linger,
                )
                tasks.create_task(self.line.run(), name="upstream")
            self.where = Started(addresses, fingerprint, bool(server.tcp_addresses))
            self.started.set()
            log.info("relay on %s", ", ".join(f"{host} port {port}" for host, port in addresses))
            try:
                async for request in server:
                    self._admit(request, tasks)
            finally:
                await self._drain(server)

    def _admit(self, request: Incoming, tasks: asyncio.TaskGroup) -> None:
        if self._peers >= self._config.max_sessions:
            request.reject(SessionCode.EXCESSIVE_LOAD, "too many sessions")
            return
        self._peers += 1
        self.served += 1
        peer = Peer(request, self.origin, self._authority)
        task = tasks.create_task(peer.serve(), name=f"peer-{request.remote_address}")
        task.add_done_callback(self._left)

    def _left(self, _task: asyncio.Task[None]) -> None:
        self._peers -= 1

    async def _drain(self, server: Server) -> None:
        if self._config.drain <= 0 or not server.sessions:
            return
        server.goaway(timeout_ms=int(1000 * self._config.drain))
        try:
            async with asyncio.timeout(self._config.drain):
                await server.wait_idle()
        except TimeoutError:
            log.info("%d sessions left after draining", server.sessions)

    def _certificate(self) -> tuple[ServerCertificate, str]:
        config = self._config
        now = datetime.datetime.now(datetime.UTC)
        if config.tls_cert is not None and config.tls_key is not None:
            made = load(config.tls_cert, config.tls_key, now=now)
        else:
            made = generate(_hosts(config.tls_generate), now)
        return ServerCertificate(made.cert_pem, made.key_pem), made.fingerprint_hex

    def _metrics(self) -> dict[str, float]:
        return {
            "moqvox_relay_sessions": self._server.sessions if self._server is not None else 0,
            "moqvox_relay_sessions_total": self.served,
            "moqvox_relay_cache_bytes": self.origin.budget.size_bytes,
            "moqvox_relay_upstream_up": float(self.line is not None and self.line.up.is_set()),
        }


def _hosts(names: Sequence[str]) -> list[str]:
    """Add loopback's addresses to `localhost`, which is dialled as any of them."""
    extra = ["127.0.0.1", "::1"] if "localhost" in names else []
    return list(dict.fromkeys([*names, *extra]))
