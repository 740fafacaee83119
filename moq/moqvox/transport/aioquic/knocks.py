"""First packets that wait for their turn, and what came right behind them.

A client with a ticket sends its early data after its first packet, in datagrams of their own and
of any size (RFC 9000, section 14.1 asks only Initial packets to be large). Both are here before
there is a connection to give them to.
"""

from typing import Final

from moqvox.transport.aioquic.headers import LONG_HEADER, MIN_INITIAL_BYTES

__all__ = ["Knocks"]

MAX_FOLLOWERS: Final = 16
"""Small datagrams that are kept behind one first packet; more than a first congestion window."""


class Knocks:
    """Says which strangers' datagrams are worth keeping. Holds a count for each that waits."""

    def __init__(self) -> None:
        self._followers: dict[bytes, int] = {}

    def __len__(self) -> int:
        return len(self._followers)

    def is_welcome(self, data: bytes) -> bool:
        """Whether it can begin a connection, belongs to one about to begin, or is answered."""
        if not data[0] & LONG_HEADER or len(data) >= MIN_INITIAL_BYTES:
            return True
        return self._followers.get(_id_of(data), MAX_FOLLOWERS) < MAX_FOLLOWERS

    def waits(self, data: bytes) -> None:
        """Note that one was put among those that wait."""
        if data[0] & LONG_HEADER:
            name = _id_of(data)
            if len(data) >= MIN_INITIAL_BYTES:
                self._followers.setdefault(name, 0)
            else:
                self._followers[name] += 1

    def heard(self, data: bytes) -> None:
        """Note that one had its turn: those behind it have a connection by now, or never will."""
        if data[0] & LONG_HEADER:
            self._followers.pop(_id_of(data), None)


def _id_of(data: bytes) -> bytes:
    """Find the connection ID that a long header is for (RFC 8999, section 5.1)."""
    return data[6 : 6 + data[5]] if len(data) > 5 else b""
