"""The page on a stage of its own: an agent, and a network before it that can be worsened.

```
browser ── TCP gate, UDP link (one port number) ── agent with the page (a port inside)
```
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

import msgspec

from moqvox import voice
from moqvox.errors import LocalError
from moqvox.transport.websocket import facts
from moqvox_client.fate import Impairment
from moqvox_client.gate import Gate
from moqvox_client.link import Link, Settings
from moqvox_client.site import Site, page_url

__all__ = ["Network", "Stage", "staged"]

BEFORE_OUTAGE: Final = 0.2
"""Seconds in which the page still gets the answer to its wish."""

ATTEMPTS: Final = 8
"""At a port number that is free over TCP and UDP."""


class Network:
    """What stands between page and agent: the page's laboratory."""

    def __init__(self, link: Link, gate: Gate, usual: Settings, page: str) -> None:
        self.page = page
        self.link = link
        self.gate = gate
        self._usual = usual

    def outage(self, duration: float) -> None:
        """Let nothing through for `duration` seconds, either way."""
        for side in (self.link, self.gate):
            side.outage(duration, after=BEFORE_OUTAGE)

    def lose(self, percent: float) -> None:
        """Lose so many datagrams from now on, each way; 0 is as it was in the beginning."""
        up, down = self._usual.up, self._usual.down
        if percent:
            up, down = (msgspec.structs.replace(each, loss=percent) for each in (up, down))
        self.link.change(up=up, down=down)

    def block_udp(self) -> None:
        """Let no datagram through any more."""
        gone = Impairment(loss=100)
        self.link.change(up=gone, down=gone)


class Stage(msgspec.Struct, frozen=True):
    """What was set up."""

    desk: voice.Desk
    network: Network
    port: int

    @property
    def page(self) -> str:
        """Where a person on this machine opens it."""
        return self.network.page


@asynccontextmanager
async def staged(
    *, bind: tuple[str, int] = ("127.0.0.1", 0), settings: Settings | None = None, seed: int = 1
) -> AsyncIterator[Stage]:
    """Serve the page, the desk whose calls it makes, and the network between them.

    Args:
        bind: where browsers find it, over TCP and UDP; port 0 takes any.
        settings: of the UDP link.
        seed: of its losses.

    Raises:
        LocalError: the address can't be bound.
        Failed: the page's files are not installed.
    """
    site = Site()
    usual = settings or Settings()
    http = facts(lambda: site.fingerprint, site)
    async with voice.serve("127.0.0.1:0", http=http) as desk, AsyncExitStack() as front:
        link, gate = await _front(front, desk.addresses[0], bind, usual, seed)
        site.addresses = [gate.address]
        site.fingerprint = desk.fingerprint
        page = page_url([gate.address], trusted=False)
        site.lab = network = Network(link, gate, usual, page)
        yield Stage(desk, network, gate.address[1])


async def _front(
    stack: AsyncExitStack,
    inside: tuple[str, int],
    bind: tuple[str, int],
    usual: Settings,
    seed: int,
) -> tuple[Link, Gate]:
    """Bind one port number over TCP and UDP, until `stack` is left."""
    host, port = bind
    for attempt in range(ATTEMPTS):
        async with AsyncExitStack() as trial:
            try:
                gate = await trial.enter_async_context(Gate(inside, bind=bind))
                same = (host, gate.address[1])
                link = await trial.enter_async_context(Link(inside, usual, seed=seed, bind=same))
            except OSError as exc:
                if port or attempt == ATTEMPTS - 1:
                    raise LocalError(f"can't bind {host} port {port}: {exc.strerror}") from exc
                continue
            await stack.enter_async_context(trial.pop_all())
            return link, gate
    raise AssertionError("unreachable")
