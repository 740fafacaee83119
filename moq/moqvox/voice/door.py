"""Sessions that come in over a listener, to the lobby that looks after their calls."""

import asyncio
import logging

from moqvox.errors import MoqError, SessionCode
from moqvox.listen import Incoming, Server
from moqvox.model.origin import Origin
from moqvox.voice.lobby import Lobby
from moqvox.voice.names import AgentView

__all__ = ["take_sessions"]

log = logging.getLogger("moqvox.voice")


async def take_sessions(server: Server, lobby: Lobby) -> None:
    """Let every session in, until cancelled."""
    async with asyncio.TaskGroup() as tasks:
        async for request in server:
            tasks.create_task(_host(request, lobby), name=f"caller-{request.remote_address}")


async def _host(request: Incoming, lobby: Lobby) -> None:
    """Serve one connection. A bug in it ends no other."""
    local, remote = Origin(), Origin()
    driver = request.accept(publish=AgentView(local), consume=remote)
    try:
        await lobby.host(driver, local, remote, eager=True)
    except MoqError as exc:
        log.info("%s: %s", request.remote_address, exc)
    except Exception:
        log.exception("calls of %s hit a bug", request.remote_address)
        request.reject(SessionCode.INTERNAL, "internal error")
