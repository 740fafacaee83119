"""Who is told what happens to a pipe or a WebSocket that is gone."""

from typing import Final

__all__ = ["NOBODY"]


class _Nobody:
    """Takes everything and does nothing, in place of one who would be kept for it."""

    def _hear(self, *_: object) -> None:
        """Do nothing."""

    on_ready = on_bytes = on_room = on_end = on_lost = _hear
    on_head = on_message = on_text = on_pong = on_goodbye = on_broken = _hear


NOBODY: Final = _Nobody()
