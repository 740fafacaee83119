"""The operators' plain HTTP, on the UDP port's number over TCP.

`/certificate.sha256` (hex, which browsers and clients pin), `/health`, `/metrics`
(Prometheus text). Nothing here is secret, and nothing can be changed through it.
"""

import asyncio
import logging
import socket
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus

from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

__all__ = ["Ops"]

log = logging.getLogger("moqvox.relay")


class Ops:
    """Answers a few GET requests until its task group ends."""

    def __init__(
        self,
        addresses: Sequence[tuple[str, int]],
        fingerprint: str,
        metrics: Callable[[], Mapping[str, float]],
    ) -> None:
        self._addresses = addresses
        self._fingerprint = fingerprint
        self._metrics = metrics
        self._bound = asyncio.Event()

    async def start(self, tasks: asyncio.TaskGroup) -> None:
        """Bind, and serve in `tasks`. A port taken over TCP is a warning, not the end."""
        tasks.create_task(self._run(), name="http")
        await self._bound.wait()

    async def _run(self) -> None:
        host, port = self._addresses[0]
        try:
            with _listen(host, port) as listening:
                async with serve(
                    _no_websocket,
                    sock=listening,
                    process_request=self._answer,
                    open_timeout=5,
                    server_header=None,
                    logger=_quiet(),
                ) as server:
                    self._bound.set()
                    await server.wait_closed()
        except OSError as exc:
            log.warning("no HTTP on %s port %d: %s", host, port, exc.strerror or exc)
            self._bound.set()

    def _answer(self, connection: ServerConnection, request: Request) -> Response:
        match request.path.partition("?")[0]:
            case "/certificate.sha256":
                response = connection.respond(HTTPStatus.OK, self._fingerprint + "\n")
            case "/health":
                response = connection.respond(HTTPStatus.OK, "ok\n")
            case "/metrics":
                rows = [f"{name} {value:.15g}\n" for name, value in self._metrics().items()]
                response = connection.respond(HTTPStatus.OK, "".join(rows))
            case _:
                response = connection.respond(HTTPStatus.NOT_FOUND, "not found\n")
        # Pages of any origin fetch the fingerprint; there is nothing else to protect.
        response.headers["Access-Control-Allow-Origin"] = "*"
        return response


async def _no_websocket(connection: ServerConnection) -> None:
    """Never reached: every request is answered before an upgrade."""
    await connection.close()


def _listen(host: str, port: int) -> socket.socket:
    """Bind as the UDP socket is bound: `::` takes IPv4 as well.

    Raises:
        OSError: the port is taken over TCP, or the address is not ours.
    """
    if ":" not in host:
        return socket.create_server((host, port))
    dual = host == "::" and socket.has_dualstack_ipv6()
    return socket.create_server((host, port), family=socket.AF_INET6, dualstack_ipv6=dual)


def _quiet() -> logging.Logger:
    """Make a logger for the HTTP library, which reports what strangers send as errors."""
    logger = logging.getLogger("moqvox.relay.http")
    logger.setLevel(logging.CRITICAL)
    return logger
