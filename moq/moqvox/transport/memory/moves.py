"""Changes of address, the client's, as both ends of a connection in memory learn of them."""

from moqvox.transport.inbox import Inbox
from moqvox.transport.memory.courier import Courier
from moqvox.transport.memory.link import Link
from moqvox.transport.memory.packet import Moved, MovedSeen

__all__ = ["Moves"]


class Moves:
    """One end's view.

    Attributes:
        remote: the peer's address now.
        count: changes that were reported.
    """

    def __init__(self, link: Link, courier: Courier, inbox: Inbox, remote: str) -> None:
        self.remote = remote
        self.count = 0
        self._link = link
        self._courier = courier
        self._inbox = inbox
        self._serial = 0
        self._is_noticed = False

    def move(self, address: str, *, noticed: bool) -> None:
        """Speak from another address from now on; report it only when it is `noticed`."""
        self._serial += 1
        self._is_noticed = noticed
        if noticed:
            self._courier.new_path()
        self._courier.say(Moved(self._serial, address))

    def on_moved(self, frame: Moved) -> None:
        """Follow the peer; an older move says nothing any more."""
        if frame.serial > self._serial:
            self._serial = frame.serial
            self.remote = frame.address
            self.count += 1
            self._inbox.path_changed(self._link.server_address, frame.address)
            self._courier.new_path()
            self._courier.say(MovedSeen(frame.serial))

    def on_seen(self, frame: MovedSeen) -> None:
        """Report our own move, once the peer has followed."""
        if frame.serial == self._serial and self._is_noticed:
            self.count += 1
            self._inbox.path_changed(self._link.client_address, self.remote)
