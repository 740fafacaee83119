"""Two sessions wired to each other without a transport.

Each direction of each stream is a queue; what one session does is queued for the other and
delivered in an order that the caller may choose: in order within a direction, in any order
between directions, as QUIC does.
"""

from collections import deque
from collections.abc import Callable, Sequence

from moqvox.session.actions import (
    Close,
    OpenStream,
    Prioritise,
    Reset,
    SendDatagram,
    Stop,
    Write,
)
from moqvox.session.events import Event
from moqvox.session.interface import Session
from moqvox.session.lite.session import LiteSession

Delivery = Callable[[], None]


class End:
    """One of the two: a session, what it reported, what it asked of the transport."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.peer: End
        self.events: list[Event] = []
        self.priorities: dict[int, int] = {}
        self.closed: Close | None = None
        self._names: dict[int, int] = {}  # our name of a stream to the peer's
        self._bidirectional: dict[int, bool] = {}
        self.queues: dict[tuple[str, int], deque[Delivery]] = {}
        self.written_bytes = 0

    def take(self, kind: type) -> list:
        """Remove and return the events of one kind."""
        taken = [event for event in self.events if isinstance(event, kind)]
        self.events = [event for event in self.events if not isinstance(event, kind)]
        return taken

    def one(self, kind: type):
        """Remove and return the only event of one kind."""
        (event,) = self.take(kind)
        return event

    def collect(self) -> None:
        """Take what the session reports, and queue what it does for the peer."""
        self.events += self.session.events()
        for action in self.session.actions():
            self._queue(action)

    def _queue(self, action) -> None:
        match action:
            case OpenStream(stream, bidirectional, priority):
                self._bidirectional[stream] = bidirectional
                self.priorities[stream] = priority
            case Prioritise(stream, priority):
                self.priorities[stream] = priority
            case Write(stream, data, fin):
                self.written_bytes += len(data)
                self._later("data", stream, lambda: self._data(stream, data, fin=fin))
            case Reset(stream, code):
                self._later("data", stream, lambda: self._reset(stream, code))
            case Stop(stream, code):
                self._later("stop", stream, lambda: self._stop(stream, code))
            case SendDatagram(data):
                self._later("datagram", 0, lambda: self.peer.session.receive_datagram(data))
            case Close():
                self.closed = action

    def _later(self, kind: str, stream: int, delivery: Delivery) -> None:
        self.queues.setdefault((kind, stream), deque()).append(delivery)

    def _name(self, stream: int) -> int:
        """Return the peer's name of a stream, letting it accept the stream first if need be."""
        if stream not in self._names:
            bidirectional = self._bidirectional[stream]
            name = self.peer.session.accept_stream(bidirectional=bidirectional)
            self._names[stream] = name
            self.peer._names[name] = stream
        return self._names[stream]

    def _data(self, stream: int, data: bytes, *, fin: bool) -> None:
        self.peer.session.receive_stream(self._name(stream), data, fin=fin)

    def _reset(self, stream: int, code: int) -> None:
        self.peer.session.receive_reset(self._name(stream), code)

    def _stop(self, stream: int, code: int) -> None:
        self.peer.session.receive_stop(self._name(stream), code)


class Pair:
    """A client and a server, started."""

    def __init__(
        self,
        version: str = "moq-lite-06",
        *,
        webtransport: bool = False,
        client: Session | None = None,
        server: Session | None = None,
        start: bool = True,
    ) -> None:
        self.client = End(
            client or LiteSession(version, is_client=True, webtransport=webtransport, origin=0xC11E)
        )
        self.server = End(
            server or LiteSession(version, is_client=False, webtransport=webtransport, origin=0x5E4)
        )
        self.client.peer, self.server.peer = self.server, self.client
        if start:
            self.client.session.start(0.0)
            self.server.session.start(0.0)
            self.settle()

    @property
    def ends(self) -> tuple[End, End]:
        return self.client, self.server

    def pending(self) -> Sequence[deque[Delivery]]:
        """What waits for delivery, a queue for each direction of each stream."""
        return [queue for end in self.ends for queue in end.queues.values() if queue]

    def deliver(self, queue: deque[Delivery]) -> None:
        """Deliver the oldest of a queue."""
        queue.popleft()()
        self.collect()

    def collect(self) -> None:
        for end in self.ends:
            end.collect()

    def settle(self, choose: Callable[[int], int] = lambda count: 0) -> None:
        """Deliver until nothing waits; `choose` picks among that many queues."""
        self.collect()
        while queues := self.pending():
            self.deliver(queues[choose(len(queues))])
