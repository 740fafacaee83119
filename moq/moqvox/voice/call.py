"""Be the caller: speak utterances, hear responses."""

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator
from typing import Final

from moqvox.driver import Driver
from moqvox.errors import LocalError, SessionClosed
from moqvox.model import origin
from moqvox.transport.interface import Closed
from moqvox.voice.caller_leg import CallerLeg
from moqvox.voice.keep import KEEP, Keep
from moqvox.voice.leg import BITRATE
from moqvox.voice.party import Party
from moqvox.voice.proof import take_chain
from moqvox.voice.redial import Redial, describe
from moqvox.voice.speech import Speech
from moqvox.voice.utterance import Utterance
from moqvox.voice.words import Caption, Heard, Hello, Interrupt, Message, PlayState

__all__ = ["PATIENCE", "Call"]

log = logging.getLogger("moqvox.voice")

AGAIN: Final = 0.5
"""Seconds between two legs to an agent that does not answer."""

STALL: Final = 5.0
MAX_STALL: Final = 60.0
"""Seconds without a word of the agent that is due, after which the next leg begins; doubled up
to the maximum as long as none comes."""

LOOK_EVERY: Final = 0.5

MAX_RESUMED: Final = 64

PATIENCE: Final = 60.0
"""Seconds that a caller tries to get back to its agent."""


class Call:
    """One call, caller's side. What is spoken before the connection stands is kept.

    It outlives its connections: `responses`, `messages` and receipts go on over the next one,
    with nothing lost and nothing twice. `connected`, `resumptions` and `redial` tell of it.

    Attributes:
        id: the call's name, random; both sides' broadcasts are below it.
        marks: seconds since the call was begun at which things first happened:
            `connected`, `agent` (its broadcast was announced), `response` (its first frame).
        resumed_at: seconds since the call was begun at which the agent was there again, for
            each resumption, the last 64.
        ended: why the call is over, None as long as it is not.
        redial: what keeps the connection, with its counters; None without one.
    """

    def __init__(
        self,
        *,
        keep: Keep = KEEP,
        patience: float = PATIENCE,
        origin_id: int | None = None,
        begun_at: float | None = None,
    ) -> None:
        """Begin a call.

        Args:
            keep: what is kept for another connection.
            patience: seconds to try to get back to the agent.
            origin_id: the caller's, if it was given away already.
            begun_at: by the loop's clock, if that was before now.
        """
        self.id = secrets.token_hex(8)
        self.origin_id = origin.make_id() if origin_id is None else origin_id
        self.patience = patience
        self._chain = take_chain()
        self.party = Party(
            Hello(call=self.id, token=self._chain.token(0), shows=True),
            keep,
            on_begin=self._begin,
            on_hello=self._greet,
        )
        self.outbox, self.inbox = self.party.outbox, self.party.inbox
        self.outbox.leg.broadcast.be_unanswered()
        self.marks: dict[str, float] = {}
        self.resumed_at: list[float] = []
        self.driver: Driver | None = None
        self._former: Driver | None = None
        self.redial: Redial | None = None
        self.ended: SessionClosed | None = None
        self._t0 = asyncio.get_running_loop().time() if begun_at is None else begun_at
        self._legs = 0
        self._begun: CallerLeg | None = None
        self._stall = STALL
        self._session = self._again = ""
        self._connected = asyncio.Event()
        self._over = asyncio.Event()
        self._answered = asyncio.Event()
        self._away: asyncio.TimerHandle | None = None

    @property
    def resumptions(self) -> int:
        """Times the call went on over a new leg: another connection, or an agent that was away."""
        return self.party.resumptions

    @property
    def path_changes(self) -> int:
        """Changes of network path that the present connection has survived."""
        return 0 if self.driver is None else self.driver.connection.stats().path_changes

    async def connected(self) -> Driver:
        """Wait until the connection stands.

        Raises:
            SessionClosed: the call is over before that.
        """
        await self._connected.wait()
        if self.driver is None:
            raise self.ended or SessionClosed(reason="the call is over")
        return self.driver

    def speak(
        self, *, sample_rate: int = 48_000, channels: int = 1, bitrate: int = BITRATE
    ) -> Speech:
        """Begin an utterance: write PCM to it as it is captured, then finish it.

        Args:
            sample_rate: of the PCM; any rate.
            channels: 1 or 2.
            bitrate: Opus bits per second.

        Raises:
            LocalError: the call is over.
        """
        if self.ended is not None:
            raise LocalError(f"the call is over: {self.ended}")
        return self.outbox.speech(sample_rate, channels, bitrate)

    async def responses(self) -> AsyncIterator[Utterance]:
        """Take each response as it begins; ends with the call."""
        async for response in self.inbox.arrived:
            yield response

    async def messages(self) -> AsyncIterator[Message | Caption]:
        """Take the agent's messages and captions, in order; ends with the call."""
        async for message in self.party.messages():
            yield message

    def report(
        self,
        response: int,
        heard_us: int,
        state: PlayState,
        *,
        silence_us: int = 0,
        underruns: int = 0,
        lead_us: int = 0,
    ) -> None:
        """Tell the agent how much of a response was really heard; see `Playback`."""
        self.outbox.send(Heard(response, heard_us, state, silence_us, underruns, lead_us))

    def interrupt(self, response: int) -> None:
        """Ask the agent to send no more of a response."""
        self.outbox.send(Interrupt(response))

    def send(self, name: str, data: object = None) -> None:
        """Send the agent a message of the application's own (JSON), reliably, in order."""
        self.party.send(name, data)

    @property
    def is_heard(self) -> bool:
        """Whether anything was ever heard of an agent, on whatever connection."""
        return bool(self.inbox.events or self.inbox.next_number)

    @property
    def may_resume(self) -> bool:
        """Whether the agent would know us on another connection."""
        is_open = self.inbox.greeted or not self.is_heard
        return self.ended is None and is_open and bool(self._chain.token(self._legs))

    async def wait_answered(self) -> None:
        """Wait until the agent has said `hello` on the present leg."""
        await self._answered.wait()

    def begin(self, driver: Driver) -> None:
        """Say on the first connection what is known by now; `hold` follows."""
        if self.ended is None and not self._legs:
            self._begun = self._attach(driver)

    def _attach(self, driver: Driver) -> CallerLeg:
        local, remote = origin.Origin(id=self.origin_id), origin.Origin()
        before = self.driver
        leg = self._next_leg(beside=before is not None and not before.closed)
        self._former, self.driver = before, driver
        leg.attach(driver, local, remote)
        self.mark("connected")
        self._connected.set()
        return leg

    async def hold(self, driver: Driver) -> None:
        """Be connected to the agent until the connection is over.

        Args:
            driver: started, with nothing attached to it. On a later one the call goes on
                where it stopped.
        """
        if self.ended is not None:
            return
        begun, self._begun = self._begun, None
        leg = begun if begun is not None and begun.driver is driver else self._attach(driver)
        async with asyncio.TaskGroup() as tasks:
            following = tasks.create_task(self._follow(leg), name="agent")
            await driver.wait_closed()
            following.cancel()
        if driver is self._former:
            self.outbox.stay()

    async def _follow(self, leg: CallerLeg) -> None:
        """Hear the agent over one leg after the other of a connection."""
        while True:
            heard = await self._hear(leg)
            if isinstance(heard, str):
                self._again = heard
            if heard is True or self.inbox.left or not (self.inbox.greeted or self.may_resume):
                self.over(SessionClosed(reason="the agent hung up", remote=True))
            if self.ended is not None or self.driver is not leg.driver or leg.driver.closed:
                return
            if not self._answered.is_set() and not isinstance(heard, str):
                await asyncio.sleep(AGAIN)
            if not self.may_resume:
                self.over(SessionClosed(reason="the agent is gone", remote=True))
                return
            before, leg = leg, self._next_leg()
            leg.succeed(before)

    async def _hear(self, leg: CallerLeg) -> bool | str:
        """Hear the agent until the leg is over, or leads nowhere any more."""
        async with asyncio.TaskGroup() as tasks:
            hearing = tasks.create_task(leg.hear(), name="hear")
            stalling = tasks.create_task(self._wait_stalled(), name="stalled")
            await asyncio.wait([hearing, stalling], return_when=asyncio.FIRST_COMPLETED)
            hearing.cancel()
            stalling.cancel()
        return "" if hearing.cancelled() else hearing.result()

    async def _wait_stalled(self) -> None:
        """Wait until nothing has come of the agent for a while that is due.

        The connection may be sound: what is dead is then on the way behind it.
        """
        loop = asyncio.get_running_loop()
        seen, since = self.inbox.events, loop.time()
        while True:
            await asyncio.sleep(LOOK_EVERY)
            is_due = self.inbox.greeted and self.outbox.is_waiting
            if seen != self.inbox.events or not is_due:
                seen, since = self.inbox.events, loop.time()
            elif loop.time() - since >= self._stall:
                self._stall = min(2 * self._stall, MAX_STALL)
                log.info("call %s: nothing is heard of the agent", self.id)
                return

    def _next_leg(self, *, beside: bool = False) -> CallerLeg:
        """Begin the next leg; with `beside`, the one before goes on until the agent is here."""
        number, self._legs = self._legs, self._legs + 1
        before = self.outbox.leg if number and not beside else None
        if number:
            self.party.resumptions += 1
            self._answered.clear()
            self._expect_back()
            self.outbox.begin_leg(
                Hello(
                    call=self.id,
                    leg=number,
                    token=self._chain.token(number),
                    session=self._session,
                    again=self._again,
                    have=self.inbox.have(),
                    next=self.inbox.next_number,
                    noted=self.inbox.taken,
                ),
                recall=True,
                notes=self.inbox.greeted or not self.inbox.events,
                beside=beside,
            )
        return CallerLeg(self.id, number, self.outbox.leg, self.inbox, self.mark, before)

    def _expect_back(self) -> None:
        if self._away is None:
            loop = asyncio.get_running_loop()
            why = SessionClosed(reason=f"the agent was not back within {self.patience:g} s")
            self._away = loop.call_later(self.patience, self.over, why)

    def lost(self, closed: Closed) -> None:
        """Note that there is no connection any more, and will be none."""
        self.over(SessionClosed(closed.code, describe(closed), remote=closed.remote))

    def over(self, why: SessionClosed) -> None:
        """Expect nothing more of the agent; who waits for it is told why.

        What is still played goes on being reported.
        """
        if self.ended is None:
            self.ended = why
        if self._away is not None:
            self._away.cancel()
        self.inbox.close()
        self.outbox.lose(self.ended)
        self.party.close_messages()
        self._connected.set()
        self._answered.set()
        self._over.set()

    async def wait_over(self) -> SessionClosed | None:
        """Wait until nothing more of the agent will come; why, as `ended` tells it."""
        await self._over.wait()
        return self.ended

    def close(self) -> None:
        """Let go of everything: we hung up."""
        self.over(SessionClosed(reason="hung up"))
        self.outbox.close()

    def mark(self, name: str) -> None:
        """Note that something happened for the first time."""
        self.marks.setdefault(name, asyncio.get_running_loop().time() - self._t0)

    def _begin(self, _response: Utterance) -> None:
        self.mark("response")

    def _greet(self, hello: Hello) -> None:
        self._answered.set()
        self.outbox.stay()
        self.outbox.leg.broadcast.be_answered()
        self._stall = STALL
        if self._away is not None:
            self._away.cancel()
            self._away = None
        if hello.session != self._session:
            if self._session:
                self.inbox.begin_anew()
            self._session = hello.session
        self.outbox.unnoted.note(hello.noted)
        if self._legs > 1:
            self.resumed_at.append(asyncio.get_running_loop().time() - self._t0)
            del self.resumed_at[:-MAX_RESUMED]
