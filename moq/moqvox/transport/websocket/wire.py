"""A WebSocket on a pipe: HTTP heads and binary messages up, messages down.

RFC 6455 itself is the `websockets` library's, in its form without I/O, so that writing never
waits and the socket's buffer is in plain sight.
"""

import logging
from typing import Final, Protocol

from websockets.frames import Frame, Opcode
from websockets.http11 import Request, Response
from websockets.protocol import Protocol as WebSocket
from websockets.protocol import State

from moqvox.transport.websocket.limits import MAX_HEAD_BYTES
from moqvox.transport.websocket.nobody import NOBODY
from moqvox.transport.websocket.pipe import Pipe

__all__ = ["LIBRARY_LOG", "Observer", "Wire"]

LIBRARY_LOG: Final = logging.getLogger("moqvox.transport.websocket.library")
# It shows paths with tokens, and payloads, and calls it an error when strangers send nonsense.
LIBRARY_LOG.setLevel(logging.CRITICAL)

NORMAL: Final = 1000
MAX_CLOSE_REASON_BYTES: Final = 123


class Observer(Protocol):
    """What a wire tells."""

    def on_ready(self) -> None:
        """Learn that bytes can be sent."""

    def on_head(self, head: Request | Response) -> None:
        """Take the other side's half of the HTTP exchange."""

    def on_message(self, data: bytes) -> None:
        """Take one binary message, whole."""

    def on_text(self) -> None:
        """Learn of a text message."""

    def on_pong(self) -> None:
        """Learn of an answer to `ping`."""

    def on_goodbye(self, code: int, reason: str) -> None:
        """Learn that the peer closed the WebSocket."""

    def on_broken(self, reason: str) -> None:
        """Learn that what came is no WebSocket; the peer was told."""

    def on_room(self) -> None:
        """Learn that there is room to send again."""

    def on_lost(self, exc: Exception | None) -> None:
        """Learn that nothing is left."""


class Wire:
    """One WebSocket, from its HTTP request on. Its observer changes when it is established.

    Attributes:
        pipe: what carries it; set before the first byte.
        observer: who is told.
    """

    pipe: Pipe

    def __init__(self, socket: WebSocket, observer: Observer, *, max_reply_bytes: int) -> None:
        self.observer = observer
        self._max_reply_bytes = max_reply_bytes
        self._head_bytes = 0
        self._has_head = False
        self._socket = socket
        self._parts: list[bytes] = []
        self._has_told_end = False

    # Downwards.

    def send(self, message: bytes) -> None:
        """Send a binary message; dropped when the WebSocket is closing."""
        if self._socket.state is State.OPEN:
            self._socket.send_binary(message)
            self.flush()

    def ping(self) -> None:
        """Send a WebSocket ping."""
        if self._socket.state is State.OPEN:
            self._socket.send_ping(b"")
            self.flush()

    def close(self, code: int = NORMAL, reason: str = "") -> None:
        """Begin to close the WebSocket; the peer's answer ends it."""
        if self._socket.state is State.OPEN:
            words = reason.encode(errors="replace")[:MAX_CLOSE_REASON_BYTES]
            self._socket.send_close(code, words.decode(errors="ignore"))
            self.flush()

    def flush(self) -> None:
        """Put on the wire what the library has to say."""
        for data in self._socket.data_to_send():
            if data:
                self.pipe.write(data)
            else:
                self.pipe.close()

    # The pipe's calls.

    def on_ready(self) -> None:
        """Pass it on."""
        self.observer.on_ready()

    def on_bytes(self, data: bytes) -> None:
        """Take bytes apart."""
        if not self._has_head:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._break_off(f"an HTTP head of more than {MAX_HEAD_BYTES} bytes")
                return
        self._socket.receive_data(data)
        for event in self._socket.events_received():
            if isinstance(event, Frame):
                self._on_frame(event)
            else:
                self._has_head = True
                self.observer.on_head(event)
        self.flush()
        self._tell_failure()
        self._check_replies()

    def on_room(self) -> None:
        """Pass it on."""
        self.observer.on_room()

    def on_end(self) -> None:
        """Let the library know; a WebSocket that is not closed is broken off."""
        self._socket.receive_eof()
        self.flush()

    def on_lost(self, exc: Exception | None) -> None:
        """Pass it on, and refer to nothing that refers back."""
        observer, self.observer = self.observer, NOBODY
        observer.on_lost(exc)
        self._socket.parser_exc = None  # whose traceback leads to what holds it

    def _on_frame(self, frame: Frame) -> None:
        if frame.opcode in (Opcode.BINARY, Opcode.CONT):
            if frame.data:
                self._parts.append(bytes(frame.data))
            if frame.fin:
                message = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
                self._parts.clear()
                self.observer.on_message(message)
        elif frame.opcode is Opcode.TEXT:
            self.observer.on_text()
        elif frame.opcode is Opcode.PONG:
            self.observer.on_pong()
        elif frame.opcode is Opcode.CLOSE and self._socket.close_rcvd is not None:
            close = self._socket.close_rcvd
            self.observer.on_goodbye(close.code, close.reason)

    def _check_replies(self) -> None:
        """Cut off a peer that asks and asks, and reads none of the answers."""
        waiting = self.pipe.waiting_bytes
        if self._socket.state is not State.CONNECTING and waiting > self._max_reply_bytes:
            self._break_off(f"{waiting} bytes of answers are not read")

    def _break_off(self, reason: str) -> None:
        """Cut the connection; there is no use in telling the peer why."""
        if not self._has_told_end:
            self._has_told_end = True
            self.observer.on_broken(reason)
        self.pipe.abort()

    def _tell_failure(self) -> None:
        """Report, once, that the library has given up on the peer."""
        failure = self._socket.parser_exc or self._socket.handshake_exc
        if failure is not None and not self._has_told_end:
            self._has_told_end = True
            self.observer.on_broken(str(failure))
