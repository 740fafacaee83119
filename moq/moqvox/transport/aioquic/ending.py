"""How a QUIC connection ends, and what of it the application is told."""

import msgspec
from aioquic.quic.packet import QuicErrorCode

from moqvox.errors import SessionCode
from moqvox.transport.inbox import printable
from moqvox.transport.interface import Closed

__all__ = ["Ending"]


class Ending(msgspec.Struct, frozen=True):
    """How a connection ended, or is about to.

    Attributes:
        code: an application code, or a transport code (RFC 9000, section 20.1).
        is_transport: which of them.
        remote: the peer closed.
        lost: nobody closed; the network or the clock did.
    """

    code: int
    is_transport: bool
    reason: str
    remote: bool = False
    lost: bool = False

    def closed(self) -> Closed:
        """Tell it to the application; transport codes become session codes and words."""
        reason = printable(self.reason)
        if not self.is_transport:
            return Closed(self.code, reason, remote=self.remote)
        if self.lost:
            return Closed(SessionCode.NO_ERROR, reason.lower(), lost=True)
        if self.code == 0:
            return Closed(SessionCode.NO_ERROR, reason, remote=self.remote)
        if self.code == QuicErrorCode.CONNECTION_REFUSED:
            why = f"refused: {reason}" if reason else "refused"
            return Closed(SessionCode.EXCESSIVE_LOAD, why, remote=self.remote)
        words = f"transport error {self.code:#x}"
        return Closed(
            SessionCode.PROTOCOL_VIOLATION,
            f"{words}: {reason}" if reason else words,
            remote=self.remote,
        )
