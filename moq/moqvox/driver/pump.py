"""Carries bytes between a connection and a session, and wakes those with something to send."""

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import ClassVar, Final, Protocol

from moqvox.driver.turn import Turn
from moqvox.errors import LocalError, SessionClosed, SessionCode
from moqvox.session import actions
from moqvox.session.interface import Session
from moqvox.transport import interface as transport

__all__ = ["Pump", "Pumped"]

log = logging.getLogger("moqvox.driver")

LOCAL: Final = 1
REMOTE: Final = 2

RETRY: Final = 0.02
"""Seconds between two attempts to open a stream that the transport had no room for, and between
two looks whether the streams of a track that is over have arrived."""


class Pumped(Protocol):
    """Something that moves what it has from the model to the session when called."""

    def pump(self) -> None:
        """Move what can be moved now; called again after the next wake."""


class _Stream:
    """One stream's two names, and which of its sides are still open."""

    __slots__ = ("engine_id", "open_sides", "session_id")

    def __init__(self, engine_id: int, session_id: int, open_sides: int) -> None:
        self.engine_id = engine_id
        self.session_id = session_id
        self.open_sides = open_sides


class Pump:
    """The map between the session's streams and the engine's, and the list of the woken.

    A stream that the transport can't open yet, as too many wait for the peer's permission,
    is tried again until it can; what the session writes to it waits here. Who sends groups
    begins none while the pump is `congested`, so that what waits is bounded by the session's
    limit of requests.
    """

    def __init__(self, connection: transport.Connection, session: Session) -> None:
        self.connection = connection
        self.session = session
        self.woken = Turn()
        self._by_session: dict[int, _Stream] = {}
        self._by_engine: dict[int, _Stream] = {}
        self._dirty: dict[Pumped, None] = {}
        self._unopened: dict[int, list[actions.Action]] = {}
        self._held_up: dict[Pumped, None] = {}
        self._retry: asyncio.TimerHandle | None = None
        self._soon: dict[Pumped, None] = {}
        self._look: asyncio.TimerHandle | None = None

    def now(self) -> float:
        """Read the clock that everything here runs on."""
        return asyncio.get_running_loop().time()

    # Waking

    def mark(self, item: Pumped) -> None:
        """Have `item.pump()` called once in the next turn."""
        self._dirty[item] = None
        self.woken.set()

    def forget(self, item: Pumped) -> None:
        """Take back a `mark`."""
        self._dirty.pop(item, None)
        self._held_up.pop(item, None)
        self._soon.pop(item, None)

    def mark_later(self, item: Pumped) -> None:
        """Have `item.pump()` called once the pump is not `congested` any more."""
        self._held_up[item] = None

    def mark_soon(self, item: Pumped) -> None:
        """Have `item.pump()` called after a moment, as nothing rings for what it waits for."""
        self._soon[item] = None
        if self._look is None:
            self._look = asyncio.get_running_loop().call_later(RETRY, self._mark_those)

    def _mark_those(self) -> None:
        self._look = None
        soon, self._soon = self._soon, {}
        for item in soon:
            self.mark(item)

    def pump_marked(self) -> None:
        """Call everyone marked since the last turn, in the order of marking."""
        dirty, self._dirty = self._dirty, {}
        for item in dirty:
            item.pump()

    # Session to connection

    @property
    def congested(self) -> bool:
        """Whether streams wait here because the transport opens no more now."""
        return bool(self._unopened)

    def writable(self, group: int) -> bool:
        """Whether a group's stream takes more now; an ended stream takes anything."""
        if group in self._unopened:
            return False
        stream = self._by_session.get(group)
        return stream is None or self.connection.writable(stream.engine_id)

    def carrier(self, group: int) -> int | None:
        """Name the transport's stream that carries a group; None when there is none now."""
        stream = self._by_session.get(group)
        return None if stream is None else stream.engine_id

    def act(self) -> None:
        """Carry out what the session asks for."""
        if self._unopened:
            self._reopen()
        self._do(self.session.actions())

    def close(self) -> None:
        """Let go of what waits; the connection is over."""
        for timer in (self._retry, self._look):
            if timer is not None:
                timer.cancel()
        self._soon.clear()
        self._unopened.clear()
        self._held_up.clear()

    def _do(self, asked: Iterable[actions.Action]) -> None:
        for action in asked:
            try:
                self._CARRY_OUT[type(action)](self, action)
            except SessionClosed:
                return
            except LocalError as exc:
                log.warning("%s: %s", self.connection.remote_address, exc)
                self.connection.close(SessionCode.EXCESSIVE_LOAD, str(exc))
                return

    def _reopen(self) -> None:
        """Try again to open the streams that wait, in order, and do what was asked of them."""
        unopened, self._unopened = self._unopened, {}
        for asked in unopened.values():
            self._do(asked)
        if not self._unopened:
            for item in list(self._held_up):
                self.mark(item)
            self._held_up.clear()

    def _retry_soon(self) -> None:
        def retry() -> None:
            self._retry = None
            self.woken.set()

        if self._retry is None:
            self._retry = asyncio.get_running_loop().call_later(RETRY, retry)

    def _hold(self, action: actions.Write | actions.Prioritise) -> None:
        """Keep what is asked of a stream that is not open yet; drop it when it has ended."""
        waiting = self._unopened.get(action.stream)
        if waiting is not None:
            waiting.append(action)

    def _write(self, action: actions.Write) -> None:
        stream = self._by_session.get(action.stream)
        if stream is None:
            self._hold(action)
        else:
            self.connection.write(stream.engine_id, action.data, fin=action.fin)
            if action.fin:
                self._end(stream, LOCAL)

    def _open(self, action: actions.OpenStream) -> None:
        try:
            engine_id = self.connection.open_stream(
                bidirectional=action.bidirectional, priority=action.priority, early=action.early
            )
        except LocalError:
            self._unopened[action.stream] = [action]
            self._retry_soon()
            return
        self._add(engine_id, action.stream, LOCAL | REMOTE if action.bidirectional else LOCAL)

    def _reset(self, action: actions.Reset) -> None:
        self._unopened.pop(action.stream, None)
        stream = self._by_session.get(action.stream)
        if stream is not None:
            self.connection.reset(stream.engine_id, action.code)
            self._end(stream, LOCAL)

    def _stop(self, action: actions.Stop) -> None:
        stream = self._by_session.get(action.stream)
        if stream is not None:
            self.connection.stop(stream.engine_id, action.code)
            self._end(stream, REMOTE)

    def _prioritise(self, action: actions.Prioritise) -> None:
        stream = self._by_session.get(action.stream)
        if stream is None:
            self._hold(action)
        else:
            self.connection.set_priority(stream.engine_id, action.priority)

    def _datagram(self, action: actions.SendDatagram) -> None:
        self.connection.send_datagram(action.data, early=action.early)

    def _close(self, action: actions.Close) -> None:
        self.connection.close(action.code, action.reason)

    # Connection to session

    def receive(self, event: transport.Event) -> int | None:
        """Hand one transport event to the session.

        Returns:
            The session's name of a stream that became writable, else None.

        Raises:
            RemoteError: the peer broke the protocol.
        """
        take = self._TAKE.get(type(event))
        if take is not None:
            take(self, event)
        elif isinstance(event, transport.StreamWritable):
            stream = self._by_engine.get(event.stream)
            return None if stream is None else stream.session_id
        elif isinstance(event, transport.PathChanged):
            cause = event.cause or "the peer moved"
            log.info("path changed, now %s to %s: %s", event.local, event.remote, cause)
        return None

    def _data(self, event: transport.StreamData) -> None:
        stream = self._by_engine.get(event.stream)
        if stream is not None:
            if event.fin:
                self._end(stream, REMOTE)
            self.session.receive_stream(stream.session_id, event.data, fin=event.fin)

    def _opened(self, event: transport.StreamOpened) -> None:
        name = self.session.accept_stream(bidirectional=event.bidirectional)
        self._add(event.stream, name, LOCAL | REMOTE if event.bidirectional else REMOTE)

    def _was_reset(self, event: transport.StreamReset) -> None:
        stream = self._by_engine.get(event.stream)
        if stream is not None:
            self._end(stream, REMOTE)
            self.session.receive_reset(stream.session_id, event.code)

    def _was_stopped(self, event: transport.StreamStopped) -> None:
        stream = self._by_engine.get(event.stream)
        if stream is not None:
            self._end(stream, LOCAL)
            self.session.receive_stop(stream.session_id, event.code)

    def _arrived(self, event: transport.DatagramReceived) -> None:
        self.session.receive_datagram(event.data)

    def _add(self, engine_id: int, session_id: int, sides: int) -> None:
        stream = _Stream(engine_id, session_id, sides)
        self._by_engine[engine_id] = stream
        self._by_session[session_id] = stream

    def _end(self, stream: _Stream, side: int) -> None:
        stream.open_sides &= ~side
        if not stream.open_sides:
            self._by_engine.pop(stream.engine_id, None)
            self._by_session.pop(stream.session_id, None)

    # By class and not by object, as what refers to an object's methods refers back to it.
    _CARRY_OUT: ClassVar[dict[type, Callable[..., None]]] = {
        actions.Write: _write,
        actions.OpenStream: _open,
        actions.Reset: _reset,
        actions.Stop: _stop,
        actions.Prioritise: _prioritise,
        actions.SendDatagram: _datagram,
        actions.Close: _close,
    }

    _TAKE: ClassVar[dict[type, Callable[..., None]]] = {
        transport.StreamData: _data,
        transport.StreamOpened: _opened,
        transport.StreamReset: _was_reset,
        transport.StreamStopped: _was_stopped,
        transport.DatagramReceived: _arrived,
    }
