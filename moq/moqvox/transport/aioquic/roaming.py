"""A client that goes from one network to another, when it is told to or when a path is dead.

The address of the server stays; ours changes, and with it the socket. The old socket is read
for a while longer, because what the server sent before it knew is still on its way there.
"""

import logging
import math
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from moqvox.errors import LocalError
from moqvox.transport.address import Address, show
from moqvox.transport.aioquic.sockets import bind

if TYPE_CHECKING:
    from moqvox.transport.aioquic.link import Link

__all__ = ["Roaming"]

logger = logging.getLogger("moqvox.transport.aioquic")

KEPT_FOR: Final = 0.3
"""Seconds at least that an old socket is read."""

SILENCE: Final = 0.5
"""Seconds at least without any answer after which a path counts as dead."""

PROBE_TIMEOUTS: Final = 3
"""As many probe time-outs at least, for either of the above."""

MAX_DOUBLINGS: Final = 5
"""Each path that is dead too doubles the patience with the next, up to here."""


class Roaming:
    """One client connection's sockets, and its patience with silence.

    Args:
        link: the connection.
        family: of the server's address, and so of every socket.
        switch: takes a socket to send from, and for how long to read the one before it.
    """

    def __init__(
        self, link: "Link", family: int, switch: Callable[[socket.socket, float], None]
    ) -> None:
        self._link = link
        self._family = family
        self._switch = switch
        self._asked_at: float | None = None
        self._doublings = 0
        self._wish: tuple[tuple[str, int] | None] | None = None

    def migrate(self, local: tuple[str, int] | None) -> None:
        """Send from another socket from now on, or from when the handshake is confirmed.

        Before that it is forbidden (RFC 9000, section 9).

        Args:
            local: address and port; None: whatever the system's routes say now.

        Raises:
            LocalError: `local` can't be bound.
        """
        sock = self._bind(local)
        if not self._link.engine.recovery.handshake_confirmed:
            sock.close()
            self._wish = (local,)
            return
        self._switch(sock, max(KEPT_FOR, PROBE_TIMEOUTS * self._probe_timeout))
        self._link.moved()

    def on_heard(self) -> None:
        """Take the peer's sign of life."""
        self._asked_at = None
        self._doublings = 0

    def on_asked(self, now: float) -> None:
        """Note that something left that the peer must answer."""
        if self._asked_at is None:
            self._asked_at = now

    @property
    def dead_at(self) -> float:
        """When the path counts as dead if no answer comes; infinite when nothing was asked."""
        if self._asked_at is None or not self._link.engine.recovery.handshake_confirmed:
            return math.inf
        patience = max(SILENCE, PROBE_TIMEOUTS * self._probe_timeout)
        return self._asked_at + patience * (1 << self._doublings)

    def check(self, now: float) -> None:
        """Leave a path on which nothing is answered any more; stay when there is no other.

        Called by the link's timer, often while the handshake is not confirmed.
        """
        local = None
        if self._wish is not None and self._link.engine.recovery.handshake_confirmed:
            (local,), self._wish = self._wish, None
        elif now < self.dead_at:
            return
        else:
            self._doublings = min(self._doublings + 1, MAX_DOUBLINGS)
            self._asked_at = now
        try:
            self.migrate(local)
        except LocalError as exc:
            logger.debug("staying on this path: %s", exc)

    @property
    def _probe_timeout(self) -> float:
        return self._link.engine.recovery.get_probe_timeout()

    def _bind(self, local: tuple[str, int] | None) -> socket.socket:
        address: Address
        if local is not None:
            if (":" in local[0]) != (self._family == socket.AF_INET6):
                raise LocalError(f"cannot reach the server from {local[0]}: the other family")
            address = local
        elif self._family == socket.AF_INET6:
            address = ("::", 0, 0, 0)
        else:
            address = ("0.0.0.0", 0)  # noqa: S104  # any interface
        try:
            return bind(self._family, address, self._link.limits.socket_buffer_bytes)
        except OSError as exc:
            reason = (exc.strerror or str(exc)).lower()
            raise LocalError(f"cannot send from {show(address)}: {reason}") from exc
