"""Be the caller: speak utterances, hear responses."""

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import msgspec

from moqvox.connect import connect
from moqvox.driver import Driver
from moqvox.driver.scope import scope
from moqvox.errors import LocalError, Refused, SessionClosed
from moqvox.model import broadcast, origin
from moqvox.transport.credentials import Verify
from moqvox.transport.interface import Closed
from moqvox.voice.inbox import Inbox, Remark
from moqvox.voice.lobby import AGENT, CALLER
from moqvox.voice.mailbox import Mailbox
from moqvox.voice.outbox import BITRATE, Outbox
from moqvox.voice.speech import Speech
from moqvox.voice.utterance import Utterance
from moqvox.voice.words import (
    Ack,
    Caption,
    Heard,
    Interrupt,
    Message,
    PlayState,
)
from moqvox.wire.version import LITE_ALPNS as ALPNS

__all__ = ["Call", "call"]

log = logging.getLogger("moqvox.voice")

MAX_MESSAGES: Final = 256
LAST_WORDS: Final = 1.0
"""Seconds a leaving caller gives its last events to arrive."""


class CallerView:
    """A caller's origin, in which its broadcast also answers to plain `caller`."""

    def __init__(self, inner: origin.Origin, own: broadcast.Producer) -> None:
        self._inner = inner
        self._own = own

    def get(self, path: str) -> broadcast.Consumer | None:
        """Find a broadcast."""
        return self._own.consume() if path == CALLER else self._inner.get(path)

    async def wait(self, path: str) -> broadcast.Consumer:
        """Wait for a broadcast."""
        return self._own.consume() if path == CALLER else await self._inner.wait(path)

    def watch(self, prefix: str = "", *, exclude_hop: int = 0) -> origin.Watch:
        """Watch what is announced; the short name is not."""
        return self._inner.watch(prefix, exclude_hop=exclude_hop)


class Call:
    """One call, caller's side. What is spoken before the connection stands is kept.

    Attributes:
        id: the call's name, random; both sides' broadcasts are below it.
        marks: seconds since the call was begun at which things first happened:
            `connected`, `agent` (its broadcast was announced), `response` (its first frame).
        ended: why the call is over, None as long as it is not.
    """

    def __init__(self) -> None:
        self.id = secrets.token_hex(8)
        self.outbox = Outbox()
        self.inbox = Inbox(self._take, self._acknowledge, self._begin)
        self.local = origin.Origin()
        self.remote = origin.Origin()
        self.marks: dict[str, float] = {}
        self.driver: Driver | None = None
        self._t0 = asyncio.get_running_loop().time()
        self._connected = asyncio.Event()
        self.ended: SessionClosed | None = None
        self._over = asyncio.Event()
        self._messages: Mailbox[Message | Caption] = Mailbox(MAX_MESSAGES)
        self.local.publish(f"{self.id}/{CALLER}", self.outbox.broadcast.consume())

    @property
    def view(self) -> CallerView:
        """What the other side may read of us."""
        return CallerView(self.local, self.outbox.broadcast)

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
        async for message in self._messages:
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
        self.outbox.send(Message(name, msgspec.Raw(msgspec.json.encode(data))))

    async def hold(self, driver: Driver) -> None:
        """Be connected to the agent until the connection, attached to both origins, is over."""
        self.driver = driver
        self.mark("connected")
        self._connected.set()
        async with asyncio.TaskGroup() as tasks:
            listening = tasks.create_task(self._listen(driver), name="agent")
            closed = await driver.wait_closed()
            self.over(SessionClosed(closed.code, _reason(closed), remote=closed.remote))
            listening.cancel()

    async def _listen(self, driver: Driver) -> None:
        source = await self.remote.wait(f"{self.id}/{AGENT}")
        self.mark("agent")
        try:
            await self.inbox.read(source)
        except Refused as exc:
            log.warning("the agent has no audio: %s", exc)
        if not driver.closed:
            self.over(SessionClosed(reason="the agent hung up", remote=True))

    def over(self, why: SessionClosed) -> None:
        """Expect nothing more of the agent; who waits for it is told why.

        What is still played goes on being reported.
        """
        if self.ended is None:
            self.ended = why
        self.inbox.close()
        self.outbox.lose(self.ended)
        self._messages.close()
        self._connected.set()
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

    def _begin(self, _response: Utterance, _last: bool) -> None:
        self.mark("response")

    def _acknowledge(self, response: Utterance, last: bool) -> None:
        if last:
            self.outbox.send(response.receipt())
        else:
            self.outbox.send(Ack(response.number, response.tally.frames))

    def _take(self, event: Remark) -> None:
        if not isinstance(event, Message | Caption):
            self.outbox.tell(event)
            return
        if not self._messages.push(event) and self.ended is None:
            log.warning("a message of the agent's was dropped unread")


@asynccontextmanager
async def call(
    url: str,
    *,
    verify: Verify | None = None,
    token: str = "",
    versions: Sequence[str] = ALPNS,
    timeout: float = 10.0,
    websocket: bool = True,
) -> AsyncIterator[Call]:
    """Call an agent, directly or through a relay; hang up when the block is left.

    The block begins at once: what is spoken while the connection is still being made is
    kept and sent first.

    Args:
        url: the agent's or the relay's.
        verify: whom to trust; None trusts the system's roots.
        token: added to the URL as `?jwt=`.
        versions: ALPN names offered, most wanted first.
        timeout: seconds for the handshake.
        websocket: for `https://`, go over TCP where UDP is blocked.

    Raises:
        MoqError: the server can't be reached. One that ends the call later ends the iterations
            and fails what waits with `SessionClosed`; `Call.ended` has the reason.
    """
    made = Call()
    async with scope() as tasks:
        line = tasks.create_task(
            _hold(
                made,
                url,
                verify=verify,
                token=token,
                versions=versions,
                timeout=timeout,
                websocket=websocket,
            ),
            name="call",
        )
        try:
            yield made
        finally:
            made.outbox.finish()
            await _last_words(made)
            line.cancel()
            made.close()


async def _hold(
    made: Call,
    url: str,
    *,
    verify: Verify | None,
    token: str,
    versions: Sequence[str],
    timeout: float,
    websocket: bool,
) -> None:
    async with connect(
        url,
        publish=made.view,
        consume=made.remote,
        verify=verify,
        token=token,
        versions=versions,
        origin_id=made.local.id,
        timeout=timeout,
        websocket=websocket,
    ) as driver:
        await made.hold(driver)


def _reason(closed: Closed) -> str:
    if closed.reason:
        return closed.reason
    return "the connection was lost" if closed.lost else f"closed with code {closed.code:#x}"


async def _last_words(made: Call) -> None:
    """Let the last receipts and reports leave before the connection closes."""
    if made.driver is None:
        return
    try:
        async with asyncio.timeout(LAST_WORDS):
            await made.driver.wait_served()
    except TimeoutError:
        log.debug("hung up before the other side had everything")
