"""What a QUIC engine needs around it, whichever it is: sockets, connection IDs and secrets."""

from moqvox.transport.quic.binding import bind_all, bind_workers
from moqvox.transport.quic.connection_ids import (
    MAX_WORKERS,
    ConnectionIds,
    Issuer,
    Preferred,
    RandomIds,
    RoutableIds,
    Routing,
    Steering,
)
from moqvox.transport.quic.keys import Keys, Purpose, parse_secret, read_secret

__all__ = [
    "MAX_WORKERS",
    "ConnectionIds",
    "Issuer",
    "Keys",
    "Preferred",
    "Purpose",
    "RandomIds",
    "RoutableIds",
    "Routing",
    "Steering",
    "bind_all",
    "bind_workers",
    "parse_secret",
    "read_secret",
]
