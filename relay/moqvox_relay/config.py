"""What a relay is told to be. Decoded by the command line; every field has a default."""

from pathlib import Path

import msgspec

from moqvox.errors import LocalError
from moqvox.transport.quic import Preferred, RoutableIds, Routing, Steering
from moqvox.url import parse_bind, parse_url
from moqvox.wire.version import LITE_ALPNS as ALPNS

__all__ = ["Config", "Upstream"]


class Upstream(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The relay or server that this one is an edge of.

    Attributes:
        url: `https://`, `moqt://` or `moql://`.
        token: sent as `?jwt=`.
        fingerprints: SHA-256 of certificates to trust, hex; empty trusts `ca` or the system.
        ca: PEM file of roots to trust.
        insecure: trust anybody. For experiments.
        also: URLs that lead to the same place, tried when the one before is not reached or
            asks to move; token and trust are the same.
    """

    url: str
    token: str = ""
    fingerprints: tuple[str, ...] = ()
    ca: Path | None = None
    insecure: bool = False
    also: tuple[str, ...] = ()


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A relay's settings.

    Attributes:
        bind: `host:port`, over UDP, and over TCP for `websocket` and `http`.
        tls_cert, tls_key: PEM files; without them `tls_generate` names a certificate to make.
        tls_generate: host names of a self-made certificate of 13 days.
        versions: ALPN names served, most wanted first.
        upstream: makes this relay an edge.
        auth_key: JWK or JWK set file that verifies tokens.
        public: path prefixes open to everybody, "" for all of them. Without a key and
            without this, nobody gets in.
        websocket: take clients over TCP too, where UDP is blocked.
        http: answer `/certificate.sha256`, `/health` and `/metrics` over TCP.
        max_sessions: open at once; further clients are refused.
        cache_bytes, cache_age: what is kept of each track for late and returning readers.
        cache_total: bytes kept of all tracks together.
        linger: seconds an unread subscription to a publisher is kept.
        drain: seconds that clients get to move away when the relay stops.
        workers: processes that share the port; sessions and the cache are divided among them.
        secret_file: hex digits that Retry, tickets and resets follow from, shared with other
            relays behind one load balancer, and with this one's next run.
        secret: the same, not in a file.
        routing: lets a load balancer route by connection IDs.
        preferred: addresses and ports where clients should go on, one of each family; bound too.
    """

    bind: str = "[::]:4443"
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_generate: tuple[str, ...] = ()
    versions: tuple[str, ...] = tuple(ALPNS)
    upstream: Upstream | None = None
    auth_key: Path | None = None
    public: tuple[str, ...] | None = None
    websocket: bool = True
    http: bool = True
    max_sessions: int = 4096
    cache_bytes: int = 32 * 1024 * 1024
    cache_age: float = 600.0
    cache_total: int = 256 * 1024 * 1024
    linger: float = 2.0
    drain: float = 0.0
    workers: int = 1
    secret_file: Path | None = None
    secret: str = ""
    routing: Routing | None = None
    preferred: tuple[str, ...] = ()

    @property
    def preferred_addresses(self) -> list[tuple[str, int]]:
        """Take `preferred` apart.

        Raises:
            LocalError: one is no `host:port`.
        """
        return [parse_bind(address) for address in self.preferred]

    def check(self) -> None:
        """Refuse settings that contradict each other.

        Raises:
            LocalError: says which, and what to write instead.
        """
        if (self.tls_cert is None) != (self.tls_key is None):
            raise LocalError("a certificate and its key go together: --tls-cert and --tls-key")
        if self.tls_cert is None and not self.tls_generate:
            raise LocalError(
                "no certificate: give --tls-cert and --tls-key, or --tls-generate localhost"
            )
        if self.tls_cert is not None and self.tls_generate:
            raise LocalError("--tls-generate and --tls-cert exclude each other")
        unknown = [version for version in self.versions if version not in ALPNS]
        if unknown or not self.versions:
            raise LocalError(
                f"unknown version {', '.join(unknown)!r}; known are {', '.join(ALPNS)}"
            )
        limits = (self.max_sessions, self.cache_bytes, self.cache_total, self.cache_age)
        if min(limits) <= 0 or self.linger < 0 or self.drain < 0:
            raise LocalError("limits must be positive, times not negative")
        Steering(0, self.workers).check()
        if self.routing is not None:
            RoutableIds(self.routing, Steering(0, self.workers))
        Preferred.parse(self.preferred_addresses)
        if self.secret and self.secret_file is not None:
            raise LocalError("--secret-file and --secret exclude each other")
        if self.upstream is not None:
            parse_url(self.upstream.url)
        if self.auth_key is None and self.public is None:
            raise LocalError(
                "nobody could get in: give --auth-key FILE for tokens, or --public '' to let "
                "everybody publish and subscribe"
            )
