"""What a client keeps between connections, so that the next one begins sooner.

Tickets resume a session (RFC 8446, 4.6.1), tokens show a server that the address is known to it
(RFC 9000, 8.1.3). Each is used once: so they can't be told to belong together, and a server may
take the early data of a ticket only once. A ticket that nobody answered is used again.
"""

import datetime
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from time import time  # noqa: TID251  # tickets outlive the process
from typing import Final

import msgspec
from aioquic.tls import CipherSuite, SessionTicket

from moqvox.errors import LocalError

__all__ = ["Kept", "Wallet"]

logger = logging.getLogger("moqvox.transport.aioquic")

MAX_SERVERS: Final = 64
MAX_OF_EACH: Final = 4
MAX_FILE_BYTES: Final = 1 << 20
MAX_NOTES: Final = 8
MAX_TICKET_BYTES: Final = 4096
"""A ticket or token that is longer is not kept; ours have 150 to 250."""


class Kept(msgspec.Struct, frozen=True):
    """A ticket, and what it was got with.

    Attributes:
        protocol: ALPN of the session.
        host: the address that answered.
        secret: the session's; whoever has it can read what is sent early.
        may_be_early: the server takes data ahead of the handshake.
        others: the server's extensions, its transport parameters among them.
    """

    protocol: str
    host: str
    cipher_suite: int
    issued_at: float
    expires_at: float
    age_add: int
    secret: bytes
    server_name: str
    ticket: bytes
    may_be_early: bool
    others: tuple[tuple[int, bytes], ...]

    def session(self) -> SessionTicket:
        """Give the TLS engine what it asks for."""
        return SessionTicket(
            age_add=self.age_add,
            cipher_suite=CipherSuite(self.cipher_suite),
            not_valid_after=_moment(self.expires_at),
            not_valid_before=_moment(self.issued_at),
            resumption_secret=self.secret,
            server_name=self.server_name,
            ticket=self.ticket,
            max_early_data_size=0xFFFFFFFF if self.may_be_early else None,  # QUIC's only value
            other_extensions=list(self.others),
        )


class _Pocket(msgspec.Struct):
    tickets: list[Kept] = []
    tokens: list[bytes] = []
    notes: list[str] = []


class Wallet:
    """Tickets and tokens by server; bounded, the least recently used go first.

    One wallet may serve any number of connections of one event loop. With a file, it outlives
    the program; whoever reads the file can pose as the client in resumed sessions' early data,
    so it is made readable by its owner only.
    """

    def __init__(
        self,
        file: Path | None = None,
        *,
        wall_clock: Callable[[], float] = time,
    ) -> None:
        """Open a wallet.

        Args:
            file: read now, if it exists, and written at each change; None: memory only.
            wall_clock: seconds.

        Raises:
            LocalError: the file can't be read, or is no wallet.
        """
        self._file = file
        self._wall_clock = wall_clock
        self._pockets: dict[str, _Pocket] = {}
        if file is not None and file.exists():
            self._pockets = _read(file)

    def take(self, server: str, protocols: Sequence[str]) -> Kept | None:
        """Take the newest ticket of a server that is good for one of these protocols."""
        pocket = self._pockets.get(server)
        now = self._wall_clock()
        while pocket is not None and pocket.tickets:
            kept = pocket.tickets.pop()
            self._save()
            if kept.issued_at <= now < kept.expires_at and kept.protocol in protocols:
                return kept
        return None

    def take_token(self, server: str) -> bytes:
        """Take the newest token of a server; empty if there is none."""
        pocket = self._pockets.get(server)
        if pocket is None or not pocket.tokens:
            return b""
        token = pocket.tokens.pop()
        self._save()
        return token

    def keep(self, server: str, session: SessionTicket, protocol: str, host: str) -> None:
        """Keep a ticket that a server has sent."""
        if len(session.ticket) > MAX_TICKET_BYTES:
            return
        pocket = self._pocket(server)
        pocket.tickets.append(
            Kept(
                protocol=protocol,
                host=host,
                cipher_suite=int(session.cipher_suite),
                issued_at=session.not_valid_before.timestamp(),
                expires_at=session.not_valid_after.timestamp(),
                age_add=session.age_add,
                secret=session.resumption_secret,
                server_name=session.server_name,
                ticket=session.ticket,
                may_be_early=session.max_early_data_size is not None,
                others=tuple((int(kind), value) for kind, value in session.other_extensions),
            )
        )
        del pocket.tickets[:-MAX_OF_EACH]
        self._save()

    def give_back(self, server: str, kept: Kept) -> None:
        """Take back a ticket with which nobody was reached, unless there are enough.

        It is good for a shorter handshake only: what was sent early with it may have arrived
        all the same, and must not come a second time.
        """
        pocket = self._pocket(server)
        if len(pocket.tickets) < MAX_OF_EACH:
            pocket.tickets.insert(0, msgspec.structs.replace(kept, may_be_early=False))
            self._save()

    def keep_token(self, server: str, token: bytes) -> None:
        """Keep a token that a server has sent."""
        if len(token) > MAX_TICKET_BYTES:
            return
        pocket = self._pocket(server)
        pocket.tokens.append(token)
        del pocket.tokens[:-MAX_OF_EACH]
        self._save()

    def note(self, server: str, word: str) -> None:
        """Keep what an application has learnt of a server, as one of at most 8 short words."""
        pocket = self._pocket(server)
        if word not in pocket.notes:
            pocket.notes.append(word)
            del pocket.notes[:-MAX_NOTES]
            self._save()

    def take_note(self, server: str, word: str) -> bool:
        """Take a word out, to be put in again when it has proved true; whether it was there."""
        pocket = self._pockets.get(server)
        if pocket is None or word not in pocket.notes:
            return False
        pocket.notes.remove(word)
        self._save()
        return True

    def _pocket(self, server: str) -> _Pocket:
        pocket = self._pockets.pop(server, None) or _Pocket()
        self._pockets[server] = pocket
        if len(self._pockets) > MAX_SERVERS:
            del self._pockets[next(iter(self._pockets))]
        return pocket

    def _save(self) -> None:
        """Write the file anew; one that can't be written costs the next start, not this one."""
        if self._file is None:
            return
        try:
            beside = self._file.with_name(self._file.name + ".new")
            beside.touch(mode=0o600)
            beside.write_bytes(msgspec.json.encode(self._pockets))
            beside.replace(self._file)
        except OSError as exc:
            logger.warning("%s: %s", self._file, (exc.strerror or str(exc)).lower())


def _read(file: Path) -> dict[str, _Pocket]:
    try:
        with file.open("rb") as opened:
            data = opened.read(MAX_FILE_BYTES)
    except OSError as exc:
        raise LocalError(f"{file}: {(exc.strerror or str(exc)).lower()}") from exc
    try:
        return msgspec.json.decode(data, type=dict[str, _Pocket])
    except msgspec.MsgspecError as exc:
        raise LocalError(f"{file}: no tickets are in it: {exc}") from exc


def _moment(seconds: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC)
