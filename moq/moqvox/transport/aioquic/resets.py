"""Stateless resets (RFC 9000, section 10.3): what a server says of connections it does not know.

After a restart its clients go on sending. The reset ends with a token that they were given along
with the connection ID, and that only the secrets of the server make; so they need not wait for
their idle time-out to know.
"""

import os
import random
from typing import Final

from moqvox.transport.aioquic.bucket import Bucket
from moqvox.transport.quic.connection_ids import Issuer
from moqvox.transport.quic.keys import MIN_RESET_BYTES, RESET_TOKEN_BYTES

__all__ = ["Resets"]

PLAUSIBLE_BYTES: Final = 43
"""A reset this long can't be told from a packet by its length."""

MAX_RESET_BYTES: Final = 60

SHORT_HEADER: Final = 0x40
FIXED_BITS: Final = 0xC0

BURST_SECONDS: Final = 2.0


class Resets:
    """Answers packets of connections that are gone; so many in a second, and never at length.

    A reset is always shorter than what it answers, so two servers without memory soon have
    nothing more to say to each other, and nobody gains by sending us others' addresses.

    Attributes:
        misdirected: packets whose connection ID another server or worker must have made. The
            token for it is not ours to tell: whoever can make us would end others' connections
            (RFC 9000, section 21.11).
        unknown: other packets of connections that are not there.
        unanswered: those of them that got no reset because too many had one lately.
    """

    def __init__(self, issuer: Issuer, *, per_second: float) -> None:
        self.misdirected = 0
        self.unknown = self.unanswered = 0
        self._issuer = issuer
        self._bucket = Bucket.full(per_second, per_second * BURST_SECONDS, 0.0)

    def answer(self, data: bytes, now: float) -> bytes | None:
        """Return the reset that answers a packet with a short header, if any does."""
        if data[0] & FIXED_BITS != SHORT_HEADER or len(data) <= MIN_RESET_BYTES:
            return None
        connection_id = data[1 : 1 + self._issuer.size]
        if not self._issuer.owns(connection_id):
            self.misdirected += 1
            return None
        self.unknown += 1
        if not self._bucket.take(now):
            self.unanswered += 1
            return None
        most = min(len(data) - 1, MAX_RESET_BYTES)
        size = random.randint(PLAUSIBLE_BYTES, most) if most > PLAUSIBLE_BYTES else most  # noqa: S311  # for looks
        noise = bytearray(os.urandom(size - RESET_TOKEN_BYTES))
        noise[0] = SHORT_HEADER | noise[0] & ~FIXED_BITS
        return bytes(noise) + self._issuer.reset_token(connection_id)
