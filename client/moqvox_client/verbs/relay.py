"""`moqvox relay`: a relay, alone or as the edge of another."""

import asyncio
from pathlib import Path
from typing import Annotated, Final

from moqvox.collector import spare
from moqvox.driver.scope import scope
from moqvox.transport.quic import MAX_WORKERS, Routing
from moqvox.wire.version import LITE_ALPNS as ALPNS
from moqvox_client.errors import UsageError
from moqvox_client.flags import DEFAULT_BIND, Bind, TlsCert, TlsGenerate, TlsKey, WebSocket
from moqvox_client.kinds import ByteSize, Duration, HostPort, Url
from moqvox_client.options import Flag, Shared
from moqvox_client.output import Output
from moqvox_client.reach import Versions
from moqvox_relay.config import Config, Upstream
from moqvox_relay.relay import Relay
from moqvox_relay.supervisor import Supervisor

__all__ = ["EXAMPLES", "Options", "run"]

EXAMPLES: Final = """
moqvox relay --tls-generate localhost --public ''         # for a first try: open to all
moqvox relay --tls-cert cert.pem --tls-key key.pem --auth-key key.jwk
moqvox relay --bind [::]:4444 --tls-generate localhost --public '' \\
             --upstream https://origin.example:4443/      # an edge of another relay
"""


class Options(Shared, frozen=True, kw_only=True):
    """A relay's settings; `moqvox_relay.config` explains each."""

    bind: Bind = DEFAULT_BIND
    tls_cert: TlsCert = None
    tls_key: TlsKey = None
    tls_generate: TlsGenerate = ()
    versions: Versions = tuple(ALPNS)
    auth_key: Annotated[Path | None, Flag("JWK or JWK set that verifies tokens")] = None
    public: Annotated[
        tuple[str, ...] | None, Flag("path prefix open to all without a token; '' is everything")
    ] = None
    upstream: Annotated[Url | None, Flag("be an edge of this relay or server")] = None
    upstream_also: Annotated[
        tuple[Url, ...], Flag("another URL of the upstream, for when that one fails or drains")
    ] = ()
    upstream_token: Annotated[str, Flag("JWT for the upstream", secret=True)] = ""
    upstream_fingerprint: Annotated[
        tuple[str, ...], Flag("SHA-256 of the upstream's certificate", metavar="HEX")
    ] = ()
    upstream_root: Annotated[Path | None, Flag("PEM file of roots to trust upstream")] = None
    upstream_insecure: Annotated[bool, Flag("trust any upstream; for tests only")] = False
    websocket: WebSocket = True
    http: Annotated[bool, Flag("answer /certificate.sha256, /health, /metrics over TCP")] = True
    max_sessions: Annotated[int, Flag("sessions open at once", at_least=1)] = 4096
    cache_bytes: Annotated[ByteSize, Flag("kept of each track for late readers")] = 32 * 1024 * 1024
    cache_age: Annotated[Duration, Flag("how long it is kept")] = 600.0
    cache_total: Annotated[ByteSize, Flag("kept of all tracks together")] = 256 * 1024 * 1024
    linger: Annotated[Duration, Flag("how long an unread subscription upstream is kept")] = 2.0
    drain: Annotated[Duration, Flag("how long clients may take to leave on shutdown")] = 0.0
    workers: Annotated[
        int, Flag("processes that share the port; Linux", at_least=1, at_most=MAX_WORKERS)
    ] = 1
    preferred_address: Annotated[
        tuple[HostPort, ...], Flag("where callers should go on after their handshake; bound too")
    ] = ()
    secret_file: Annotated[
        Path | None, Flag("hex; shared by relays behind one balancer, and kept over restarts")
    ] = None
    secret: Annotated[str, Flag("the same, not in a file", secret=True, metavar="HEX")] = ""
    lb_server_id: Annotated[
        str, Flag("make connection IDs for a QUIC-LB load balancer, with this ID", metavar="HEX")
    ] = ""
    lb_rotation: Annotated[int, Flag("QUIC-LB configuration", at_least=0, at_most=6)] = 0
    lb_nonce: Annotated[int, Flag("QUIC-LB nonce, in bytes", at_least=4, at_most=18)] = 8
    lb_key: Annotated[str, Flag("QUIC-LB key, 16 bytes", secret=True, metavar="HEX")] = ""


async def run(options: Options, output: Output) -> int:
    """Serve until told to stop."""
    config = configuration(options)
    if config.workers > 1:
        return await serve(Supervisor(config), output)
    relay = Relay(config)
    async with spare(lambda: relay.is_idle):
        return await serve(relay, output)


async def serve(relay: Relay | Supervisor, output: Output) -> int:
    """Serve, and say where."""
    async with scope() as tasks:
        serving = tasks.create_task(relay.run(), name="relay")
        await relay.started.wait()
        announce(output, relay)
        try:
            await serving
        except asyncio.CancelledError:
            output.done(sessions=relay.served)
            raise
    return 0


def announce(output: Output, relay: Relay | Supervisor) -> None:
    """Say where the relay is."""
    host, port = relay.where.addresses[0]
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    where = relay.where
    facts: dict[str, object] = {"address": address, "port": port, "tcp": where.tcp}
    if isinstance(relay, Supervisor):
        facts["workers"] = [relay.pids[number] for number in sorted(relay.pids)]
    output.event("ready", **facts, fingerprint=where.fingerprint)
    carriers = "UDP and TCP" if where.tcp else "UDP"
    output.text(f"relay on {address} ({carriers}), certificate sha256 {where.fingerprint}")


def configuration(options: Options) -> Config:
    """Translate the options.

    Raises:
        UsageError: some of them contradict each other.
    """
    upstream = None
    _check_upstream(options)
    if options.upstream is not None:
        upstream = Upstream(
            options.upstream,
            options.upstream_token,
            options.upstream_fingerprint,
            options.upstream_root,
            options.upstream_insecure,
            options.upstream_also,
        )
    return Config(
        bind=str(options.bind),
        tls_cert=options.tls_cert,
        tls_key=options.tls_key,
        tls_generate=options.tls_generate,
        versions=options.versions,
        upstream=upstream,
        auth_key=options.auth_key,
        public=options.public,
        websocket=options.websocket,
        http=options.http,
        max_sessions=options.max_sessions,
        cache_bytes=options.cache_bytes,
        cache_age=options.cache_age,
        cache_total=options.cache_total,
        linger=options.linger,
        drain=options.drain,
        workers=options.workers,
        secret_file=options.secret_file,
        secret=options.secret,
        routing=routing(options),
        preferred=tuple(map(str, options.preferred_address)),
    )


def routing(options: Options) -> Routing | None:
    """Translate the options that are the load balancer's, too.

    Raises:
        UsageError: one without the server's ID, or not written in hex.
    """
    if not options.lb_server_id:
        if options.lb_key:
            raise UsageError("--lb-key without --lb-server-id")
        return None
    key = _from_hex("--lb-key", options.lb_key) if options.lb_key else None
    server_id = _from_hex("--lb-server-id", options.lb_server_id)
    return Routing(server_id, options.lb_rotation, options.lb_nonce, key)


def _from_hex(name: str, text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise UsageError(f"{name} is not written in hex digits") from None


def _check_upstream(options: Options) -> None:
    """Refuse what would be ignored in silence."""
    asked = {
        "--upstream-also": bool(options.upstream_also),
        "--upstream-token": bool(options.upstream_token),
        "--upstream-fingerprint": bool(options.upstream_fingerprint),
        "--upstream-root": options.upstream_root is not None,
        "--upstream-insecure": options.upstream_insecure,
    }
    given = [flag for flag, is_given in asked.items() if is_given]
    if given and options.upstream is None:
        raise UsageError(f"{given[0]} without --upstream")
    trust = [flag for flag in given if flag not in ("--upstream-also", "--upstream-token")]
    if len(trust) > 1:
        raise UsageError(f"{' and '.join(trust)} contradict each other; give one of them")
