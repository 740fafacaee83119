"""A link between two connections: two lanes, their outages, the client's address."""

import asyncio
import enum
from collections.abc import Iterable
from typing import Final, Protocol

from moqvox.transport.memory.lane import Lane
from moqvox.transport.memory.packet import Frame, Packet
from moqvox.transport.memory.settings import LinkSettings

__all__ = ["Direction", "End", "Link"]

FIRST_PORT: Final = 40_000

LAST_WORDS_TRIES: Final = 6
"""How often a close is said that nobody seems to hear."""

LAST_WORDS_PAUSE: Final = 0.1


class Direction(enum.Enum):
    """Which way packets go."""

    UP = "up"
    DOWN = "down"
    BOTH = "both"


class End(Protocol):
    """A connection, as its link sees it."""

    def hear(self, *, is_silent: bool) -> None:
        """Count the time while nothing of the peer can arrive."""

    def moved(self, address: str, *, noticed: bool) -> None:
        """Speak from another address from now on; report it only when it is `noticed`."""


class Link:
    """The way between a client and a server, both directions.

    Attributes:
        client_address, server_address: as `host:port`.
    """

    def __init__(
        self, settings: LinkSettings, seed: str, *, client: str = "client", server: str = "server"
    ) -> None:
        self.client_address = f"{client}:{FIRST_PORT}"
        self.server_address = f"{server}:443"
        self.up = Lane(settings, f"{seed}/up")
        self.down = Lane(settings, f"{seed}/down")
        self.client: End | None = None
        self.server: End | None = None
        self._client_host = client
        self._port = FIRST_PORT
        self._is_client_gone = self._is_server_gone = False
        self._loop = asyncio.get_running_loop()
        self._outage: asyncio.TimerHandle | None = None

    @property
    def is_over(self) -> bool:
        """Whether both ends are gone."""
        return self._is_client_gone and self._is_server_gone

    def change(self, settings: LinkSettings, direction: Direction = Direction.BOTH) -> None:
        """Treat packets otherwise from now on."""
        for lane in self._lanes(direction):
            lane.change(settings)
        self._tell_ends()

    def begin_outage(self, direction: Direction = Direction.BOTH) -> None:
        """Let nothing in; what is on its way arrives."""
        for lane in self._lanes(direction):
            lane.set_outage(dead=True)
        self._tell_ends()

    def end_outage(self, direction: Direction = Direction.BOTH) -> None:
        """Let packets in again."""
        if self._outage is not None and direction is Direction.BOTH:
            self._outage.cancel()
            self._outage = None
        for lane in self._lanes(direction):
            lane.set_outage(dead=False)
        self._tell_ends()

    def outage(self, seconds: float) -> None:
        """Begin an outage of both directions that ends by itself; the last call rules."""
        if self._outage is not None:
            self._outage.cancel()
        self.begin_outage()
        self._outage = self._loop.call_later(seconds, self.end_outage)

    def change_path(self, settings: LinkSettings | None = None) -> None:
        """Give the client another address, as from WiFi to cellular, and note it there.

        Both sides report `PathChanged` once they have heard of each other on the new path.
        """
        for lane in (self.up, self.down):
            lane.new_path()
        if settings is not None:
            self.change(settings)
        self._readdress(noticed=True)

    def rebind(self) -> None:
        """Let a NAT give the client another address; only the server reports it."""
        self._readdress(noticed=False)

    def leave(self, end: End, last_words: Frame | None) -> None:
        """Let an end go that is over; the other one hears `last_words`, or nothing more."""
        if end is self.client:
            self._is_client_gone = True
            self._say(self.up, last_words)
        else:
            self._is_server_gone = True
            self._say(self.down, last_words)
        self._tell_ends()

    def abandon(self) -> None:
        """Let a client go that never was connected."""
        self._is_client_gone = True
        self._tell_ends()

    def _readdress(self, *, noticed: bool) -> None:
        self._port += 1
        self.client_address = f"{self._client_host}:{self._port}"
        if self.client is not None and not self._is_client_gone:
            self.client.moved(self.client_address, noticed=noticed)

    def _say(self, lane: Lane, words: Frame | None, tries: int = 0) -> None:
        """Say the last words again and again until they are on their way."""
        if words is None or self.is_over or lane.send(Packet((words,), self._loop.time())):
            return
        if tries < LAST_WORDS_TRIES:
            pause = LAST_WORDS_PAUSE * 2**tries
            self._loop.call_later(pause, self._say, lane, words, tries + 1)

    def _tell_ends(self) -> None:
        """Let each end know whether it can hear of the other one."""
        if self.server is not None and not self._is_server_gone:
            is_silent = self.up.dead_since is not None or self._is_client_gone
            self.server.hear(is_silent=is_silent)
        if self.client is not None and not self._is_client_gone:
            is_silent = self.down.dead_since is not None or self._is_server_gone
            self.client.hear(is_silent=is_silent)
        if self.is_over and self._outage is not None:
            self._outage.cancel()

    def _lanes(self, direction: Direction) -> Iterable[Lane]:
        if direction is not Direction.DOWN:
            yield self.up
        if direction is not Direction.UP:
            yield self.down
