"""What is kept of a datagram that waits for its turn.

When a crowd speaks in one moment, thousands of datagrams are read before anything else is done.
Were each a tuple with a tuple in it, CPython's collector would begin amid that reading, and
everybody would wait for it: the longer, the more connections there are that nobody has touched
for a while. So nothing is kept here that it keeps track of.
"""

import msgspec

from moqvox.transport.address import Address
from moqvox.transport.aioquic.asked import Question

__all__ = ["Datagram", "Waiting"]

Datagram = tuple[bytes, Address, Question | None]
"""Bytes, where they came from, and which address of ours was asked; as one is just read."""


class Waiting(msgspec.Struct, frozen=True, gc=False):
    """A datagram as it waits; refers to no container, so that nothing of it can be in a cycle.

    Attributes:
        host: and what follows: its address, of two elements or more.
    """

    data: bytes
    question: Question | None
    host: str
    port: int
    third: int | None = None
    fourth: int | None = None
    fifth: int | None = None

    @property
    def address(self) -> Address:
        """Where it came from."""
        if self.third is None:
            return self.host, self.port
        if self.fourth is None:
            return self.host, self.port, self.third
        if self.fifth is None:
            return self.host, self.port, self.third, self.fourth
        return self.host, self.port, self.third, self.fourth, self.fifth

    @property
    def datagram(self) -> Datagram:
        """The same as it was read."""
        return self.data, self.address, self.question


def wait(datagram: Datagram) -> Waiting:
    """Keep a datagram for later."""
    data, address, question = datagram
    return Waiting(data, question, *address)
