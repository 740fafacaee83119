"""Subscriptions served before the peer has asked for them, as it was agreed that it will.

draft-lcurley-moq-lite, section "Subscribe": the number that a group's header carries is the
subscriber's to choose. Those from `AGREED` on stand for the same track in every session of an
application, so a publisher may use one before SUBSCRIBE has come. A peer without the agreement
stops the group, and hears it when it asks.
"""

from typing import Final

from moqvox import path as paths
from moqvox.errors import LocalError, StreamCode
from moqvox.frame import Subscription
from moqvox.session.events import RequestCancelled, SubscribeRequested
from moqvox.session.interface import is_agreed
from moqvox.session.lite.alarm import Alarm
from moqvox.session.lite.groups import Sending
from moqvox.session.lite.served_subscription import ServedSubscription
from moqvox.wire.framing import Framer
from moqvox.wire.lite.messages import SubscribeReply

__all__ = ["Anticipations"]

MAX_ANTICIPATED: Final = 4
"""In the whole of a session."""

MAX_REPLIES: Final = 64
"""Replies that wait for the request that they answer."""

WAIT_SECONDS: Final = 30.0
"""How long SUBSCRIBE may take; then what was sent is given up. As long as a silent connection
lasts: a peer that has the groups in hand must not see them reset because its SUBSCRIBE is late."""


class Anticipations:
    """The subscriptions that one session expects; each is adopted, refused, or expires."""

    def __init__(self, sending: Sending) -> None:
        self.waiting = Alarm(WAIT_SECONDS)
        self._sending = sending
        self._expected: dict[int, _Anticipated] = {}
        self._adopted: dict[int, int] = {}
        self._begun = 0

    def begin(
        self, number: int, broadcast: str, track: str, wishes: Subscription, *, early: bool
    ) -> int:
        """Report a subscription as if the peer had asked for it.

        Raises:
            LocalError: the number stands for nothing agreed, was used, or there are too many.
        """
        if not is_agreed(number) or number in self._expected:
            raise LocalError(f"subscription {number} can't be anticipated")
        if self._begun >= MAX_ANTICIPATED:
            raise LocalError(f"more than {MAX_ANTICIPATED} subscriptions anticipated")
        self._begun += 1
        streams = self._sending.streams
        expected = _Anticipated(self._sending, streams.mint(), self)
        expected.early = early
        expected.expect(number, paths.normalise(broadcast), track, wishes)
        self._expected[number] = expected
        self.waiting.start(expected.name)
        streams.add(expected)
        return expected.name

    def is_expected(self, request: int) -> bool:
        """Whether a request is still the peer's to make."""
        return any(expected.name == request for expected in self._expected.values())

    def resolve(self, request: int) -> int:
        """Name the stream on which a request came that was anticipated under another name."""
        return self._adopted.get(request, request)

    def adopt(self, asked: ServedSubscription, broadcast: str, track: str) -> bool:
        """Let a request that came go on with what was sent; False when nothing was sent for it.

        What was sent for it under another number, or under its number for another track, is
        given up.
        """
        adopted = False
        for expected in list(self._expected.values()):
            is_named = expected.names == (broadcast, track)
            if expected.number == asked.number and is_named:
                self.forget(expected)
                expected.hand_over(asked)
                self._adopted[expected.name] = asked.name
                adopted = True
            elif expected.number == asked.number or is_named:
                expected.give_up(StreamCode.CANCELLED)
        return adopted

    def expire(self, now: float) -> None:
        """Give up what was not asked for in time."""
        for name in self.waiting.expire(now):
            expected = self._sending.streams.get(name)
            if isinstance(expected, _Anticipated):
                expected.give_up(StreamCode.CANCELLED)

    def forget(self, expected: "_Anticipated") -> None:
        """Expect a subscription no longer."""
        self.waiting.stop(expected.name)
        self._expected.pop(expected.number, None)
        self._sending.streams.drop(expected.name)

    def clear(self) -> None:
        """Forget everything."""
        self.waiting.clear()
        self._expected.clear()
        self._adopted.clear()


class _Anticipated(ServedSubscription):
    """A subscription without a stream of its own: its groups leave, its replies wait."""

    __slots__ = ("_anticipations", "_replies", "names")

    def __init__(self, sending: Sending, name: int, anticipations: Anticipations) -> None:
        framer = Framer(sending.streams.limits.max_message_bytes)
        super().__init__(sending, name, framer, set(), anticipations)
        self._anticipations = anticipations
        self._replies: list[SubscribeReply] = []
        self.names = ("", "")

    def expect(self, number: int, broadcast: str, track: str, wishes: Subscription) -> None:
        """Tell the application of it."""
        self.asked = True
        self.number = number
        self.names = (broadcast, track)
        self.wishes = self._complete(wishes)
        request = SubscribeRequested(self.name, broadcast, track, self.wishes)
        self.streams.events.append(request)

    def hand_over(self, asked: ServedSubscription) -> None:
        """Let the peer's request go on from here."""
        asked.go_on(self)
        for reply in self._replies:
            asked._reply(reply)  # noqa: SLF001  # of the same family

    def give_up(self, code: int) -> None:
        """Take back what was sent: who asks for it later is served from the beginning."""
        self.reject(code)
        self.streams.events.append(RequestCancelled(self.name, code))

    def reject(self, code: int) -> None:
        """End its groups; nobody has asked, so nobody is told."""
        self._anticipations.forget(self)
        self._ended = False
        for group in list(self._open.values()):
            self._sending.reset(group, code)

    def stopped(self, code: int) -> bool:
        """Give everything up: the peer does not know what the group was for."""
        self.give_up(code)
        return True

    def drop(self, group_start: int, group_end: int, code: int) -> None:
        """Tell that groups will not come; of too many, nothing at all was worth sending."""
        if len(self._replies) >= MAX_REPLIES:
            self.give_up(StreamCode.TOO_FAR_BEHIND)
        else:
            super().drop(group_start, group_end, code)

    def _reply(self, reply: SubscribeReply) -> None:
        self._replies.append(reply)

    def _conclude(self) -> None:
        """Wait: the stream that would end is not there yet."""
