"""What a server listens on: UDP for QUIC, and TCP for WebSockets and plain HTTP besides."""

import logging
import socket
from collections.abc import Sequence
from typing import Final

import msgspec

from moqvox.errors import LocalError
from moqvox.transport.aioquic import Limits
from moqvox.transport.aioquic import listen as listen_quic
from moqvox.transport.credentials import ServerCertificate
from moqvox.transport.interface import Listener
from moqvox.transport.quic import ConnectionIds, Keys
from moqvox.transport.websocket import Http, listen_websocket
from moqvox.url import parse_bind

__all__ = ["Binding"]

log = logging.getLogger("moqvox.listen")

PORT_ATTEMPTS: Final = 16
"""Port 0 asks for a number that is free over UDP; over TCP somebody may have it."""


class Binding(msgspec.Struct, frozen=True):
    """How to listen; the attributes are `moqvox.listen`'s arguments of these names.

    Attributes:
        protocols: ALPN names served, most wanted first.
        tls: chain and key.
        limits: bounds of the QUIC endpoint.
        keys: secrets shared with other servers; None: made up.
        ids: makes the connection IDs; None: random.
        preferred: UDP addresses where clients should go on.
        websocket: whether WebSockets are served over TCP.
        http: answers plain requests there.
    """

    protocols: Sequence[str]
    tls: ServerCertificate
    limits: Limits
    keys: Keys | None
    ids: ConnectionIds | None
    preferred: Sequence[tuple[str, int]]
    websocket: bool
    http: Http | None

    async def bind(self, where: str) -> list[Listener]:
        """Bind UDP, and TCP if it is asked for, to one port number of `host:port`."""
        host, port = parse_bind(where)
        last = port != 0
        for attempt in range(PORT_ATTEMPTS):
            last = last or attempt == PORT_ATTEMPTS - 1
            udp = await self._udp(host, port)
            if not self._wants_tcp:
                return [udp]
            try:
                tcp = await self._tcp(host, udp.addresses[0][1])
            except LocalError as exc:
                if last:
                    log.warning("no WebSocket, no HTTP: %s", exc)
                    return [udp]
                await udp.close()
            except BaseException:
                await udp.close()
                raise
            else:
                return [udp, tcp]
        raise AssertionError

    async def take_over(self, sockets: Sequence[socket.socket]) -> list[Listener]:
        """Listen on sockets that somebody else has bound."""
        udp = [sock for sock in sockets if sock.type == socket.SOCK_DGRAM]
        tcp = [sock for sock in sockets if sock.type == socket.SOCK_STREAM]
        if not udp:
            raise LocalError("no UDP socket to listen on")
        listeners = [await self._udp("", 0, udp)]
        if tcp and self._wants_tcp:
            listeners.append(await self._tcp("", 0, tcp))
        return listeners

    @property
    def _wants_tcp(self) -> bool:
        return self.websocket or self.http is not None

    async def _udp(self, host: str, port: int, sockets: Sequence[socket.socket] = ()) -> Listener:
        return await listen_quic(
            host,
            port,
            protocols=self.protocols,
            certificate=self.tls,
            limits=self.limits,
            keys=self.keys,
            ids=self.ids,
            preferred=self.preferred,
            sockets=sockets,
        )

    async def _tcp(self, host: str, port: int, sockets: Sequence[socket.socket] = ()) -> Listener:
        return await listen_websocket(
            host,
            port,
            protocols=self.protocols if self.websocket else (),
            tls=self.tls,
            http=self.http,
            sockets=sockets,
        )
