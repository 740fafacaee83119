"""A path that a client may go to, and why it would."""

from typing import Final

from moqvox.transport.address import Address
from moqvox.transport.aioquic.routes import Route

__all__ = ["ASKED", "BETTER", "DEAD", "ROUTED", "SILENT", "Candidate"]

ASKED: Final = "asked for"
ROUTED: Final = "the system's route changed"
BETTER: Final = "a better path"
SILENT: Final = "the path was silent"
DEAD: Final = "the path was dead"


class Candidate:
    """A path that is being probed."""

    def __init__(self, number: int, address: Address, route: Route, cause: str, now: float) -> None:
        self.number = number
        self.address = address
        self.route = route
        self.cause = cause
        self.probes = 0
        self.next_at = now
