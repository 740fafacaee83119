"""The engine's log, turned down: its words at WARNING and INFO are a peer's to provoke."""

from aioquic.quic.connection import QuicConnectionAdapter

__all__ = ["QuietLog"]


class QuietLog(QuicConnectionAdapter):
    """Log everything at DEBUG."""

    def info(self, msg: object, *args: object, **_: object) -> None:
        """Log at DEBUG."""
        self.debug(msg, *args)

    warning = error = info
