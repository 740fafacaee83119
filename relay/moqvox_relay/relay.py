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
from moqvox.transport.quic import Keys, Steering
from moqvox_certs import generate, load
from moqvox_relay.auth import Authority
from moqvox_relay.config import Config
from moqvox_relay.connection import Peer
from moqvox_relay.draining import DRAINING, SESSIONS, move_readers, wait_idle
from moqvox_relay.ops import ops
from moqvox_relay.share import Identity, Share, connection_ids, read_secret
from moqvox_relay.siblings import Siblings
from moqvox_relay.upstream import Line, Terms, dial_upstream

__all__ = ["Relay", "Started", "make_identity"]

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
    """One relay, or one worker of several. `run` serves until cancelled.

    Attributes:
        started: set once the port is bound; then `where` tells it.
        served: sessions so far.
    """

    def __init__(self, config: Config, share: Share | None = None) -> None:
        config.check()
        self.started = asyncio.Event()
        self.where = Started((), "")
        self.origin = Origin(limits=Limits(max_bytes=config.cache_total))
        self.line: Line | None = None
        self.siblings: Siblings | None = None
        self._config = config
        self._share = share
        self._limits = cache.Limits(max_bytes=config.cache_bytes, max_age=config.cache_age)
        self._authority = Authority.load(config.auth_key, config.public)
        self.served = 0
        self._peers = 0
        self._is_draining = False
        self._server: Server | None = None

    async def run(self) -> None:
        """Serve until cancelled; then clients are asked to move, and after `drain` closed.

        Raises:
            LocalError: the port is taken, the certificate unusable, a setting wrong.
        """
        config, share = self._config, self._share
        identity = make_identity(config) if share is None else share.identity
        steering = Steering(share.worker, share.workers) if share is not None else None
        async with (
            listen(
                config.bind,
                tls=identity.certificate,
                versions=config.versions,
                origin_id=self.origin.id,
                cache_limits=self._limits,
                budget=self.origin.budget,
                linger=config.linger,
                websocket=config.websocket,
                http=ops(identity.fingerprint, self.tell_metrics) if config.http else None,
                keys=make_keys(config) if share is None else share.keys,
                ids=connection_ids(config, steering),
                sockets=share.sockets if share is not None else (),
                preferred=config.preferred_addresses,
            ) as server,
            scope() as tasks,
        ):
            self._server = server
            addresses = tuple((host, port) for host, port in server.addresses)
            self._reach_others(tasks)
            self.where = Started(addresses, identity.fingerprint, bool(server.tcp_addresses))
            self.started.set()
            log.info("relay on %s", ", ".join(f"{host} port {port}" for host, port in addresses))
            try:
                async for request in server:
                    self._admit(request, tasks)
            finally:
                await self._drain(server)

    def _reach_others(self, tasks: asyncio.TaskGroup) -> None:
        """Open lines to the upstream and the sibling workers; one of these has the upstream."""
        config, share = self._config, self._share
        terms = Terms(config.versions, self._limits, config.linger)
        if config.upstream is not None and (share is None or share.worker == 0):
            dial = dial_upstream(config.upstream, self.origin, terms)
            urls = (config.upstream.url, *config.upstream.also)
            self.line = Line("upstream", dial, urls=urls, origin=self.origin)
            tasks.create_task(self.line.run(), name="upstream")
        if share is not None:
            self.siblings = Siblings(share, self.origin, terms)
            tasks.create_task(self.siblings.run(), name="siblings")

    def _admit(self, request: Incoming, tasks: asyncio.TaskGroup) -> None:
        if self._peers >= self._config.max_sessions:
            request.reject(SessionCode.EXCESSIVE_LOAD, "too many sessions")
            return
        self._peers += 1
        self.served += 1

        def leave() -> None:
            tasks.create_task(move_readers(request.driver, self.origin), name="hand over")

        peer = Peer(request, self.origin, self._authority, leave)
        task = tasks.create_task(peer.serve(), name=f"peer-{request.remote_address}")
        task.add_done_callback(self._left)

    @property
    def is_idle(self) -> bool:
        """Whether it serves nobody now."""
        return not self._peers

    def _left(self, _task: asyncio.Task[None]) -> None:
        self._peers -= 1

    async def _drain(self, server: Server) -> None:
        share = self._share
        if self._config.drain <= 0 or (share is None and not server.sessions):
            return
        self._is_draining = True
        server.refuse()
        if self.line is not None:
            self.line.drain()
        server.goaway(timeout_ms=int(1000 * self._config.drain))
        try:
            async with asyncio.timeout(self._config.drain):
                if share is None:
                    await server.wait_idle()
                else:
                    await wait_idle(lambda: server.sessions, self.write_metrics, share.others)
        except TimeoutError:
            log.info("%d sessions left after draining", server.sessions)

    def metrics(self) -> dict[str, float]:
        """Take this process's counters."""
        rows = {
            SESSIONS: self._server.sessions if self._server is not None else 0,
            "moqvox_relay_sessions_total": self.served,
            DRAINING: float(self._is_draining),
            "moqvox_relay_cache_bytes": self.origin.budget.size_bytes,
            "moqvox_relay_upstream_up": float(self.line is not None and self.line.up.is_set()),
            "moqvox_relay_upstream_moves_total": self.line.moves if self.line is not None else 0,
        }
        if self.siblings is not None:
            rows["moqvox_relay_siblings"] = self.siblings.count
        if self._server is not None:
            for name, count in self._server.counters().items():
                rows[f"moqvox_quic_{name}"] = count
        return rows

    def write_metrics(self) -> None:
        """Let the other workers read this one's counters."""
        if self._share is not None:
            self._share.board.write(self._share.worker, self.metrics())

    def tell_metrics(self) -> dict[str, float]:
        """Take the counters of the whole relay, each worker's by its number."""
        share = self._share
        if share is None:
            return self.metrics()
        self.write_metrics()
        rows = {
            f'{name}{{worker="{worker}"}}': value
            for worker in range(share.workers)
            for name, value in share.board.read(worker).items()
        }
        return rows | share.board.read(share.workers)


def make_keys(config: Config) -> Keys | None:
    """Derive the keys from the secret, if there is one.

    Raises:
        LocalError: it can't be used.
    """
    secret = read_secret(config)
    return Keys(secret) if secret is not None else None


def make_identity(config: Config) -> Identity:
    """Load the certificate, or generate one.

    Raises:
        LocalError: it can't be used.
    """
    now = datetime.datetime.now(datetime.UTC)
    if config.tls_cert is not None and config.tls_key is not None:
        made = load(config.tls_cert, config.tls_key, now=now)
    else:
        made = generate(_hosts(config.tls_generate), now)
    return Identity(ServerCertificate(made.cert_pem, made.key_pem), made.fingerprint_hex)


def _hosts(names: Sequence[str]) -> list[str]:
    """Add loopback's addresses to `localhost`, which is dialled as any of them."""
    extra = ["127.0.0.1", "::1"] if "localhost" in names else []
    return list(dict.fromkeys([*names, *extra]))
