"""Listening: one UDP port for raw QUIC and WebTransport."""

import contextlib
import logging
import socket
from collections.abc import Sequence
from typing import cast

from aioquic.quic.configuration import QuicConfiguration

from moqvox.errors import LocalError
from moqvox.transport.aioquic.admission import H3, Admission
from moqvox.transport.aioquic.connection_ids import ConnectionIds, Issuer, RandomIds
from moqvox.transport.aioquic.endpoint import Endpoint
from moqvox.transport.aioquic.identity import identify
from moqvox.transport.aioquic.keys import Keys
from moqvox.transport.aioquic.limits import Limits
from moqvox.transport.aioquic.raw import RawConnection
from moqvox.transport.aioquic.sockets import bind
from moqvox.transport.credentials import ServerCertificate
from moqvox.transport.resolve import Target, resolve

__all__ = ["Listener", "listen"]

logger = logging.getLogger("moqvox.transport.aioquic")

MAX_DATAGRAM_FRAME_BYTES = 65536
WILDCARDS = ("", "::", "[::]")


class Listener:
    """A `transport.interface.Listener` on UDP. Owns its sockets."""

    def __init__(self, admission: Admission, endpoints: Sequence[Endpoint]) -> None:
        self._admission = admission
        self._endpoints = tuple(endpoints)

    @property
    def addresses(self) -> Sequence[tuple[str, int]]:
        """Bound host and port pairs."""
        return [endpoint.address[:2] for endpoint in self._endpoints]

    async def accept(self) -> RawConnection:
        """Wait for the next connection, its protocol negotiated.

        Raises:
            SessionClosed: the listener is closed.
        """
        return await self._admission.accept()

    async def close(self, code: int = 0, reason: str = "") -> None:
        """Refuse new connections, close the open ones, free the port."""
        self._admission.close(code, reason)
        for endpoint in self._endpoints:
            endpoint.close_links(code, reason)
        try:
            for endpoint in self._endpoints:
                await endpoint.wait_links_over()
        finally:
            for endpoint in self._endpoints:
                endpoint.close()


async def listen(
    host: str,
    port: int,
    *,
    protocols: Sequence[str],
    certificate: ServerCertificate,
    webtransport: bool = True,
    idle_timeout: float = 30.0,
    limits: Limits | None = None,
    keys: Keys | None = None,
    ids: ConnectionIds | None = None,
) -> Listener:
    """Listen on a UDP port, for raw QUIC by ALPN and for WebTransport.

    Args:
        host: a name or address; "" and "::" are every address, IPv4 and IPv6.
        port: 0 picks a free one.
        protocols: names of application protocols, the preferred first.
        certificate: the server's identity.
        webtransport: whether `h3` is offered besides.
        idle_timeout: seconds of silence after which a connection is lost.
        limits: bounds; None: the defaults.
        keys: secrets shared with other workers, machines or runs; None: made up.
        ids: makes the connection IDs; None: random ones.

    Raises:
        LocalError: no protocol, a certificate that can't be used, or an address that can't
            be bound.
        HostUnknown: the name has no address.
    """
    limits = limits or Limits()
    if not protocols:
        raise LocalError("no protocol to offer")
    ids, keys = ids or RandomIds(), keys or Keys.generate()
    configuration = QuicConfiguration(
        is_client=False,
        alpn_protocols=[*protocols, H3] if webtransport else list(protocols),
        connection_id_length=ids.size,
        idle_timeout=idle_timeout,
        max_data=limits.connection_window_bytes,
        max_stream_data=limits.stream_window_bytes,
        max_datagram_frame_size=MAX_DATAGRAM_FRAME_BYTES,
    )
    identify(configuration, certificate)
    admission = Admission(
        configuration, protocols, limits, webtransport=webtransport, issuer=Issuer(ids, keys)
    )
    sockets = await _bind_all(host, port, limits)
    return Listener(
        admission, [Endpoint(sock, admission, connection_id_bytes=ids.size) for sock in sockets]
    )


async def _bind_all(host: str, port: int, limits: Limits) -> list[socket.socket]:
    """Bind every address of a name, to one port."""
    if host in WILDCARDS:
        return [_bind_wildcard(port, limits)]
    targets = await resolve(host, port, passive=True)
    bound: list[socket.socket] = []
    with contextlib.ExitStack() as undo:
        for target in targets:
            if bound and port == 0:
                port = bound[0].getsockname()[1]
            address = cast("tuple[str, int]", (target.address[0], port, *target.address[2:]))
            bound.append(undo.enter_context(_bind(Target(target.family, address), limits)))
        undo.pop_all()
    return bound


def _bind_wildcard(port: int, limits: Limits) -> socket.socket:
    """Bind every address of the machine; without IPv6, every IPv4 address."""
    try:
        return bind(socket.AF_INET6, ("::", port, 0, 0), limits.socket_buffer_bytes)
    except OSError as exc:
        logger.debug("no dual-stack socket: %s", exc)
    return _bind(Target(socket.AF_INET, ("0.0.0.0", port)), limits)  # noqa: S104  # as asked


def _bind(target: Target, limits: Limits) -> socket.socket:
    try:
        return bind(target.family, target.address, limits.socket_buffer_bytes)
    except OSError as exc:
        host, port = target.address[:2]
        reason = (exc.strerror or str(exc)).lower()
        raise LocalError(f"cannot listen on UDP {host} port {port}: {reason}") from exc
