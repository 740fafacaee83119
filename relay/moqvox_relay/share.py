"""What a relay's workers have in common, as one of them holds it."""

import socket

import msgspec

from moqvox.transport.credentials import ServerCertificate
from moqvox.transport.quic import (
    ConnectionIds,
    Keys,
    RandomIds,
    RoutableIds,
    Steering,
    parse_secret,
)
from moqvox.transport.quic import read_secret as read_secret_file
from moqvox_relay.board import Board
from moqvox_relay.config import Config

__all__ = ["Identity", "Share", "connection_ids", "read_secret"]


class Identity(msgspec.Struct, frozen=True):
    """Who a relay is. Its `repr` never shows the key.

    Attributes:
        fingerprint: SHA-256 of the certificate, hex.
    """

    certificate: ServerCertificate
    fingerprint: str


class Share(msgspec.Struct, frozen=True):
    """One worker's part.

    Attributes:
        worker: its number, from 0.
        workers: how many there are.
        sockets: its own UDP sockets, and TCP ones that all listen on.
        doors: where each worker listens for its siblings, by number.
        door: our own one of them.
    """

    worker: int
    workers: int
    identity: Identity
    keys: Keys
    sockets: tuple[socket.socket, ...]
    door: socket.socket
    doors: tuple[tuple[str, int], ...]
    board: Board

    def others(self) -> list[dict[str, float]]:
        """Read the counters of all workers but this one."""
        return [self.board.read(n) for n in range(self.workers) if n != self.worker]


def read_secret(config: Config) -> bytes | None:
    """Read the secret that is shared with other relays or with the next run, if there is one.

    Raises:
        LocalError: it can't be used.
    """
    if config.secret_file is not None:
        return read_secret_file(config.secret_file)
    return parse_secret(config.secret) if config.secret else None


def connection_ids(config: Config, steering: Steering | None = None) -> ConnectionIds:
    """Make what makes connection IDs.

    Raises:
        LocalError: the load balancer's layout can't be made, or not for workers.
    """
    if config.routing is None:
        return RandomIds(steering)
    return RoutableIds(config.routing, steering)
