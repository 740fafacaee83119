"""Calls through storms: networks fail and processes are killed in mid-word, drawn from a seed."""

import asyncio
import functools
import random
from dataclasses import dataclass, field

import msgspec
from tests.sim.calls import Server, World, world
from tests.unit.voice.calls import packets

from moqvox.errors import SessionClosed
from moqvox.media.opus import packet_duration_us
from moqvox.transport.memory import LinkSettings
from moqvox.voice import Response, Session, Utterance
from moqvox.voice.call import Call
from moqvox.voice.playback import Playback
from moqvox.voice.speech import Speech

__all__ = ["Tale", "storm"]

SAMPLES = 960
PATIENCE = 400.0
"""Virtual seconds after which a storm has hung."""

QUIET = bytes(2 * SAMPLES)


@functools.cache
def sound(number: int) -> bytes:
    """Make a packet like no other; nobody listens to it."""
    first = packets(1)[0]
    return first[:1] + number.to_bytes(4, "big") + first[5:40]


class Deaf(Playback):
    """Plays without decoding: which packet sounds when is what counts."""

    def _decoder(self):
        def decode(packet: bytes) -> bytes:
            return QUIET if packet_duration_us(packet) == 20_000 else b""

        return decode


@dataclass
class Heard:
    """One utterance as one process of the agent heard it."""

    process: int
    number: int
    began: float
    packets: list[bytes] = field(default_factory=list)
    is_whole: bool = False


@dataclass
class Answer:
    """One response, as its author and its listener know it."""

    process: int
    number: int
    sent: list[bytes]
    played_ms: float | None = None
    is_cut: bool = False
    is_told: bool = False
    to: int = -1
    left: list[bytes] = field(default_factory=list)


@dataclass
class Tale:
    """What came of a storm."""

    said: dict[int, list[bytes]] = field(default_factory=dict)
    receipted_at: dict[int, float] = field(default_factory=dict)
    intact: dict[int, bool] = field(default_factory=dict)
    heard: list[Heard] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    got: dict[int, list[bytes]] = field(default_factory=dict)
    heard_ms: dict[int, float] = field(default_factory=dict)
    notes: dict[int, list[int]] = field(default_factory=dict)
    sent_notes: int = 0
    sessions: int = 0
    resumptions: int = 0
    killed: int = 0
    left_bytes: int = 0
    left_events: int = 0
    most_bytes: int = 0
    is_journalled: bool = False
    carried: int = 0
    short: int = 0
    unanswered: set[int] = field(default_factory=set)

    def check(self) -> None:
        """See that nothing was lost, nothing came twice or in another order."""
        for number in self.said:
            assert self.intact[number], f"utterance {number} did not arrive whole"
        self._check_heard()
        self._check_answers()
        self._check_notes()
        assert self.left_bytes == 0, "frames are kept that nobody needs"
        assert self.left_events == 0, "events are kept that were noted"
        assert self.most_bytes < 2_000_000

    def _check_heard(self) -> None:
        whole = {heard.number for heard in self.heard if heard.is_whole}
        assert whole == set(self.said), "an agent's application did not hear everything"
        for heard in self.heard:
            said = self.said[heard.number]
            assert heard.packets == said[: len(heard.packets)]
            if heard.is_whole:
                assert heard.packets == said
            receipted = self.receipted_at[heard.number]
            assert heard.began <= receipted, "heard anew although it was receipted"
        for process in range(self.killed + 1):
            order = [heard.number for heard in self.heard if heard.process == process]
            assert len(order) == len(set(order)), "heard twice"

    def _check_answers(self) -> None:
        if self.is_journalled:
            answered = self.unanswered | {answer.to for answer in self.answers}
            assert answered >= set(self.said), "an utterance has no answer, and nobody knows"
            numbers = [answer.number for answer in self.answers]
            assert len(numbers) == len(set(numbers)), "a number was used again"
        for answer in self.answers:
            if answer.process != self.killed and not self.is_journalled:
                continue
            got = self.got.get(answer.number, [])
            assert got == answer.sent[: len(got)]
            assert answer.played_ms is not None, f"response {answer.number} was not told of"
            if answer.is_told:
                assert answer.played_ms == self.heard_ms.get(answer.number, 0.0), "not exact"
            if not answer.is_cut:
                assert got == answer.sent, f"response {answer.number} did not come whole"
                assert self.heard_ms[answer.number] == 20 * len(answer.sent)

    def _check_notes(self) -> None:
        if self.is_journalled:
            notes = [note for process in sorted(self.notes) for note in self.notes[process]]
            assert notes == list(range(self.sent_notes)), "messages lost, or read twice"
            return
        for process, notes in self.notes.items():
            assert notes == sorted(set(notes)), "a message came twice or in another order"
            if not self.killed:
                assert notes == list(range(self.sent_notes)), f"messages lost by {process}"


class Agent:
    """Answers each utterance when it is over; a response is never cut but by a kill."""

    def __init__(self, tale: Tale, dice: random.Random) -> None:
        self._tale = tale
        self._dice = dice
        self._made = 0
        self._pace = 0.002

    async def __call__(self, session: Session) -> None:
        process = self._tale.killed
        self._tale.sessions += 1
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._note(session, process))
            self._tale.unanswered.update(session.unanswered)
            for response in session.carried:
                tasks.create_task(self._go_on(session, response, process))
            async for utterance in session.utterances():
                tasks.create_task(self._listen(session, utterance, process, tasks))

    async def _note(self, session: Session, process: int) -> None:
        notes = self._tale.notes.setdefault(process, [])
        async for message in session.messages():
            if session.closed:
                return  # the process is dead
            notes.append(int(bytes(message.data)))

    async def _listen(
        self, session: Session, utterance: Utterance, process: int, tasks: asyncio.TaskGroup
    ) -> None:
        now = asyncio.get_running_loop().time()
        heard = Heard(process, utterance.number, now)
        self._tale.heard.append(heard)
        async for packet in utterance.opus():
            heard.packets.append(packet.opus)
        heard.is_whole = utterance.is_whole
        if heard.is_whole and not session.closed:
            tasks.create_task(self._answer(session, process, utterance.number))

    async def _go_on(self, session: Session, response: Response, process: int) -> None:
        """Wait until what another process said is played; of what that left out, say the rest."""
        self._tale.carried += 1
        answer = next(each for each in self._tale.answers if each.number == response.number)
        rest = answer.left if response.is_short else []
        if rest:
            self._tale.short += 1
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._wait_played(response, answer))
            if rest:
                tasks.create_task(self._say(session, process, rest, answer.to))

    async def _answer(self, session: Session, process: int, to: int) -> None:
        if self._tale.is_journalled:
            self._pace = self._dice.choice((0.002, 0.03))
        text = [sound(1_000_000 + self._made + n) for n in range(self._dice.randint(5, 60))]
        self._made += 100
        await self._say(session, process, text, to)

    async def _say(self, session: Session, process: int, text: list[bytes], to: int) -> None:
        response = session.respond()
        answer = Answer(process, response.number, [], to=to, left=list(text))
        self._tale.answers.append(answer)
        for packet in text:
            if not await response.write_packet(packet):
                break
            answer.sent.append(answer.left.pop(0))
            await asyncio.sleep(self._pace)
        await self._wait_played(response, answer)

    async def _wait_played(self, response: Response, answer: Answer) -> None:
        played = await response.played()
        if not response.speech.lost:
            answer.played_ms, answer.is_cut = played.ms, played.interrupted
            answer.is_told = played.reported


async def rage(dice: random.Random, made: World, trouble: list[str], until: asyncio.Event) -> None:
    """Do to links and connections whatever happens to them, and leave them sound."""
    while not until.is_set():
        await asyncio.sleep(dice.uniform(0.05, 1.2))
        links = [d.connection for d in made.drivers if not d.closed and d.connection.is_client]
        if not links or until.is_set():
            continue
        connection = dice.choice(links)
        match dice.choice(trouble):
            case "outage":
                connection.link.outage(dice.choice((0.05, 0.3, 1.0, 2.5)))
            case "path":
                connection.link.change_path(LinkSettings(delay_ms=dice.uniform(1, 120)))
            case "rebind":
                connection.link.rebind()
            case "loss":
                connection.link.change(
                    LinkSettings(
                        loss=dice.choice((0, 1, 5, 10, 30)),
                        delay_ms=dice.uniform(0, 120),
                        jitter_ms=dice.uniform(0, 60),
                        reorder=dice.choice((0, 1, 10)),
                        duplicate=dice.choice((0, 1, 10)),
                    )
                )
            case "vanish":
                connection.vanish("the network went away", reset=dice.random() < 0.5)
    for route in made.network.routes:
        route.end_outage()
        route.change(LinkSettings(delay_ms=20))


async def speak(
    dice: random.Random, call: Call, tale: Tale, tasks: asyncio.TaskGroup
) -> list[asyncio.Task[None]]:
    """Say some things at the pace of speech, and send a message now and then."""
    receipts = []
    for number in range(dice.randint(2, 4)):
        speech = call.speak()
        receipts.append(tasks.create_task(_wait_receipt(speech, tale)))
        said = tale.said[speech.number] = []
        for index in range(dice.randint(1, 50)):
            packet = sound(1000 * number + index)
            said.append(packet)
            speech.write_packet(packet)
            tale.most_bytes = max(tale.most_bytes, call.outbox.kept_bytes)
            if index % 16 == 3:
                call.send("note", tale.sent_notes)
                tale.sent_notes += 1
            await asyncio.sleep(0.02)
        speech.finish()
        await asyncio.sleep(dice.uniform(0, 1.5))
    return receipts


async def _wait_receipt(speech: Speech, tale: Tale) -> None:
    """Wait for what the agent says of an utterance."""
    try:
        receipt = await speech.receipt()
    except SessionClosed:
        tale.intact[speech.number] = False
        return
    tale.intact[speech.number] = speech.intact(receipt)
    tale.receipted_at[speech.number] = asyncio.get_running_loop().time()


class Weather(msgspec.Struct, frozen=True):
    """What a storm is like."""

    way: str
    trouble: tuple[str, ...]
    kills: int

    @staticmethod
    def drawn(dice: random.Random) -> "Weather":
        """Draw one."""
        return Weather(
            way=dice.choice(("direct", "direct", "relay", "two relays", "edge")),
            trouble=tuple(dice.sample(("outage", "path", "rebind", "loss", "vanish"), 3)),
            kills=dice.choice((0, 0, 1, 2)),
        )


async def kill(dice: random.Random, made: World, weather: Weather, tale: Tale) -> None:
    """Kill processes in mid-word; others take their place at once."""
    for _ in range(weather.kills):
        await asyncio.sleep(dice.uniform(0.1, 3))
        agents = [each for each in made.processes if each.is_agent]
        process = dice.choice(agents if tale.is_journalled else made.processes)
        if process.is_agent:
            tale.killed += 1
            process.restart()
        elif isinstance(process, Server):
            process.restart(reset=dice.random() < 0.7)


def build(made: World, weather: Weather) -> list[str]:
    """Put up what is between caller and agent; returns where to call."""
    match weather.way:
        case "direct":
            made.server("agent")
            return ["agent"]
        case "relay":
            made.relay("relay")
            made.attend("agent", "relay")
            return ["relay"]
        case "two relays":
            made.relay("one")
            made.relay("two")
            made.uplink("one", "two")
            made.attend("agent", "two")
            return ["one", "two"]
        case _:
            made.relay("origin")
            made.relay("edge")
            made.uplink("edge", "origin")
            made.attend("agent", "origin")
            return ["edge"]


async def storm(seed: int, version: str, journal: str = "") -> Tale:
    """Let a caller and an agent talk through a storm; with a journal, the agent is killed in it."""
    dice = random.Random(seed)
    weather = Weather.drawn(dice)
    tale = Tale(is_journalled=bool(journal))
    if journal:
        weather = msgspec.structs.replace(weather, kills=dice.choice((1, 2, 3)))
    async with world(version, seed=seed, patience=PATIENCE, journal=journal) as made:
        made.agent = Agent(tale, random.Random(f"agent {seed}"))
        urls = build(made, weather)
        async with made.call(*urls) as call:
            playback = Deaf(call)
            calm = asyncio.Event()
            async with asyncio.TaskGroup() as tasks:
                playing = tasks.create_task(playback.run())
                tasks.create_task(rage(dice, made, list(weather.trouble), calm))
                killing = tasks.create_task(kill(dice, made, weather, tale))
                receipts = await speak(dice, call, tale, tasks)
                await killing
                calm.set()
                await asyncio.wait(receipts)
                await _hear_out(call, playback, tale)
                playing.cancel()
            tale.resumptions = call.resumptions
            tale.left_bytes = call.outbox.kept_bytes
            tale.left_events = len(call.outbox.unnoted)
    return tale


async def _hear_out(call: Call, playback: Playback, tale: Tale) -> None:
    """Wait until the last answers were heard, and told."""
    loop = asyncio.get_running_loop()
    until = loop.time() + 60
    while loop.time() < until:
        await asyncio.sleep(0.25)
        waited = [a for a in tale.answers if tale.is_journalled or a.process == tale.killed]
        told = all(answer.played_ms is not None for answer in waited)
        if told and len(waited) and not len(call.outbox.unnoted):
            break
    for number, account in playback.accounts.items():
        tale.got[number] = [packet.opus for packet in account.response.packets]
        tale.heard_ms[number] = account.totals.heard_us / 1000
