"""Be the agent: listen for callers, or meet them through a relay."""

import asyncio
import datetime
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Literal

from moqvox.connect import connect
from moqvox.driver.scope import scope
from moqvox.errors import MoqError, SessionClosed, SessionCode
from moqvox.listen import Incoming, Server, listen
from moqvox.model import cache
from moqvox.model.origin import Origin
from moqvox.transport.credentials import ServerCertificate, Verify
from moqvox.transport.websocket import Http
from moqvox.voice.lobby import Lobby
from moqvox.voice.session import MAX_LEAD, Session
from moqvox.wire.version import LITE_ALPNS as ALPNS
from moqvox_certs import generate

__all__ = ["Desk", "attend", "serve"]

log = logging.getLogger("moqvox.voice")


class Desk:
    """Where an agent takes its calls: iterate it for sessions.

    Attributes:
        addresses: bound host and port pairs; empty behind a relay.
        fingerprint: SHA-256 of the certificate, hex, for clients to pin; "" behind a relay.
        tcp: the port is bound over TCP as well.
        ended: why no more calls come, once the relay is gone.
    """

    def __init__(
        self,
        lobby: Lobby,
        addresses: Sequence[tuple[str, int]] = (),
        fingerprint: str = "",
        *,
        tcp: bool = False,
    ) -> None:
        self.addresses = addresses
        self.fingerprint = fingerprint
        self.tcp = tcp
        self.ended: SessionClosed | None = None
        self._lobby = lobby

    def __aiter__(self) -> AsyncIterator[Session]:
        return self._lobby.sessions()


@asynccontextmanager
async def serve(
    bind: str = "[::]:4443",
    *,
    tls: ServerCertificate | Literal["generate"] = "generate",
    names: Sequence[str] = ("localhost",),
    versions: Sequence[str] = ALPNS,
    barge_in: bool = True,
    max_lead: float = MAX_LEAD,
    websocket: bool = True,
    http: Http | None = None,
) -> AsyncIterator[Desk]:
    """Listen for callers on one port: raw QUIC and WebTransport on UDP, WebSocket on TCP.

    Args:
        bind: `host:port`; port 0 picks one (see `Desk.addresses`).
        tls: chain and key, or "generate" for a self-made one of 13 days that clients pin
            by `Desk.fingerprint`.
        names: what a generated certificate is for.
        versions: ALPN names served, most wanted first.
        barge_in: a new utterance cuts responses that still play.
        max_lead: seconds of audio a response may be ahead of what was heard.
        websocket: take callers over TCP too, on the same port number, where UDP is blocked.
        http: answers plain requests on that TCP port, as for a page; None: they get 404.

    Raises:
        LocalError: the address can't be bound.
    """
    fingerprint = ""
    if tls == "generate":
        made = generate([*names, "127.0.0.1", "::1"], datetime.datetime.now(datetime.UTC))
        tls = ServerCertificate(made.cert_pem, made.key_pem)
        fingerprint = made.fingerprint_hex
    lobby = Lobby(barge_in=barge_in, max_lead=max_lead)
    budget = cache.Budget()
    async with (
        listen(
            bind, tls=tls, versions=versions, budget=budget, websocket=websocket, http=http
        ) as server,
        scope() as tasks,
    ):
        desk = Desk(lobby, server.addresses, fingerprint, tcp=bool(server.tcp_addresses))
        accepting = tasks.create_task(_accept(server, lobby), name="accept")
        try:
            yield desk
        finally:
            accepting.cancel()
            lobby.close()


@asynccontextmanager
async def attend(
    url: str,
    *,
    verify: Verify | None = None,
    token: str = "",
    versions: Sequence[str] = ALPNS,
    barge_in: bool = True,
    max_lead: float = MAX_LEAD,
    timeout: float = 10.0,
    websocket: bool = True,
) -> AsyncIterator[Desk]:
    """Be the agent behind a relay: callers of the relay's `url` become sessions here.

    Args:
        url: the relay's, as callers use it; calls are found below its path.
        verify: whom to trust; None trusts the system's roots.
        token: added to the URL as `?jwt=`.
        versions: ALPN names offered, most wanted first.
        barge_in: a new utterance cuts responses that still play.
        max_lead: seconds of audio a response may be ahead of what was heard.
        timeout: seconds for the handshake.
        websocket: for `https://`, go over TCP where UDP is blocked.

    Raises:
        MoqError: the relay can't be reached. When it goes later, the iteration ends and
            `Desk.ended` has the reason.
    """
    local, remote = Origin(), Origin()
    lobby = Lobby(barge_in=barge_in, max_lead=max_lead)
    async with (
        connect(
            url,
            publish=local,
            consume=remote,
            verify=verify,
            token=token,
            versions=versions,
            origin_id=local.id,
            timeout=timeout,
            websocket=websocket,
        ) as driver,
        scope() as tasks,
    ):
        desk = Desk(lobby)

        async def host() -> None:
            try:
                await lobby.host(driver, local, remote, eager=False)
                closed = await driver.wait_closed()
                reason = closed.reason or "the connection to the relay was lost"
                desk.ended = SessionClosed(closed.code, reason, remote=closed.remote)
            finally:
                lobby.close()

        hosting = tasks.create_task(host(), name="host")
        try:
            yield desk
        finally:
            hosting.cancel()


async def _accept(server: Server, lobby: Lobby) -> None:
    async with asyncio.TaskGroup() as tasks:
        async for request in server:
            tasks.create_task(_host(request, lobby), name=f"caller-{request.remote_address}")


async def _host(request: Incoming, lobby: Lobby) -> None:
    """Serve one connection. A bug in it ends no other."""
    local, remote = Origin(), Origin()
    driver = request.accept(publish=local, consume=remote)
    try:
        await lobby.host(driver, local, remote, eager=True)
    except MoqError as exc:
        log.info("%s: %s", request.remote_address, exc)
    except Exception:
        log.exception("calls of %s hit a bug", request.remote_address)
        request.reject(SessionCode.INTERNAL, "internal error")
