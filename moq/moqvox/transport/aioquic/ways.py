"""Several sockets of one endpoint, and how an address says by which of them.

The first socket's peers have the addresses that the system gives. By any other socket, an
address is one element longer: the number of the socket. So two ways to one peer are two
addresses to whoever keeps books by address.
"""

import socket
from collections.abc import Callable
from typing import Final

from moqvox.transport.address import Address
from moqvox.transport.aioquic.asked import Ancillary

__all__ = ["MAX_WAYS", "PLAIN_LENGTHS", "Ways", "by_way", "plain", "way_of"]

MAX_WAYS: Final = 9
"""Sockets of one endpoint; the oldest is closed for one more, but never the newest."""

PLAIN_LENGTHS: Final = (2, 4)


def by_way(address: Address, number: int) -> Address:
    """Return a plain address as it is by a socket."""
    return (*address, number) if number else address


def way_of(address: Address) -> int | None:
    """Return the number of the way; None: the first socket, from whatever address."""
    return None if len(address) in PLAIN_LENGTHS else int(address[-1])


def plain(address: Address) -> Address:
    """Return the address as the system knows it."""
    return address if len(address) in PLAIN_LENGTHS else address[:-1]  # type: ignore[return-value]


class Ways:
    """An endpoint's sockets by number, 0 being the first. Owns them.

    Args:
        first: the first socket.
        opened: is told of each socket that is to be read.
        closed: is told of each before it is closed.
    """

    def __init__(
        self,
        first: socket.socket,
        opened: Callable[[socket.socket, int], None],
        closed: Callable[[socket.socket], None],
    ) -> None:
        self._opened = opened
        self._closed = closed
        self._next = 0
        self._sockets: dict[int, socket.socket] = {}
        self._named: dict[int, tuple[int, Ancillary]] = {}
        self.add(first)

    def __len__(self) -> int:
        return len(self._sockets)

    @property
    def first(self) -> socket.socket | None:
        """The first socket, by which nearly all goes; None: it is closed."""
        return self._sockets.get(0)

    def add(self, sock: socket.socket) -> int:
        """Take over one more socket; returns its number, which is never used again."""
        while len(self._sockets) >= MAX_WAYS:
            self.close(next(iter(self._sockets)))
        number, self._next = self._next, self._next + 1
        sock.setblocking(False)
        self._sockets[number] = sock
        self._opened(sock, number)
        return number

    def name(self, number: int, source: Ancillary) -> int:
        """Make another way of a socket: with an address of ours to send from."""
        made, self._next = self._next, self._next + 1
        self._named[made] = number, source
        return made

    def source(self, address: Address) -> Ancillary | None:
        """Return what names our address to send from; None: the system chooses."""
        number = way_of(address)
        named = self._named.get(number) if number is not None else None
        return named[1] if named is not None else None

    def close(self, number: int) -> None:
        """Close a socket, if it is still open."""
        sock = self._sockets.pop(number, None)
        if sock is not None:
            self._closed(sock)
            sock.close()

    def close_all(self) -> None:
        """Close what is open."""
        for number in list(self._sockets):
            self.close(number)

    def get(self, address: Address) -> socket.socket | None:
        """Return the socket that an address goes by; None: it is closed."""
        number = way_of(address) or 0
        if number in self._named:
            number = self._named[number][0]
        return self._sockets.get(number)
