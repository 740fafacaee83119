"""TCP, with TLS if the other side wants it: bytes up, bytes down, room in between."""

import asyncio
import logging
import socket
import ssl
from typing import Final, Protocol, cast

from moqvox.transport.address import Address, show
from moqvox.transport.websocket.nobody import NOBODY
from moqvox.transport.websocket.tls import Tls

__all__ = ["Pipe", "Upper"]

logger = logging.getLogger("moqvox.transport.websocket")

TLS_HANDSHAKE: Final = 0x16
"""First byte of a TLS connection (RFC 8446, section 5.1), and of no HTTP request."""


class Upper(Protocol):
    """Who uses a pipe."""

    def on_ready(self) -> None:
        """Learn that bytes can be sent."""

    def on_bytes(self, data: bytes) -> None:
        """Take bytes, in order."""

    def on_room(self) -> None:
        """Learn that there is room again."""

    def on_end(self) -> None:
        """Learn that the peer will send nothing more; the pipe closes."""

    def on_lost(self, exc: Exception | None) -> None:
        """Learn that the pipe is gone, and why if that was not a plain end."""


class Pipe(asyncio.Protocol):
    """One TCP connection.

    Args:
        upper: who is told.
        burst_bytes: with more than this in the socket's buffer there is no room.
        tls: a client's TLS; None: plain TCP.
        sniff: a server's TLS, for a client whose first byte asks for it; None: plain TCP.

    Attributes:
        heard_at: when bytes came last, in the loop's time.
        spoke_at: when bytes were sent last.
        remote_address: the peer as `host:port`.
        remote_host: its address alone.
    """

    def __init__(
        self,
        upper: Upper,
        *,
        burst_bytes: int,
        tls: Tls | None = None,
        sniff: ssl.SSLContext | None = None,
    ) -> None:
        self._upper = upper
        self._burst_bytes = burst_bytes
        self._tls = tls
        self._sniff = sniff
        self._transport: asyncio.Transport | None = None
        self._failure: Exception | None = None
        self._is_paused = False
        self._is_ready = False
        self._loop = asyncio.get_running_loop()
        self.heard_at = self.spoke_at = self._loop.time()
        self.sent_bytes = 0
        self.received_bytes = 0
        self.remote_address = ""
        self.remote_host = ""

    # What it is.

    @property
    def is_secure(self) -> bool:
        """Whether TLS is on it."""
        return self._tls is not None

    @property
    def peer_certificate(self) -> bytes | None:
        """The server's leaf as DER."""
        return self._tls.peer_certificate if self._tls is not None else None

    @property
    def has_room(self) -> bool:
        """Whether more bytes would leave soon."""
        return self._is_ready and not self._is_paused

    @property
    def waiting_bytes(self) -> int:
        """Bytes in the buffer."""
        return self._transport.get_write_buffer_size() if self._transport is not None else 0

    def getsockopt(self, level: int, option: int, size: int) -> bytes:
        """Ask the kernel; nothing when it has no answer."""
        sock = self._socket()
        try:
            return sock.getsockopt(level, option, size) if sock is not None else b""
        except OSError:
            return b""

    # Downwards.

    def write(self, data: bytes) -> None:
        """Send bytes; the buffer takes them all, so heed `has_room`."""
        if self._transport is None or self._transport.is_closing():
            return
        if self._tls is not None:
            self._tls.send(data)
            self._flush_tls()
        else:
            self._put(data)

    def close(self) -> None:
        """Close when the buffer is empty."""
        if self._transport is None or self._transport.is_closing():
            return
        if self._tls is not None:
            self._tls.close()
            self._flush_tls()
        self._transport.close()

    def abort(self) -> None:
        """Close at once; what is in the buffer is lost."""
        if self._transport is not None:
            self._transport.abort()

    # The loop's calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start TLS, if it is ours to start."""
        self._transport = cast("asyncio.Transport", transport)  # TCP's transports are
        self._transport.set_write_buffer_limits(self._burst_bytes)
        address = cast("Address | None", transport.get_extra_info("peername"))
        if address is not None:  # a client that is gone already has none
            self.remote_address, self.remote_host = show(address), address[0]
        self._limit_unsent()
        if self._tls is not None:
            self._tls.start()
            self._flush_tls()
        elif self._sniff is None:
            self._set_ready()

    def data_received(self, data: bytes) -> None:
        """Take bytes off the wire."""
        self.received_bytes += len(data)
        self.heard_at = self._loop.time()
        if not self._is_ready and self._tls is None:
            self._look_at(data[0])
        if self._tls is None:
            self._upper.on_bytes(data)
            return
        try:
            plain = self._tls.receive(data)
        except ssl.SSLError as exc:
            self._failure = exc
            self._flush_tls()  # the alert that says what is wrong
            if self._transport is not None:
                self._transport.close()
            return
        self._flush_tls()
        if self._tls.is_ready and not self._is_ready:
            self._set_ready()
        if plain:
            self._upper.on_bytes(plain)

    def eof_received(self) -> None:
        """Tell that nothing more comes; the transport closes itself."""
        self._upper.on_end()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the end."""
        self._is_ready = False
        # Whoever uses it refers to it: without that, no collector is needed.
        upper, self._upper = self._upper, NOBODY
        upper.on_lost(self._failure or exc)

    def pause_writing(self) -> None:
        """Note that the buffer is full."""
        self._is_paused = True

    def resume_writing(self) -> None:
        """Note that the buffer is nearly empty."""
        self._is_paused = False
        if self._is_ready:
            self._upper.on_room()

    def _look_at(self, first: int) -> None:
        """Decide by a client's first byte what it speaks."""
        if first == TLS_HANDSHAKE and self._sniff is not None:
            self._tls = Tls(self._sniff)
        else:
            self._set_ready()

    def _set_ready(self) -> None:
        self._is_ready = True
        self._upper.on_ready()

    def _flush_tls(self) -> None:
        if self._tls is not None and (data := self._tls.take()):
            self._put(data)

    def _put(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self.sent_bytes += len(data)
            self.spoke_at = self._loop.time()
            self._transport.write(data)

    def _socket(self) -> socket.socket | None:
        found: socket.socket | None = (
            self._transport.get_extra_info("socket") if self._transport is not None else None
        )
        return found

    def _limit_unsent(self) -> None:
        """Keep the kernel's buffer short too: an urgent stream can't overtake what is in it."""
        option = getattr(socket, "TCP_NOTSENT_LOWAT", None)
        sock = self._socket()
        if option is None or sock is None:
            return
        try:
            sock.setsockopt(socket.IPPROTO_TCP, option, self._burst_bytes)
        except OSError as exc:
            logger.debug("no bound on the kernel's unsent bytes: %s", exc)
