"""What is said last on a WebTransport session's stream, and how it is known to have been heard."""

from aioquic.h3.connection import FrameType, encode_frame

from moqvox.transport.aioquic.capsules import close_capsule
from moqvox.transport.aioquic.link import Link

__all__ = ["Goodbye"]


class Goodbye:
    """One side's end of a session; `session`: its stream, None where there never was one."""

    def __init__(self, link: Link, *, is_client: bool) -> None:
        self._link = link
        self._is_client = is_client
        self._has_answered = False

    def say(self, session: int | None, code: int, reason: str) -> None:
        """Send code and reason."""
        if session is not None:
            capsule = encode_frame(FrameType.DATA, close_capsule(code, reason))
            self._link.write(session, capsule, fin=True)

    def note_answer(self) -> None:
        """Note that the peer ended the session's stream, which may be what a close waits for."""
        self._has_answered = True
        self._link.touch()

    def is_heard(self, session: int | None) -> bool:
        """Whether the peer needs no more time for the session's end.

        A client that has ended the session's stream in answer has not acted on it yet: Chromium
        does so a moment later, and loses code and reason when CONNECTION_CLOSE comes before that.
        It then closes the connection, which is its own; a server leaves that to it.
        """
        return session is None or (self._is_client and self._has_answered)
