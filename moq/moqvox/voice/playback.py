"""Plays responses in real time by their timestamps, and reports what was really heard."""

import asyncio
import functools
from collections.abc import Callable
from typing import Final

from moqvox.media.codec import Decoder
from moqvox.media.decision import Decision, Ended, Ending, Outcome, Play, Policy, Totals
from moqvox.media.opus import SAMPLE_RATE
from moqvox.media.player import Decode, Player
from moqvox.voice.call import Call
from moqvox.voice.utterance import Packet, Utterance

__all__ = ["Account", "Playback"]

TICK: Final = 0.02
REPORT_EVERY: Final = 0.1
"""Seconds between two reports of one response that plays."""

MAX_BEHIND: Final = 0.5
"""A clock that was stopped this long (a suspended machine) is not caught up with."""

EARLY: Final = 1e-6
"""Seconds by which a timer may be early and counts as on time."""

KEPT: Final = 64
"""Accounts kept."""


class Account:
    """What was heard of one response.

    Attributes:
        first_sound: seconds on the loop's clock when its first sample sounded.
        totals: exact counts so far, final once `how` is set.
        how: how it ended, None while it goes on.
    """

    def __init__(self, response: Utterance) -> None:
        self.response = response
        self.first_sound: float | None = None
        self.totals = Totals()
        self.how: Ending | None = None
        self.over = asyncio.Event()
        self.reported = 0.0


class Playback:
    """The listener's end of a call: takes its responses, renders them at the pace of a clock.

    `sink` gets s16le PCM of `sample_rate` in pieces of 20 ms, silence included, and must
    not block. `on_packet` is told of each packet as it arrives; `on_frame` of each frame as
    its first sample is rendered: response number, timestamp in us, seconds on the loop's clock.

    Attributes:
        accounts: by response number; the last `KEPT`.
    """

    def __init__(
        self,
        call: Call,
        sink: Callable[[bytes], None] | None = None,
        *,
        sample_rate: int = SAMPLE_RATE,
        policy: Policy | None = None,
        on_packet: Callable[[Utterance, Packet], None] | None = None,
        on_frame: Callable[[int, int, float], None] | None = None,
    ) -> None:
        self.accounts: dict[int, Account] = {}
        self.player = Player(sample_rate, self._decoder, policy=policy)
        self._call = call
        self._sink = sink
        self._sample_rate = sample_rate
        self._on_packet = on_packet
        self._on_frame = on_frame
        self._changed = asyncio.Event()
        self._ticked = asyncio.Event()

    async def run(self) -> None:
        """Play until the call is over and everything was heard."""
        async with asyncio.TaskGroup() as tasks:
            rendering = tasks.create_task(self._render(), name="render")
            await self._feed()
            rendering.cancel()

    def interrupt(self) -> list[Account]:
        """Fall silent at once, tell the agent, and return what was heard of each response."""
        cut = []
        for ended in self.player.flush():
            account = self._settle(ended)
            if account is not None:
                cut.append(account)
        return cut

    def account(self, number: int) -> Account | None:
        """Look a response up."""
        return self.accounts.get(number)

    async def wait_account(self, number: int) -> Account:
        """Wait until a response has begun to arrive."""
        while number not in self.accounts:
            await self._changed.wait()
        return self.accounts[number]

    async def _feed(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            async for response in self._call.responses():
                account = self.accounts[response.number] = Account(response)
                self._forget()
                self._wake()
                tasks.create_task(self._play(account), name=f"response-{response.number}")

    def _forget(self) -> None:
        """Let go of the oldest accounts that are closed."""
        over = (number for number, account in sorted(self.accounts.items()) if account.how)
        for number in list(over)[: max(0, len(self.accounts) - KEPT)]:
            del self.accounts[number]

    async def _play(self, account: Account) -> None:
        """Feed one response, and cut it when the agent takes it back, until it is over."""
        async with asyncio.TaskGroup() as tasks:
            feeding = tasks.create_task(self._feed_one(account), name="packets")
            cutting = tasks.create_task(self._cut_when_taken_back(account), name="cut")
            await account.over.wait()
            feeding.cancel()
            cutting.cancel()

    async def _feed_one(self, account: Account) -> None:
        """Hand packets to the player as it has room, or account for what it won't play."""
        response = account.response
        number = response.number
        if not await self._accepted(functools.partial(self.player.open, number)):
            self._settle(Ended(item=number, how=Ending.RESET, totals=Totals()))
            return
        async for packet in response.opus():
            if self._on_packet is not None:
                self._on_packet(response, packet)
            await self._accepted(functools.partial(self._offer, number, packet))
        if not response.cancelled:
            await self._accepted(functools.partial(self.player.end, number))

    async def _accepted(self, offer: Callable[[], Outcome]) -> bool:
        """Offer something until the player has room for it; False when it is stale."""
        while (outcome := offer()) is Outcome.FULL:
            self._ticked.clear()
            await self._ticked.wait()
        return outcome is not Outcome.STALE

    def _offer(self, number: int, packet: Packet) -> Outcome:
        pushed = self.player.push_packet(number, packet.timestamp_us, packet.opus, self._now_us())
        return pushed.outcome

    async def _cut_when_taken_back(self, account: Account) -> None:
        await account.response.taken_back.wait()
        ended = self.player.reset(account.response.number)
        if ended is not None:
            self._settle(ended)

    async def _render(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        samples = round(self._sample_rate * TICK)
        while True:
            now = loop.time()
            if now - due > MAX_BEHIND:
                due = now
            while due <= now + EARLY:
                pcm = self.player.render(samples, int(1e6 * due))
                self._note(self.player.decisions, due)
                if self._sink is not None:
                    self._sink(pcm)
                due += TICK
            self._ticked.set()
            await asyncio.sleep(max(0.0, due - loop.time()))

    def _note(self, decisions: list[Decision], now: float) -> None:
        for ended in self.player.take_ended():
            self._settle(ended)
        if self._on_frame is not None:
            for each in decisions:
                if isinstance(each, Play) and not each.offset:
                    self._on_frame(each.item, each.timestamp_us, now)
        for item in {getattr(each, "item", None) for each in decisions}:
            account = None if item is None else self.accounts.get(item)
            totals = None if item is None else self.player.heard(item)
            if account is None or totals is None or not totals.heard_samples:
                continue
            account.totals = totals
            if account.first_sound is None:
                account.first_sound = now
            if now - account.reported >= REPORT_EVERY:
                account.reported = now
                self._report(account, "playing")

    def _settle(self, ended: Ended) -> Account | None:
        account = self.accounts.get(ended.item)
        if account is None or account.how is not None:
            return None
        account.totals, account.how = ended.totals, ended.how
        account.over.set()
        self._report(account, "ended" if ended.how is Ending.PLAYED else "interrupted")
        self._wake()
        return account

    def _report(self, account: Account, state: str) -> None:
        stats = self.player.stats(self._now_us())
        self._call.report(
            account.response.number,
            account.totals.heard_us,
            state,
            silence_us=account.totals.silence_samples * 1_000_000 // self._sample_rate,
            underruns=account.totals.underruns,
            lead_us=stats.lead_us if stats.item == account.response.number else 0,
        )

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _decoder(self) -> Decode:
        return Decoder(self._sample_rate, 1).decode

    @staticmethod
    def _now_us() -> int:
        return int(1e6 * asyncio.get_running_loop().time())
