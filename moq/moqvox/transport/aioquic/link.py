"""One QUIC connection on an endpoint: packets in, packets out, timers.

What is done with its streams is in `link_streams.py`, how it ends in `link_end.py`. A link knows
streams and codes as QUIC numbers them. What they mean is the business of its observer:
`raw.RawConnection` or `webtransport.WebTransportConnection`.
"""

from collections.abc import Callable
from typing import Final

from aioquic.quic.events import ConnectionIdIssued, ConnectionIdRetired

from moqvox.transport.address import Address
from moqvox.transport.aioquic.counters import Counters
from moqvox.transport.aioquic.keep_alive import KeepAlive
from moqvox.transport.aioquic.limits import Limits
from moqvox.transport.aioquic.link_end import LinkEnd
from moqvox.transport.aioquic.neighbours import Carrier
from moqvox.transport.aioquic.pauses import Rhythm
from moqvox.transport.aioquic.private import Engine
from moqvox.transport.aioquic.private.aside import hears, is_aside, is_unheard, put_aside, record_of
from moqvox.transport.interface import Closed, Stats

__all__ = ["Link"]

MAX_ROUNDS: Final = 8
"""Bursts of one connection in one turn of the loop; then the others have their turn."""


class Link(LinkEnd):
    """One QUIC connection; the endpoint calls it from the loop, never two calls at once."""

    def __init__(self, engine: Engine, limits: Limits, carrier: Carrier) -> None:
        super().__init__(engine, limits)
        self._carrier = carrier
        self.is_newcomer = False
        self.on_taken_up: Callable[[], None] | None = None
        self.makes_way = False
        self.rhythm: Rhythm | None = None
        self.scheduled_at: float | None = None
        self.put_off_since: float | None = None
        self.connection_ids: dict[bytes, None] = {}
        self.asked: tuple[bytes, str, int] | None = None
        self._address: Address | None = None
        self._cause = ""
        self._awake_since = carrier.now()
        self._keep_alive = KeepAlive(limits.keep_alive, carrier.now())
        self._is_eager = True
        self._counters = Counters()

    # The wire.

    def receive(self, data: bytes, address: Address, now: float) -> bool:
        """Take a datagram; returns whether it may have said more than that ours arrived."""
        self._counters.received_bytes += len(data)
        self._counters.received_packets += 1
        if self.is_aside and not self._take_up(data, now):
            return False
        if self.engine.is_closing:
            self._repeat_close(self._last_words.answer())
            return False
        if self._is_broken:
            return False  # it can still say so, which leaves at the end of this turn
        self._keep_alive.heard_at = now
        if self.roaming is not None:
            self.roaming.on_heard(address)
        try:
            self.engine.receive_datagram(data, address, now)
        except Exception as exc:  # noqa: BLE001  # whatever a peer's bytes do ends here
            self._break(exc)
        if self.roaming is not None and self.engine.answered:
            self.roaming.on_answers(now)
        if self.engine.is_quiet and self._closing is None and not self._queue.is_ready:
            if self.engine.owes_ack:
                # A ping, or bytes that are no news: no answer will come to take the ACK along.
                self.engine.hasten_ack(now)
                self.touch()
            return False
        if self.engine.is_stillborn:
            self.abort(Closed(0, "not a handshake", lost=True))
        else:
            self._react()
        return True

    def spoke_since(self, when: float) -> bool:
        """Whether anything came of the peer since then."""
        return self._keep_alive.heard_at >= when

    def on_reset(self, now: float) -> None:
        """Take the peer's stateless reset: it does not know the connection any more."""
        if not self.engine.is_closing:
            self.engine.on_reset(now)
            self._react()

    def on_timer(self, now: float) -> None:
        """Do what is due; most timers find that theirs has moved on meanwhile."""
        if self._leaves_at is not None and now >= self._leaves_at:
            self._carrier.forget(self)
            return
        if self.is_newcomer and self._may_stay_aside(now):
            return
        engine = self.engine
        when = self._next_timer()
        if when > now:
            self._carrier.schedule(self, when)
            return
        due = engine.get_timer()
        self._repeat_close(self._last_words.take_due(now))
        try:
            if due is not None and now >= due:
                self._is_eager = True
                engine.handle_timer(now)
        except Exception as exc:  # noqa: BLE001  # an engine's bug must not stop the loop
            self._break(exc)
        if now >= self._keep_alive.look_at and self._over is None:
            self._is_eager |= self._keep_alive.check(engine, now)
        if self.roaming is not None and self._over is None:
            self.roaming.check(now)
        if self._is_eager or self.is_closing:
            self._is_eager = True
            self._react()
        else:
            self._carrier.schedule(self, self._next_timer())

    def flush(self, now: float) -> None:
        """Send what may be sent, and arrange the next timer."""
        if self._leaves_at is not None or (self.is_aside and not self.is_closing):
            return
        engine = self.engine
        if engine.unblocked:
            self._queue.unpark(engine.take_unblocked())
        if self._is_eager or self._queue.is_ready or engine.has_cause_to_send:
            self._send(now)
            self._pump()
        if self._closing is not None or not engine.is_usual:
            self._settle(now)
            self._conclude()
        if self._is_gone or engine.is_terminated:
            self._carrier.forget(self)
        elif self.scheduled_at is None or not engine.is_calm_until(self.scheduled_at, now):
            self._carrier.schedule(self, self._next_timer())

    @property
    def _may_rest(self) -> bool:
        """Whether what arrived calls for no packet now, but perhaps for an answer soon."""
        engine = self.engine
        return not (
            self._is_eager
            or self._closing is not None
            or self._queue.is_ready
            or engine.unblocked
            or engine.has_cause_to_send
            or not engine.is_usual
        )

    def touch(self) -> None:
        """Send at the end of this turn: there is something new to say."""
        self._is_eager = True
        self._carrier.touch(self)

    def _send(self, now: float) -> None:
        self._is_eager = False
        engine = self.engine
        engine.hears_late = self._carrier.has_unheard(self)
        for _ in range(MAX_ROUNDS):
            if self._queue.is_ready:
                self._feed()
            if self.table.busy:
                engine.hasten_ack(now)
            try:
                datagrams = engine.datagrams_to_send(now)
            except Exception as exc:  # noqa: BLE001  # an engine's bug must not stop the loop
                self._break(exc)
                datagrams = []
            for data, address in datagrams:
                self._counters.sent_bytes += len(data)
                self._carrier.send(self, data, address)
            if self.roaming is not None and engine.recovery.bytes_in_flight:
                self.roaming.on_asked(now)
            if engine.is_closing and datagrams:
                self._say_last(datagrams, now)
            if not datagrams or not self._queue.is_ready:
                break
        else:
            self.touch()
        if self._queue.is_choked:
            self._relieve()

    def _feed(self) -> None:
        for chunk in self._queue.take(self.engine.room(), self.table.allowance):
            self.table.feed(chunk.stream, chunk.data, fin=chunk.fin)

    def _relieve(self) -> None:
        relieved = self._queue.relieved()
        if relieved and self.observer is not None:
            self.observer.on_writable(relieved)

    def _react(self) -> None:
        """Tell the observer, and see at the end of the turn what that calls for."""
        self._is_eager |= self.is_newcomer  # its answer leaves before it can be put aside
        self._pump()
        self._follow_path()
        self._conclude()
        if self._over is not None and self._is_dumb:
            self._leave()
        elif self._may_rest:
            self._carrier.rest(self)
        else:
            self._carrier.touch(self)

    def _pump(self) -> None:
        engine = self.engine
        while engine.has_events:
            event = engine.next_event()
            if isinstance(event, ConnectionIdIssued):
                self._carrier.enrol(event.connection_id, self)
            elif isinstance(event, ConnectionIdRetired):
                self._carrier.strike(event.connection_id)
            elif event is not None and self.observer is not None and self._over is None:
                self.observer.on_engine_event(event)
        if self.table.discarded:
            discarded = self.table.take_discarded()
            if self.observer is not None:
                self.observer.on_discarded(discarded)

    def _follow_path(self) -> None:
        address, is_validated = self.engine.peer
        if address is None:
            return
        self._is_eager |= self.engine.follow_path(self._carrier.now())
        if address == self._address or not is_validated:
            return
        before, self._address = self._address, address
        if self.roaming is not None:
            self.roaming.on_server(address)
        if before is not None:
            self._counters.path_changes += 1
            if self.observer is not None:
                self.observer.on_path(address, self._cause)
            self._cause = ""

    def moved(self, address: Address, rtt: float | None, cause: str) -> None:
        """Go on by another way; see `Engine.move`."""
        self.engine.move(self._carrier.now(), address, rtt)
        self._cause = cause
        self._follow_path()
        self.touch()

    def hear(self, *, patient: bool = False, once_said: bool = False) -> None:
        """Let the peer's first words through before what it is answered; see `Hearing.add`."""
        self._carrier.hear(self, patient=patient, once_said=once_said)

    def wake(self, when: float) -> None:
        """Call `on_timer` then, or earlier."""
        self._carrier.schedule(self, when)

    def now(self) -> float:
        """Return the loop's time."""
        return self._carrier.now()

    def _ended(self) -> None:
        self._carrier.ended(self)

    def _part(self) -> None:
        self._carrier.part(self)

    def _be_forgotten(self) -> None:
        self._carrier.forget(self)

    def _repeat_close(self, words: list[tuple[bytes, Address]]) -> None:
        for data, address in words:
            self._carrier.send(self, data, address)

    def _next_timer(self) -> float:
        if self._leaves_at is not None:
            return self._leaves_at
        due, look_at = self.engine.get_timer(), self._keep_alive.look_at
        if self._over is not None:
            return min(due if due is not None else look_at, self._last_words.due_at)
        when = look_at if due is None or look_at < due else due
        if self.roaming is not None:
            when = min(when, self.roaming.due_at)
        return min(when, self._closing.until) if self._closing is not None else when

    # Aside.

    @property
    def is_aside(self) -> bool:
        """Whether its client has said nothing for long, and only a record of it is left."""
        return self.is_newcomer and is_aside(self.engine)

    def _may_stay_aside(self, now: float) -> bool:
        """Put a newcomer aside of which nothing was heard for long; whether it is, and stays."""
        if not is_aside(self.engine):
            is_late = now >= self._awake_since + self.limits.aside_after
            if not ((is_late or self._may_make_way()) and self._put_aside()):
                return False
        until = record_of(self.engine).until
        if now >= until:
            return False
        self._carrier.schedule(self, until)
        return True

    def make_way(self) -> bool:
        """Be put aside in the next pause, as others have come; false: it has to speak before.

        Also true of one that was heard, which is not put aside any more.
        """
        if self.is_aside or self.is_closing:
            return True
        if self._is_eager:
            return False
        self.makes_way = True
        if not self._carrier.defer(self):
            self.step_aside()
        return True

    def _may_make_way(self) -> bool:
        """Whether it is to make way now; who speaks again instead counts as the latest."""
        if self.makes_way and self._is_eager:
            self.makes_way = False
            if self.on_taken_up is not None:
                self.on_taken_up()
        return self.makes_way

    def step_aside(self) -> None:
        """Be put aside now, if it still makes way."""
        if self._may_make_way():
            self._put_aside()

    def _put_aside(self) -> bool:
        self.makes_way = False
        if self.is_closing or not is_unheard(self.engine):
            return False
        try:
            put_aside(self.engine)
        except Exception as exc:  # noqa: BLE001  # what can't be written must not stop the loop
            self._break(exc)
            return False
        return True

    def _take_up(self, data: bytes, now: float) -> bool:
        """Go on with a connection that was put aside, if that is its client; whether it is."""
        if not hears(self.engine, data):
            return False
        self._awake_since = now
        self._is_eager = True
        if self.on_taken_up is not None:
            self.on_taken_up()
        return True

    @property
    def peer(self) -> Address | None:
        """The peer's address now; None before the first packet."""
        if self.is_aside:
            return record_of(self.engine).peer
        return self.engine.peer[0]

    @property
    def local(self) -> Address:
        """Our address."""
        return self._carrier.local_address(self)

    def stats(self) -> Stats:
        """Take the counters, as they were at the end when that is past."""
        if self._last_stats is not None:
            return self._last_stats
        if self.is_aside:
            return self._counters.stats_aside(record_of(self.engine), self._queue.waiting_bytes)
        probes = self.roaming.probes if self.roaming is not None else 0
        return self._counters.stats(self.engine, self._queue.waiting_bytes, probes)
