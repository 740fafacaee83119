"""Who works with a link: the endpoint that carries it, the observer, who waits for a session.

And what the endpoint is to its reception.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from aioquic.quic.events import QuicEvent

from moqvox.transport.address import Address
from moqvox.transport.interface import Closed

if TYPE_CHECKING:
    from moqvox.transport.aioquic.link import Link
    from moqvox.transport.aioquic.webtransport import WebTransportConnection
    from moqvox.transport.failures import ConnectFailed

__all__ = ["Carrier", "Host", "Observer", "Sponsor"]


class Observer(Protocol):
    """What a link tells about its connection."""

    def on_engine_event(self, event: QuicEvent) -> None:
        """Take one of the engine's events, in order."""

    def on_writable(self, streams: list[int]) -> None:
        """Learn which streams fell below their low-water mark."""

    def on_discarded(self, streams: list[int]) -> None:
        """Learn which streams ended in every respect, so that their IDs may be forgotten."""

    def on_path(self, address: Address, cause: str) -> None:
        """Learn of another path, and why this side took it; "" when the peer did."""

    def on_over(self, closed: Closed) -> None:
        """Learn of the end; nothing comes after it."""

    def close(self, code: int = 0, reason: str = "") -> None:
        """Close: whoever owns the endpoint wants to go."""


class Carrier(Protocol):
    """What a link needs of its endpoint."""

    def now(self) -> float:
        """Return the loop's time."""

    def touch(self, link: "Link") -> None:
        """Flush the link once, at the end of this turn of the loop."""

    def rest(self, link: "Link") -> None:
        """Flush the link a few turns later; it is touched before if it has something to say."""

    def hear(self, link: "Link", *, patient: bool, once_said: bool) -> None:
        """Let what the peer says first come before what it is answered; see `Hearing.add`."""

    def schedule(self, link: "Link", when: float) -> None:
        """Call the link's `on_timer` then, or earlier."""

    def defer(self, link: "Link") -> bool:
        """Call a newcomer's `on_timer` in a pause of those who are there; False: no room."""

    def has_unheard(self, link: "Link") -> bool:
        """Whether something has arrived that the link was not given yet."""

    def send(self, link: "Link", data: bytes, address: Address) -> None:
        """Put a datagram on the wire, or lose it."""

    def enrol(self, connection_id: bytes, link: "Link") -> None:
        """Route packets with this ID to the link."""

    def strike(self, connection_id: bytes) -> None:
        """Route them there no longer."""

    def ended(self, link: "Link") -> None:
        """Learn that a connection is over; its last packets have left."""

    def part(self, link: "Link") -> None:
        """Have `let_go` called soon; the link's IDs stay its own until it is forgotten."""

    def forget(self, link: "Link") -> None:
        """Drop a link that is over in every respect."""

    def local_address(self, link: "Link") -> Address:
        """Return the address that the link sends from."""


class Host(Protocol):
    """The endpoint, as far as what arrives concerns it."""

    @property
    def links(self) -> Mapping[bytes, "Link"]:
        """Who is known by which connection ID; it changes as they do."""

    def welcome(self, data: bytes, address: Address) -> "Link | None":
        """Make a link for a datagram of no connection, or answer it, or drop it."""

    def is_alive(self, link: "Link") -> bool:
        """Whether a link is still to be served."""

    def on_error(self, exc: OSError, address: Address | None) -> None:
        """Learn that the system reported an error."""


class Sponsor(Protocol):
    """Whoever waits for a WebTransport session."""

    def established(self, connection: "WebTransportConnection") -> None:
        """Take a session that is ready."""

    def rejected(self, failure: "ConnectFailed") -> None:
        """Learn that the server refused."""
