"""Runs one session over one connection: the only loop between the network and the model."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from moqvox.driver.asking import Agreed
from moqvox.driver.consuming import Consuming, Remote
from moqvox.driver.errands import Errands
from moqvox.driver.estimates import LOOK_EVERY, Estimates
from moqvox.driver.publishing import Publishing
from moqvox.driver.pump import Pump
from moqvox.errors import MoqError, RemoteError, SessionClosed, SessionCode, StreamCode
from moqvox.frame import Subscription
from moqvox.model import broadcast, cache, origin
from moqvox.session import events
from moqvox.session.interface import Session, is_agreed
from moqvox.transport import interface as transport

__all__ = ["Driver"]

log = logging.getLogger("moqvox.driver")

EARLY: Final = 1e-6
"""Seconds by which a timer may be early and counts as on time."""


class Driver:
    """One live session, as its owner sees it.

    `start` must come first. Broadcasts of `attach`'s reader are served
    to the peer; the peer's broadcasts go to its writer.

    Attributes:
        connection, session: what is driven.
        goaway: set once the peer has asked us to move; `goaway_uri` says where ("" = the
            same place). Its broadcasts are then read here by other ways where there are some;
            who reads already is moved by `hand_over`.
        setup: the peer's SETUP once it came; versions without one leave it None.
        on_agreed: called when the peer subscribes with an agreed number.
    """

    def __init__(
        self,
        connection: transport.Connection,
        session: Session,
        *,
        origin_id: int = 0,
        linger: float = 2.0,
        cache_limits: cache.Limits | None = None,
        budget: cache.Budget | None = None,
    ) -> None:
        self.connection = connection
        self.session = session
        self.goaway = asyncio.Event()
        self.goaway_uri = ""
        self.setup: events.SetupReceived | None = None
        self.on_agreed: Callable[[int], None] = _pass
        self._set_up = asyncio.Event()
        self._pump = Pump(connection, session)
        stand_in = origin.make_id()
        self._errands = Errands()
        self._publishing = Publishing(self._pump, self._errands.spawn, stand_in=stand_in)
        self._consuming = Consuming(
            self._pump,
            self._errands.spawn,
            origin_id=origin_id,
            stand_in=stand_in,
            linger=linger,
            cache_limits=cache_limits or cache.Limits(),
            budget=budget,
        )
        self._handlers = self._table()
        self._alarm: asyncio.TimerHandle | None = None
        self._probes: set[int] = set()
        self._estimates = Estimates()
        self._probing = False
        self._closed: transport.Closed | None = None
        self._leaving = asyncio.Event()
        self._ended = asyncio.Event()

    # For the owner

    def start(self, tasks: asyncio.TaskGroup) -> None:
        """Open the session; everything it does runs in `tasks`, which must outlive it.

        A peer that breaks the protocol is closed with the code of its offence, and so is one
        that leads us over a limit of our own; a bug here fails `tasks`.
        """
        self._errands.start(tasks)
        log.info("session %s with %s opened", self.session.version, self.connection.remote_address)
        self.session.start(self._pump.now())
        self._pump.woken.set()
        tasks.create_task(self._run(), name="session")

    def attach(self, publish: origin.Reader | None, consume: origin.Writer | None) -> None:
        """Begin to serve `publish` to the peer and to put its broadcasts into `consume`.

        What the peer asked before waits for this call.
        """
        self.consume(consume)
        self.publish(publish)

    def consume(self, consume: origin.Writer | None) -> None:
        """Do one half of `attach`; `publish` is to follow."""
        self._consuming.attach(consume)
        self._pump.woken.set()

    def publish(self, publish: origin.Reader | None) -> None:
        """Do the other half: who has to ask first does not let its answers fill the window."""
        self._publishing.attach(publish)
        self._pump.woken.set()

    def anticipate(
        self, number: int, path: str, track: str, wishes: Subscription, *, early: bool = False
    ) -> None:
        """Serve a track before the peer has asked for it; see `Session.anticipate`.

        Raises:
            LocalError: the number is none that may be agreed on, or is in use.
        """
        self.session.anticipate(number, path, track, wishes, early=early)
        self._pump.woken.set()

    def broadcast(
        self, path: str, agreed: Mapping[str, Agreed] | None = None
    ) -> broadcast.Consumer:
        """Read a broadcast of the peer's at once, whether it was announced or not.

        Args:
            path: its name.
            agreed: tracks of it, by name, that the peer may send before it is asked.

        Raises:
            LocalError: the session is over, or too many were asked for.
        """
        return self._consuming.direct(path, agreed or {})

    @property
    def remotes(self) -> Sequence[Remote]:
        """The peer's broadcasts, those that it took back and are still read included."""
        return self._consuming.remotes

    async def wait_setup(self) -> events.SetupReceived | None:
        """Wait for the peer's SETUP; None when the session ended or its version has none."""
        if not self.session.has_setup:
            return None
        await self._set_up.wait()
        return self.setup

    async def wait_served(self) -> None:
        """Wait until the peer has acknowledged all that its subscriptions were owed.

        For a publisher that wants to leave: finish the tracks first.
        """
        await self._publishing.serving.idle.wait()
        while not self.closed:
            stats = self.connection.stats()
            if not stats.unsent_bytes and not stats.unacked_bytes:
                return
            await asyncio.sleep(max(0.01, stats.rtt / 4))

    async def wait_closed(self) -> transport.Closed:
        """Wait for the end, and tell how it came."""
        await self._ended.wait()
        return self._closed or transport.Closed(SessionCode.NO_ERROR, "")

    async def wait_leaving(self) -> bool:
        """Wait until the peer asks us to move, or the end; tells whether it is not over yet."""
        await self._leaving.wait()
        return not self.closed

    @property
    def closed(self) -> bool:
        """Whether the session is over."""
        return self._ended.is_set()

    def send_goaway(self, uri: str = "", timeout_ms: int = 0) -> None:
        """Ask the peer to move elsewhere."""
        self.session.goaway(uri, timeout_ms)
        self._pump.woken.set()

    def close(self, code: int = SessionCode.NO_ERROR, reason: str = "") -> None:
        """End the session after what is queued."""
        self.session.close(code, reason)
        self._pump.act()

    # The loop

    async def _run(self) -> None:
        closed = transport.Closed(SessionCode.NO_ERROR, "")
        sending = self._errands.spawn(self._pump.woken.take(self._take_turn), "send")
        try:
            closed = await self._receive()
        finally:
            sending.cancel()
            self._finish(closed)
        log.info(
            "session with %s ended: code %#x %s",
            self.connection.remote_address,
            closed.code,
            closed.reason or ("lost" if closed.lost else ""),
        )

    async def _receive(self) -> transport.Closed:
        last = transport.Closed(SessionCode.NO_ERROR, "")
        sound = True
        while True:
            try:
                arrived = await self.connection.events()
            except SessionClosed:
                return last
            for event in arrived:
                if isinstance(event, transport.Closed):
                    return event
                if sound:
                    sound = self._take(event)
            if sound:
                sound = self._settle()

    def _take(self, event: transport.Event) -> bool:
        try:
            writable = self._pump.receive(event)
        except MoqError as exc:
            self._refuse(exc)
            return False
        if writable is not None:
            self._publishing.group_writable(writable)
        return True

    def _settle(self) -> bool:
        """Carry out actions and events until there are none; False when the peer is at fault."""
        handlers = self._handlers
        try:
            while True:
                self._pump.act()
                happened = self.session.events()
                if not happened:
                    break
                for event in happened:
                    handlers[type(event)](event)
        except MoqError as exc:
            self._refuse(exc)
            return False
        self._set_alarm()
        return True

    def _refuse(self, exc: MoqError) -> None:
        """Close the session for what the peer did, or led us to do."""
        code, reason = int(SessionCode.INTERNAL), "internal error"
        if isinstance(exc, RemoteError):
            code, reason = exc.code, exc.reason
            log.warning("%s broke the protocol: %s", self.connection.remote_address, reason)
        else:
            log.error("session with %s failed", self.connection.remote_address, exc_info=exc)
        self._pump.act()
        self.session.close(code, reason)
        self._pump.act()

    def _take_turn(self) -> None:
        """Move on what was woken, and what is due."""
        if self.closed:
            return
        deadline = self.session.deadline()
        now = self._pump.now()
        try:
            if deadline is not None and deadline <= now + EARLY:
                self.session.handle_timeout(max(now, deadline))
            self._pump.pump_marked()
        except MoqError as exc:
            self._refuse(exc)
        self._settle()

    def _set_alarm(self) -> None:
        deadline = self.session.deadline()
        if self._alarm is not None:
            if self._alarm.when() == deadline:
                return
            self._alarm.cancel()
            self._alarm = None
        if deadline is not None:
            self._alarm = asyncio.get_running_loop().call_at(deadline, self._ring)

    def _ring(self) -> None:
        """Wake the loop; a timer may be a hair early, and is set again then."""
        self._alarm = None
        self._pump.woken.set()

    def _set_up_by(self, event: events.SetupReceived) -> None:
        self.setup = event
        self._set_up.set()

    def _move(self, event: events.GoawayReceived) -> None:
        self.goaway_uri = event.uri
        self._consuming.leave()
        self.goaway.set()
        self._leaving.set()

    def _cancelled(self, event: events.RequestCancelled) -> None:
        self._probes.discard(event.request)
        self._publishing.cancelled(event.request)

    def _subscribed(self, event: events.SubscribeRequested) -> None:
        self._note_agreed(event.request)
        self._publishing.request(event)

    def _updated(self, event: events.SubscribeUpdated) -> None:
        self._note_agreed(event.request)
        self._publishing.updated(event)

    def _note_agreed(self, request: int) -> None:
        number = self.session.number_of(request)
        if number is not None and is_agreed(number):
            self.on_agreed(number)

    def _probe_asked(self, event: events.ProbeRequested) -> None:
        self._probes.add(event.request)
        self._estimates.forget()
        if not self._probing:
            self._probing = True
            self._errands.spawn(self._probe(), "probe")

    def _offered(self, event: events.TrackOffered) -> None:
        self.session.reject(event.request, StreamCode.UNSUPPORTED, "not asked for")

    def _table(self) -> dict[type, Callable[..., None]]:
        consuming, publishing = self._consuming, self._publishing
        return {
            events.FrameReceived: consuming.frame,
            events.GroupOpened: consuming.group_opened,
            events.GroupFinished: consuming.group_over,
            events.GroupReset: consuming.group_over,
            events.DatagramReceived: consuming.answer,
            events.TrackInfoReceived: consuming.answer,
            events.Subscribed: consuming.answer,
            events.SubscriptionEnded: consuming.answer,
            events.GroupsDropped: consuming.answer,
            events.RequestFailed: consuming.answer,
            events.Announced: consuming.announced,
            events.Unannounced: consuming.unannounced,
            events.WatchReady: _ignore,
            events.WatchRequested: publishing.request,
            events.TrackInfoRequested: publishing.request,
            events.SubscribeRequested: self._subscribed,
            events.FetchRequested: publishing.request,
            events.SubscribeUpdated: self._updated,
            events.GroupStopped: publishing.group_stopped,
            events.RequestCancelled: self._cancelled,
            events.SetupReceived: self._set_up_by,
            events.GoawayReceived: self._move,
            events.ProbeRequested: self._probe_asked,
            events.ProbeReceived: _ignore,
            events.TrackOffered: self._offered,
        }

    async def _probe(self) -> None:
        """Tell the peer what we can send to it, now and then."""
        while self._probes:
            told = self._estimates.take(self.connection.stats(), self._pump.now())
            if told is not None:
                for request in self._probes:
                    self.session.send_probe(request, *told)
                self._pump.woken.set()
            await asyncio.sleep(LOOK_EVERY)
        self._probing = False

    def _finish(self, closed: transport.Closed) -> None:
        """End everything, and refer to nothing that refers back: no collector is needed then."""
        self._set_up.set()
        if self._alarm is not None:
            self._alarm.cancel()
        self.session.close(closed.code, closed.reason)
        self._pump.close()
        self._publishing.close()
        self._consuming.close(StreamCode.SESSION_CLOSED)
        self._errands.end()
        self._handlers = {}
        self._closed = closed
        self._ended.set()
        self._leaving.set()
        self.connection.close(SessionCode.NO_ERROR, "")


def _pass(number: int) -> None:
    """Take no note."""


def _ignore(event: events.ProbeReceived | events.WatchReady) -> None:
    """Pass: congestion control does without estimates, and news may come at any time."""
