"""Setting a connection up: one round trip, asked again when nothing comes back."""

import asyncio
from collections.abc import Callable
from typing import Final

from moqvox.errors import MoqError
from moqvox.transport.memory.connection import MemoryConnection
from moqvox.transport.memory.link import Link
from moqvox.transport.memory.packet import Close, Hello, Packet, Refusal, Welcome

__all__ = ["Caller", "ConnectFailed", "Door"]

PAUSE: Final = 0.3
"""Seconds until an unanswered client asks again, then twice as long each time."""


class ConnectFailed(MoqError):
    """No connection; the message says what was tried and why it failed."""


class Door:
    """A server's end of a link, until a connection takes its place."""

    def __init__(self, link: Link, admit: Callable[[], MemoryConnection | str]) -> None:
        self._link = link
        self._admit = admit
        link.up.receiver = self
        link.down.sender = self

    def receive(self, packet: Packet) -> bool:
        """Answer a client's Hello; what else is in the packet is early, and the connection's."""
        if not any(isinstance(frame, Hello) for frame in packet.frames):
            return False
        admitted = self._admit()
        if isinstance(admitted, str):
            now = asyncio.get_running_loop().time()
            self._link.down.send(Packet((Refusal(admitted),), now))
            return False
        if packet.is_early:
            return admitted.receive(packet)
        admitted.opening.welcome()
        return True

    def packet_lost(self, packet: Packet) -> None:
        """Do nothing: the client asks again."""

    def packet_arrived(self, packet: Packet, at: float) -> None:
        """Do nothing: the client was refused."""


class Caller:
    """A client's end of a link, until a connection takes its place."""

    def __init__(self, link: Link, connected: Callable[[str], MemoryConnection]) -> None:
        self._link = link
        self._connected = connected
        self._loop = asyncio.get_running_loop()
        self._answer: asyncio.Future[MemoryConnection] = self._loop.create_future()
        link.down.receiver = self
        link.up.sender = self

    async def call(self) -> MemoryConnection:
        """Ask until there is an answer.

        Raises:
            ConnectFailed: the server refuses.
        """
        pause = PAUSE
        while True:
            self._link.up.send(Packet((Hello(),), self._loop.time()))
            done, _ = await asyncio.wait((self._answer,), timeout=pause)
            if done:
                return self._answer.result()
            pause *= 2

    def give_up(self) -> None:
        """Let go of a link or connection that nobody waits for any more."""
        answer = self._answer
        if answer.done() and not answer.cancelled() and answer.exception() is None:
            answer.result().close()
        else:
            answer.cancel()
            self._link.abandon()

    def receive(self, packet: Packet) -> bool:
        """Take the server's answer, and whatever came with it."""
        if self._answer.done():
            return False
        for frame in packet.frames:
            if isinstance(frame, Welcome):
                connection = self._connected(frame.protocol)
                self._answer.set_result(connection)
                return connection.receive(packet)
            if isinstance(frame, (Refusal, Close)):
                self._answer.set_exception(ConnectFailed(frame.reason))
                return True
        return False

    def packet_lost(self, packet: Packet) -> None:
        """Do nothing: the pause is short."""

    def packet_arrived(self, packet: Packet, at: float) -> None:
        """Do nothing: the answer counts."""
