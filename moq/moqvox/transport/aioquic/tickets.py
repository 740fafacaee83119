"""A server's session tickets: all they stand for is sealed within them. RFC 8446, 4.6.1 and 8.

Any server with the same keys resumes a session. Data ahead of the handshake (0-RTT) can be
replayed by whoever sees it, so a ticket is good for that once: a register remembers those used
here. What it can't know of, tickets from before it was begun, is resumed without such data.
Another worker has another register, but early packets are steered by a connection ID that their
seal covers, so their copies come to the same worker.
"""

import datetime
from collections.abc import Callable
from typing import Final

import msgspec
from aioquic.tls import CipherSuite, SessionTicket

from moqvox.transport.aioquic.limits import Limits
from moqvox.transport.aioquic.strikes import Strikes
from moqvox.transport.quic.keys import Keys, Purpose

__all__ = ["Resumed", "Tickets"]

TICKET_SECONDS: Final = Purpose.TICKET.value.lifetime
ALWAYS: Final = (
    datetime.datetime.min.replace(tzinfo=datetime.UTC),
    datetime.datetime.max.replace(tzinfo=datetime.UTC),
)


class Resumed(msgspec.Struct, frozen=True, array_like=True):
    """What a ticket stands for.

    Attributes:
        cipher_suite: of the session.
        secret: its resumption secret.
        protocol: its ALPN.
        promised: the limits that the client may use before it hears of new ones.
        issued_at: wall-clock seconds.
    """

    cipher_suite: int
    secret: bytes
    protocol: str
    promised: tuple[int, ...]
    issued_at: float


class Tickets:
    """Issues tickets, and says whose early data is taken."""

    def __init__(
        self,
        keys: Keys,
        limits: Limits,
        *,
        early_for: frozenset[str],
        wall_clock: Callable[[], float],
    ) -> None:
        """Begin an empty register.

        Args:
            keys: shared by all who resume each other's sessions.
            limits: what clients are promised.
            early_for: the ALPNs whose openings do no harm when an attacker delays them.
            wall_clock: seconds.
        """
        self._keys = keys
        self._promised = (
            limits.connection_window(0),
            limits.stream_window(0),
            limits.max_bidi_streams,
            limits.max_uni_streams,
        )
        self._early_for = early_for
        self._wall_clock = wall_clock
        self._begun_at = wall_clock()
        self._used = Strikes(TICKET_SECONDS)

    def takes_early(self, protocol: str | None) -> bool:
        """Whether this protocol's clients may send ahead of the handshake at all."""
        return protocol in self._early_for

    def issue(self, session: SessionTicket, protocol: str) -> bytes:
        """Seal a session's state."""
        now = self._wall_clock()
        state = Resumed(
            int(session.cipher_suite), session.resumption_secret, protocol, self._promised, now
        )
        return self._keys.seal(Purpose.TICKET, msgspec.msgpack.encode(state), now=now)

    def redeem(self, ticket: bytes) -> Resumed | None:
        """Open a ticket; None when it is none of ours, or too old."""
        opened = self._keys.unseal(Purpose.TICKET, ticket, now=self._wall_clock())
        return msgspec.msgpack.decode(opened, type=Resumed) if opened is not None else None

    def may_be_early(self, ticket: bytes, state: Resumed, protocol: str | None) -> bool:
        """Whether the data that comes along with a ticket is taken; asked once for each use.

        The binder must have been checked: who does not know the secret uses up no ticket.
        """
        if not self.takes_early(protocol) or state.protocol != protocol:
            return False
        if state.promised != self._promised or state.issued_at < self._begun_at:
            return False
        return self._used.is_first(ticket, self._wall_clock())


def session_of(ticket: bytes, state: Resumed, server_name: str | None) -> SessionTicket:
    """Give the TLS engine what it asks for; how old a ticket may be was decided by its seal."""
    return SessionTicket(
        age_add=0,
        cipher_suite=CipherSuite(state.cipher_suite),
        not_valid_before=ALWAYS[0],
        not_valid_after=ALWAYS[1],
        resumption_secret=state.secret,
        server_name=server_name or "",
        ticket=ticket,
    )
