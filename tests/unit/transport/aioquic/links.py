"""Two links and a wire between them, on the loop's clock: no socket."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from tests.unit.transport.aioquic.wires import CLIENT, SERVER, configuration

from moqvox.transport.address import Address
from moqvox.transport.aioquic import Limits
from moqvox.transport.aioquic.link import Link
from moqvox.transport.aioquic.private import Engine
from moqvox.transport.aioquic.raw import RawConnection

__all__ = ["Desk", "link_up"]

C = TypeVar("C", bound=RawConnection)


class Desk:
    """Carries one link; what it sends reaches `other` after `delay`, unless `lose` says no."""

    def __init__(self, address: Address, *, delay: float, lose: Callable[[], bool]) -> None:
        self.address = address
        self.delay = delay
        self.lose = lose
        self.link: Link | None = None
        self.other: Desk | None = None
        self.closed_at: float | None = None
        self._loop = asyncio.get_running_loop()
        self._is_touched = self._is_gone = False
        self.unheard: list[tuple[bytes, Address]] | None = None

    def open(self, engine: Engine, limits: Limits) -> Link:
        self.link = Link(engine, limits, self)
        return self.link

    def defer(self, link: Link) -> bool:
        return False

    def has_unheard(self, link: Link) -> bool:
        return bool(self.unheard)

    def hear(self) -> None:
        """Give the link what was kept in `unheard`."""
        unheard, self.unheard = self.unheard or [], None
        for data, address in unheard:
            self.receive(data, address)

    def receive(self, data: bytes, address: Address) -> None:
        if self.unheard is not None:
            self.unheard.append((data, address))
            return
        if self.link is not None and not self._is_gone:
            self.link.receive(data, address, self.now())

    def now(self) -> float:
        return self._loop.time()

    def touch(self, link: Link) -> None:
        if not self._is_touched:
            self._is_touched = True
            self._loop.call_soon(self._flush)

    rest = touch

    def _flush(self) -> None:
        self._is_touched = False
        if self.link is not None and not self._is_gone:
            self.link.flush(self.now())

    def schedule(self, link: Link, when: float) -> None:
        if link.scheduled_at is None or when < link.scheduled_at:
            link.scheduled_at = when
            # A little late, as a real timer is.
            self._loop.call_at(when + 1e-6, self._on_timer, when)

    def _on_timer(self, when: float) -> None:
        link = self.link
        if link is not None and link.scheduled_at == when and not self._is_gone:
            link.scheduled_at = None
            link.on_timer(self.now())

    def send(self, link: Link, data: bytes, address: Address) -> None:
        if link.engine.is_closing and self.closed_at is None:
            self.closed_at = self.now()
        if self.other is not None and not self.lose():
            self._loop.call_later(self.delay, self.other.receive, data, self.address)

    def enrol(self, connection_id: bytes, link: Link) -> None:
        """Nothing: there is one link."""

    def strike(self, connection_id: bytes) -> None:
        """Nothing: there is one link."""

    def ended(self, link: Link) -> None:
        """Nothing: there is one link."""

    def part(self, link: Link) -> None:
        self._loop.call_soon(link.let_go)

    def forget(self, link: Link) -> None:
        self._is_gone = True

    def local_address(self, link: Link) -> Address:
        return self.address


async def link_up(
    observe: Callable[[Link, bool], C],
    *,
    delay: float = 0.025,
    limits: Limits | None = None,
    lose: Callable[[], bool] = lambda: False,
) -> tuple[tuple[C, Desk], tuple[C, Desk]]:
    """Connect a client and a server; the wire loses nothing before the handshake is over."""
    limits = limits or Limits()
    desks = [Desk(at, delay=delay, lose=lambda: False) for at in (CLIENT, SERVER)]
    client, server = desks
    client.other, server.other = server, client
    dialler = Engine(configuration(is_client=True, limits=limits), limits)
    taker = Engine(
        configuration(is_client=False, limits=limits),
        limits,
        original_destination_connection_id=dialler.original_destination_connection_id,
    )
    ends = []
    for desk, engine in ((client, dialler), (server, taker)):
        link = desk.open(engine, limits)
        link.observer = end = observe(link, desk is client)
        ends.append(end)
    dialler.connect(SERVER, client.now())
    client.touch(client.link)
    await asyncio.sleep(1.0)
    for desk in desks:
        desk.lose = lose
    return (ends[0], client), (ends[1], server)
