"""News of this machine's networks: rtnetlink(7) on Linux; elsewhere one has to ask now and then."""

import asyncio
import socket
import sys
from collections.abc import Callable
from typing import Final

__all__ = ["Watch"]

NETLINK_ROUTE: Final = 0
GROUPS: Final = 0x1 | 0x10 | 0x40 | 0x100 | 0x400
"""Links, and the addresses and routes of both families (RTMGRP_... of linux/rtnetlink.h)."""

SETTLING: Final = 0.005
"""Seconds from the first of some news until it is told: a change comes in several messages."""

BUFFER_BYTES: Final = 65536
MAX_MESSAGES_PER_TURN: Final = 64


class Watch:
    """Tells when anything about the networks changed; not what.

    Attributes:
        is_open: whether there will be news; False where the system has none to give.

    Args:
        changed: is called on the loop, once for news that come together.
    """

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._socket = _subscribe()
        self.is_open = self._socket is not None
        if self._socket is not None:
            self._loop.add_reader(self._socket, self._on_readable, self._socket)

    def close(self) -> None:
        """Be silent from now on. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
        if self._socket is not None:
            self._loop.remove_reader(self._socket)
            self._socket.close()
        self._socket, self.is_open = None, False

    def _on_readable(self, sock: socket.socket) -> None:
        """Drain: what the messages say is looked up afresh, so lost ones do no harm."""
        for _ in range(MAX_MESSAGES_PER_TURN):
            try:
                sock.recv(BUFFER_BYTES)
            except BlockingIOError:
                break
            except OSError:  # ENOBUFS: the kernel had more news than room for it
                continue
        if self._timer is None:
            self._timer = self._loop.call_later(SETTLING, self._tell)

    def _tell(self) -> None:
        self._timer = None
        self._changed()


def _subscribe() -> socket.socket | None:
    if sys.platform != "linux":
        return None
    try:
        sock = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_ROUTE
        )
    except OSError:  # a sandbox without netlink
        return None
    try:
        sock.setblocking(False)
        sock.bind((0, GROUPS))
    except OSError:
        sock.close()
        return None
    return sock
