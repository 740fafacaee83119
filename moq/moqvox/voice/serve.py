"""Be the agent: listen for callers, or meet them through a relay."""

import asyncio
import datetime
import logging
import math
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final, Literal

from moqvox.driver import Driver
from moqvox.driver.scope import scope
from moqvox.errors import SessionClosed, SessionCode
from moqvox.listen import Keys, Server, listen
from moqvox.model import cache
from moqvox.model.origin import Origin
from moqvox.transport.credentials import ServerCertificate, Verify
from moqvox.transport.urge import Urge
from moqvox.transport.websocket import Http
from moqvox.voice.dialling import Dialler, dialling
from moqvox.voice.door import take_sessions
from moqvox.voice.journal import Bounds, Journal
from moqvox.voice.keep import KEEP, Keep
from moqvox.voice.lobby import GRACE, Lobby
from moqvox.voice.redial import HANDOVER, Redial
from moqvox.voice.rehearsal import prepare_when_idle
from moqvox.voice.session import MAX_LEAD, Session
from moqvox.wire.version import LITE_ALPNS as ALPNS
from moqvox_certs import generate

__all__ = ["Desk", "attend", "serve"]

log = logging.getLogger("moqvox.voice")

CLOSED: Final = "the agent takes no more calls"


Writing = Journal | str | os.PathLike[str] | None
"""A journal, or its directory; None writes nothing down."""


class Desk:
    """Where an agent takes its calls: iterate it for sessions.

    When its block is left, the iteration ends and every session with it: utterances and messages
    end, `Response.write` and `Session.wait_proven` return False.

    Attributes:
        addresses: bound host and port pairs; empty behind a relay.
        fingerprint: SHA-256 of the certificate, hex, for clients to pin; "" behind a relay.
        tcp: the port is bound over TCP as well.
        ended: why no more calls come, once the relay is gone or the block is left.
        redial: what keeps the connection to the relay, with its counters; None without one.
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
        self.redial: Redial | None = None
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
    grace: float = GRACE,
    keep: Keep = KEEP,
    keys: Keys | None = None,
    drain: float = 0.0,
    prepares: bool = True,
    journal: Writing = None,
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
        grace: seconds a session is kept whose caller is gone.
        keep: what is kept of each call for a new leg.
        keys: secrets of this server; those of the process before make callers notice within
            a round trip that it was started anew.
        drain: seconds that callers are given to go elsewhere when the block is left.
        prepares: get ready for the first call while nobody calls yet, see `prepare`.
        journal: directory in which calls are written down, so that a process which is started
            after this one was killed goes on with them (`Session.carried`); it holds what was
            said, for as long as a call lasts and `grace` after. Start it with the same `keys`.

    Raises:
        LocalError: the address can't be bound, or the journal can't be written.
    """
    fingerprint = ""
    if tls == "generate":
        made = generate([*names, "127.0.0.1", "::1"], datetime.datetime.now(datetime.UTC))
        tls = ServerCertificate(made.cert_pem, made.key_pem)
        fingerprint = made.fingerprint_hex
    lobby = Lobby(
        barge_in=barge_in,
        max_lead=max_lead,
        grace=grace,
        keep=keep,
        journal=_journal(journal, grace),
    )
    budget = cache.Budget()
    async with (
        listen(
            bind,
            tls=tls,
            versions=versions,
            budget=budget,
            websocket=websocket,
            http=http,
            keys=keys,
        ) as server,
        scope() as tasks,
    ):
        desk = Desk(lobby, server.addresses, fingerprint, tcp=bool(server.tcp_addresses))
        accepting = tasks.create_task(take_sessions(server, lobby), name="accept")
        preparing = tasks.create_task(_prepare(server, wanted=prepares), name="prepare")
        try:
            yield desk
        finally:
            preparing.cancel()
            try:
                if drain > 0:
                    await _drain(server, lobby, drain)
            finally:
                accepting.cancel()
                desk.ended = SessionClosed(SessionCode.NO_ERROR, CLOSED)
                for driver in server.drivers:
                    driver.close(desk.ended.code, CLOSED)
                lobby.close(desk.ended)


@asynccontextmanager
async def attend(
    url: str | Sequence[str],
    *,
    verify: Verify | None = None,
    token: str = "",
    versions: Sequence[str] = ALPNS,
    barge_in: bool = True,
    max_lead: float = MAX_LEAD,
    timeout: float = 10.0,
    websocket: bool = True,
    grace: float = GRACE,
    patience: float = math.inf,
    keep: Keep = KEEP,
    journal: Writing = None,
) -> AsyncIterator[Desk]:
    """Be the agent behind a relay: callers of the relay's `url` become sessions here.

    When the connection to the relay is lost, or the relay asks to move, another one is made,
    and the sessions go on.

    Args:
        url: the relay's, as callers use it; calls are found below its path. Several are
            relays of one origin, the first wanted most.
        verify: whom to trust; None trusts the system's roots.
        token: added to the URL as `?jwt=`.
        versions: ALPN names offered, most wanted first.
        barge_in: a new utterance cuts responses that still play.
        max_lead: seconds of audio a response may be ahead of what was heard.
        timeout: seconds for a handshake.
        websocket: for `https://`, go over TCP where UDP is blocked.
        grace: seconds a session is kept whose caller is gone.
        patience: seconds to try to reach a relay again; 0 ends with the first connection.
        keep: what is kept of each call for a new leg.
        journal: as `serve` has it.

    Raises:
        LocalError: the journal can't be written.
        MoqError: no relay can be reached at first. When they go later, and none comes back,
            the iteration ends and `Desk.ended` has the reason.
    """
    lobby = Lobby(
        barge_in=barge_in,
        max_lead=max_lead,
        grace=grace,
        keep=keep,
        journal=_journal(journal, grace),
    )
    origin_id = Origin().id
    urls = [url] if isinstance(url, str) else list(url)
    up, urge = asyncio.Event(), Urge()

    async def hold(driver: Driver) -> None:
        local, remote = Origin(id=origin_id), Origin()
        driver.attach(local, remote)
        up.set()
        await lobby.host(driver, local, remote, eager=False)

    async with (
        dialling(
            Dialler(
                verify=verify,
                token=token,
                versions=versions,
                timeout=timeout,
                origin_id=origin_id,
                websocket=websocket,
                urge=urge,
            )
        ) as dial,
        scope() as tasks,
    ):
        desk = Desk(lobby)
        redial = desk.redial = Redial(urls, dial, patience=patience, urge=urge)

        async def keep_up() -> None:
            try:
                desk.ended = await redial.run(
                    hold, settled=lambda: asyncio.sleep(HANDOVER), may_return=lambda: True
                )
            finally:
                if desk.ended is None:
                    desk.ended = SessionClosed(SessionCode.NO_ERROR, CLOSED)
                lobby.close(desk.ended)

        keeping = tasks.create_task(keep_up(), name="relay")
        began = tasks.create_task(up.wait(), name="up")
        await asyncio.wait([keeping, began], return_when=asyncio.FIRST_COMPLETED)
        try:
            yield desk
        finally:
            keeping.cancel()
            began.cancel()


async def _prepare(server: Server, *, wanted: bool) -> None:
    if wanted:
        await prepare_when_idle(lambda: server.sessions > 0)


def _journal(at: Writing, grace: float) -> Journal | None:
    if at is None or isinstance(at, Journal):
        return at
    return Journal(at, Bounds(max_age=grace))


async def _drain(server: Server, lobby: Lobby, seconds: float) -> None:
    """Ask callers to move, each when nothing is being said, and give them time."""
    try:
        async with asyncio.timeout(seconds):
            async with asyncio.TaskGroup() as tasks:
                for driver in server.drivers:
                    tasks.create_task(_ask_to_move(driver, lobby), name="drain")
            await server.wait_idle()
    except TimeoutError:
        log.info("%d callers left after draining", server.sessions)


async def _ask_to_move(driver: Driver, lobby: Lobby) -> None:
    await lobby.wait_quiet(driver)
    driver.send_goaway()
