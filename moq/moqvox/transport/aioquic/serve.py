"""Listening: one UDP port for raw QUIC and WebTransport."""

import contextlib
import socket
import time
from collections.abc import Mapping, Sequence

from aioquic.quic.configuration import QuicConfiguration

from moqvox.errors import LocalError
from moqvox.transport.aioquic.admission import Admission
from moqvox.transport.aioquic.endpoint import Endpoint
from moqvox.transport.aioquic.greeting import H3
from moqvox.transport.aioquic.identity import identify
from moqvox.transport.aioquic.limits import Limits
from moqvox.transport.aioquic.raw import RawConnection
from moqvox.transport.aioquic.warmup import set_aside, warm_up
from moqvox.transport.aioquic.ways import MAX_WAYS
from moqvox.transport.credentials import ServerCertificate
from moqvox.transport.quic.binding import bind_all, uncovered
from moqvox.transport.quic.connection_ids import ConnectionIds, Issuer, Preferred, RandomIds
from moqvox.transport.quic.keys import Keys

__all__ = ["Listener", "listen"]

MAX_DATAGRAM_FRAME_BYTES = 65536


class Listener:
    """A `transport.interface.Listener` on UDP. Owns its sockets."""

    def __init__(
        self, admission: Admission, endpoint: Endpoint, addresses: Sequence[tuple[str, int]]
    ) -> None:
        self._admission = admission
        self._endpoint = endpoint
        self._addresses = tuple(addresses)

    @property
    def addresses(self) -> Sequence[tuple[str, int]]:
        """Bound host and port pairs."""
        return list(self._addresses)

    async def accept(self) -> RawConnection:
        """Wait for the next connection, its protocol negotiated.

        Raises:
            SessionClosed: the listener is closed.
        """
        return await self._admission.accept()

    def counters(self) -> Mapping[str, int]:
        """How many packets were sent, and what became of those that came of no connection."""
        return {"sent_packets": self._endpoint.sent_packets, **self._admission.counters()}

    def refuse(self) -> None:
        """Answer new clients with CONNECTION_REFUSED; the connections that are there go on."""
        self._admission.refuse()

    async def close(self, code: int = 0, reason: str = "") -> None:
        """Refuse new connections, close the open ones, free the port."""
        self._admission.close(code, reason)
        self._endpoint.close_links(code, reason)
        try:
            await self._endpoint.wait_links_over()
        finally:
            self._endpoint.close()


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
    sockets: Sequence[socket.socket] = (),
    preferred: Sequence[tuple[str, int]] = (),
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
        sockets: UDP sockets to use instead of binding `host` and `port`; taken over.
        preferred: where clients should go on after the handshake, one address of each family
            (RFC 9000, section 9.6); bound as well.

    Raises:
        LocalError: no protocol, a certificate that can't be used, or an address that can't
            be bound.
        HostUnknown: the name has no address.
    """
    limits = limits or Limits()
    if not protocols:
        raise LocalError("no protocol to offer")
    ids, keys, wish = ids or RandomIds(), keys or Keys.generate(), Preferred.parse(preferred)
    configuration = QuicConfiguration(
        is_client=False,
        alpn_protocols=[*protocols, H3] if webtransport else list(protocols),
        connection_id_length=ids.size,
        idle_timeout=idle_timeout,
        max_data=limits.connection_window(0),
        max_stream_data=limits.stream_window(0),
        max_datagram_frame_size=MAX_DATAGRAM_FRAME_BYTES,
    )
    identify(configuration, certificate)
    warm_up()
    set_aside()
    admission = Admission(
        configuration,
        protocols,
        limits,
        webtransport=webtransport,
        issuer=Issuer(ids, keys, wish),
        wall_clock=time.time,  # noqa: TID251  # tokens outlive the process
    )
    if not sockets:
        sockets = await _bind(host, port, wish, limits.socket_buffer_bytes)
    if len(sockets) > MAX_WAYS:
        for sock in sockets:
            sock.close()
        raise LocalError(f"{len(sockets)} addresses to listen on; at most {MAX_WAYS} are possible")
    endpoint = Endpoint(
        sockets[0], admission, connection_id_bytes=ids.size, answers_where_asked=True
    )
    for sock in sockets[1:]:
        endpoint.ways.add(sock)
    return Listener(admission, endpoint, [sock.getsockname()[:2] for sock in sockets])


async def _bind(
    host: str, port: int, preferred: Preferred | None, buffer_bytes: int
) -> list[socket.socket]:
    """Bind what is asked for, and the preferred addresses that this leaves out."""
    sockets = await bind_all(host, port, buffer_bytes=buffer_bytes)
    with contextlib.ExitStack() as undo:
        for sock in sockets:
            undo.enter_context(sock)
        for address in uncovered(sockets, preferred):
            more = await bind_all(*address, buffer_bytes=buffer_bytes)
            sockets += map(undo.enter_context, more)
        undo.pop_all()
    return sockets
