"""How a link ends: asked for, by the peer, by a fault; what is said last, and who is told."""

import logging
from abc import abstractmethod
from collections.abc import Callable

from aioquic.quic.packet import QuicErrorCode, QuicFrameType

from moqvox.transport.address import Address
from moqvox.transport.aioquic.closing import HASTY_LINGER, Closing
from moqvox.transport.aioquic.ending import Ending
from moqvox.transport.aioquic.last_words import LastWords
from moqvox.transport.aioquic.limits import Limits
from moqvox.transport.aioquic.link_streams import LinkStreams
from moqvox.transport.aioquic.neighbours import Observer
from moqvox.transport.aioquic.private import Engine
from moqvox.transport.aioquic.roaming import Roaming
from moqvox.transport.interface import Closed, Stats

__all__ = ["LinkEnd"]

logger = logging.getLogger("moqvox.transport.aioquic")


class LinkEnd(LinkStreams):
    """From `close`, or what the peer does, until the carrier may forget the link.

    Attributes:
        observer: is told of the end, once; None before it is there, and once let go.
        roaming: of a link that was dialled; ends with it.
    """

    def __init__(self, engine: Engine, limits: Limits) -> None:
        super().__init__(engine, limits)
        self.observer: Observer | None = None
        self.roaming: Roaming | None = None
        self._closing: Closing | None = None
        self._over: Closed | None = None
        self._last_words = LastWords()
        self._is_broken = self._is_gone = False
        self._leaves_at: float | None = None
        self._last_stats: Stats | None = None

    @abstractmethod
    def stats(self) -> Stats:
        """Take the counters, as they were at the end when that is past."""

    @abstractmethod
    def now(self) -> float:
        """Return the loop's time."""

    @abstractmethod
    def wake(self, when: float) -> None:
        """Have the timers looked at then, or earlier."""

    @abstractmethod
    def _ended(self) -> None:
        """Let the carrier know that the connection is over."""

    @abstractmethod
    def _part(self) -> None:
        """Have the carrier call `let_go` soon."""

    @abstractmethod
    def _be_forgotten(self) -> None:
        """Have the carrier drop the link: it is over in every respect."""

    @abstractmethod
    def _repeat_close(self, words: list[tuple[bytes, Address]]) -> None:
        """Put datagrams on the wire that the engine knows nothing more of."""

    @abstractmethod
    def _send(self, now: float) -> None:
        """Send what the engine has to say."""

    @abstractmethod
    def _next_timer(self) -> float:
        """Tell when something is due next."""

    @property
    def is_closing(self) -> bool:
        """Whether `close` was called, or the connection is over."""
        return self._closing is not None or self._over is not None

    def close(
        self,
        ending: Ending,
        *,
        linger: float | None = None,
        report: Closed | None = None,
        farewell: Callable[[], None] | None = None,
        answered: Callable[[], bool] | None = None,
    ) -> None:
        """Close once what is queued has arrived, or the time for that is over. Idempotent.

        Args:
            ending: what the peer is told in CONNECTION_CLOSE.
            linger: seconds that this may take; None: as the limits say.
            report: what the observer is told; None: the same as the peer.
            farewell: called before CONNECTION_CLOSE; may write once more.
            answered: whether the peer has answered that, for which a moment is left.
        """
        if self._closing is not None or self._over is not None:
            return
        if linger is None:
            linger = self.limits.linger if ending.code == 0 else HASTY_LINGER
        until = self.now() + linger
        self._closing = Closing(ending, until, report=report, farewell=farewell, answered=answered)
        self.touch()

    def refuse(self, ending: Ending) -> None:
        """Close before anything else is sent: in its handshake, a client is told nothing but no."""
        self.close(ending, linger=0.0)
        self.engine.close(ending.code, QuicFrameType.PADDING, ending.reason)

    def abort(self, closed: Closed) -> None:
        """End without a word: the endpoint is gone, or nobody answered."""
        self._is_gone = True
        self._finish(closed)
        self._be_forgotten()

    def vanish(self) -> None:
        """Keep nothing once the last packet has left, not even to answer late ones."""
        self._is_gone = True

    @property
    def _is_dumb(self) -> bool:
        """Whether the peer has closed, so that nothing may be said any more, and was told."""
        return self.engine.drains_until is not None and self.roaming is None and not self._is_gone

    def _leave(self) -> None:
        """Stay only to be known by late packets, which get no answer (RFC 9000, 10.2.2)."""
        if self._leaves_at is None:
            self._leaves_at = self.engine.drains_until
            self.wake(self._next_timer())
            self._part()

    def let_go(self) -> None:
        """Refer to nothing that refers back, so that no collector is needed. Idempotent.

        To be called when nothing of this link's is being carried out. What a client's
        application holds is one connection, which is left as it is.
        """
        if self.roaming is None and self._last_stats is None:
            self._last_stats = self.stats()
            self.observer = self._closing = None
            self.engine.dismantle()

    def _settle(self, now: float) -> None:
        """Send our CONNECTION_CLOSE when the time has come."""
        closing = self._closing
        if closing is None or self.engine.is_closing or self._over is not None:
            return
        queue = self._queue
        has_arrived = not (queue.waiting_bytes or queue.is_ready) and self.engine.is_settled
        if closing.waits(now, has_arrived=has_arrived):
            return
        if not closing.say_farewell(now):
            ending = closing.ending
            frame_type = QuicFrameType.PADDING if ending.is_transport else None
            self.engine.close(ending.code, frame_type, ending.reason)
        self._send(now)

    def _conclude(self) -> None:
        """Tell the observer as soon as the end is certain, not when its timers are over."""
        ending = self.engine.ending()
        if ending is None or self._over is not None or not self.engine.is_closing:
            return
        if self._closing is not None:
            self._finish(self._closing.report())
        else:
            self._finish(ending.closed())

    def _finish(self, closed: Closed) -> None:
        if self._over is None:
            self._over = closed
            if self.roaming is not None:
                self.roaming.close()
            if self.observer is not None:
                self.observer.on_over(closed)
            self._ended()

    def _break(self, exc: Exception) -> None:
        """Close a connection whose engine failed; drop it when it can't even do that."""
        logger.warning("closing a connection that the engine can't go on with: %r", exc)
        if self._is_broken:
            self.abort(Closed(0, "the engine failed", lost=True))
            return
        self._is_broken = True
        self.engine.close(QuicErrorCode.INTERNAL_ERROR, QuicFrameType.PADDING, "internal error")
        self.touch()

    def _say_last(self, words: list[tuple[bytes, Address]], now: float) -> None:
        """Note our CONNECTION_CLOSE; who dialled says it twice, as its socket is closed at once."""
        self._last_words.said(words, now + self.engine.recovery.get_probe_timeout())
        if self.roaming is not None:
            self._repeat_close(words)
