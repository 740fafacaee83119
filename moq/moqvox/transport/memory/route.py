"""All links from one host to another, those of today and those of tomorrow."""

import asyncio

from moqvox.transport.memory.link import Direction, Link
from moqvox.transport.memory.settings import LinkSettings

__all__ = ["Route"]


class Route:
    """The way from one host to another: what is done to it is done to every link on it."""

    def __init__(self, client: str, server: str, settings: LinkSettings) -> None:
        self._client = client
        self._server = server
        self._settings = {Direction.UP: settings, Direction.DOWN: settings}
        self._dead: set[Direction] = set()
        self._links: list[Link] = []
        self._outage: asyncio.TimerHandle | None = None

    @property
    def links(self) -> list[Link]:
        """The links that are in use, the oldest first."""
        self._links = [link for link in self._links if not link.is_over]
        return list(self._links)

    def dial(self, seed: str) -> Link:
        """Make a link for one more connection."""
        link = Link(self._settings[Direction.UP], seed, client=self._client, server=self._server)
        link.change(self._settings[Direction.DOWN], Direction.DOWN)
        for direction in self._dead:
            link.begin_outage(direction)
        self._links = [*self.links, link]
        return link

    def change(self, settings: LinkSettings, direction: Direction = Direction.BOTH) -> None:
        """Treat packets otherwise from now on."""
        for one in _each(direction):
            self._settings[one] = settings
        for link in self.links:
            link.change(settings, direction)

    def begin_outage(self, direction: Direction = Direction.BOTH) -> None:
        """Let nothing in; what is on its way arrives."""
        self._dead.update(_each(direction))
        for link in self.links:
            link.begin_outage(direction)

    def end_outage(self, direction: Direction = Direction.BOTH) -> None:
        """Let packets in again."""
        self._dead.difference_update(_each(direction))
        for link in self.links:
            link.end_outage(direction)

    def outage(self, seconds: float) -> None:
        """Begin an outage of both directions that ends by itself; the last call rules."""
        if self._outage is not None:
            self._outage.cancel()
        self.begin_outage()
        self._outage = asyncio.get_running_loop().call_later(seconds, self.end_outage)

    def change_path(self, settings: LinkSettings | None = None) -> None:
        """Give the client another address on every link; see `Link.change_path`."""
        if settings is not None:
            self.change(settings)
        for link in self.links:
            link.change_path()

    def rebind(self) -> None:
        """Let a NAT give the client another address on every link."""
        for link in self.links:
            link.rebind()


def _each(direction: Direction) -> list[Direction]:
    return [Direction.UP, Direction.DOWN] if direction is Direction.BOTH else [direction]
