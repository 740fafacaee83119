"""Turns of a call that no agent answers: what the user is told, and when it ends."""

import asyncio

import pytest
from tests.aio import run
from tests.sim.calls import Server, world
from tests.unit.voice.calls import packets

from moqvox.errors import SessionClosed
from moqvox.voice.inbox import Inbox
from moqvox_client import source
from moqvox_client.conversation import ANSWER_DUE, Conversation
from moqvox_client.errors import Failed
from moqvox_client.trace import Trace

NOTE = "no agent has answered yet; waiting"
PATIENCE = 5.0
SPOKEN = 0.3
"""Seconds of an utterance: 15 frames."""


class Talk:
    """One utterance of a caller behind a relay, on virtual time from the call's beginning."""

    def __init__(self, *, patience: float = PATIENCE, reconnect: float = 60.0) -> None:
        self.patience = patience
        self.reconnect = reconnect
        self.notes: list[tuple[float, str]] = []
        self.turn = None
        self.failure: Failed | SessionClosed | None = None
        self.took = 0.0
        self.resumptions = 0

    def play(self, story=None) -> "Talk":
        """Talk, while `story` happens to the world, the relay and the call."""
        run(self._play(story))
        return self

    async def _play(self, story) -> None:
        loop = asyncio.get_running_loop()
        async with world() as made:
            relay = made.relay("relay")
            async with made.call("relay", patience=self.reconnect) as call:
                began = loop.time()

                def note(line: str) -> None:
                    self.notes.append((loop.time() - began, line))

                conversation = Conversation(call, Trace(None), note=note)
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(conversation.run())
                    if story is not None:
                        tasks.create_task(story(made, relay, call))
                    chunks = source.paced(source.from_packets(packets(15)))
                    try:
                        self.turn = await conversation.turn("a.ogg", chunks, patience=self.patience)
                    except (Failed, SessionClosed) as exc:
                        self.failure = exc
                    self.took = loop.time() - began
                    self.resumptions = call.resumptions
                    conversation.end()


def test_a_call_that_no_agent_answers_is_told_of_and_ends_after_its_patience():
    talk = Talk().play()
    assert isinstance(talk.failure, Failed)
    assert str(talk.failure) == (
        "no agent answered within 5 s: nobody heard a.ogg (15 frames, 0.30 s)"
    )
    assert talk.took == pytest.approx(SPOKEN + PATIENCE, abs=0.01)
    [(when, line)] = talk.notes
    assert line == NOTE
    assert when == pytest.approx(ANSWER_DUE, abs=0.2)


@pytest.mark.parametrize("patience", [0.0, 0.1])
def test_however_little_patience_there_is_an_agent_has_time_to_say_hello(patience):
    talk = Talk(patience=patience).play()
    assert "within 2 s" in str(talk.failure)
    assert talk.took == pytest.approx(SPOKEN + ANSWER_DUE, abs=0.01)


def test_an_agent_that_comes_in_time_hears_it_all():
    async def story(made, _relay, _call):
        await asyncio.sleep(4)
        made.attend("agent", "relay")

    talk = Talk().play(story)
    assert talk.failure is None
    assert talk.turn.intact
    assert talk.turn.frames == 15
    assert [line for _, line in talk.notes] == [NOTE]


def test_an_agent_that_is_there_is_not_told_of():
    async def story(made, _relay, _call):
        made.attend("agent", "relay")

    talk = Talk().play(story)
    assert talk.turn.intact
    assert not talk.notes


@pytest.mark.parametrize(
    ("away", "reset"), [(0.05, True), (2 * PATIENCE, True), (2 * PATIENCE, False)]
)
def test_while_the_connection_is_lost_it_is_what_is_waited_for(away, reset):
    """And from when it stands again, the patience with agents is counted anew."""
    back = 0.0

    async def story(_made, relay: Server, call):
        nonlocal back
        await asyncio.sleep(3)
        relay.kill(reset=reset)
        call.driver.connection.ping()  # as the engines do, to be kept alive
        await asyncio.sleep(away)
        relay.start()
        while not call.resumptions:  # noqa: ASYNC110  # as nothing rings for it
            await asyncio.sleep(0.01)
        back = asyncio.get_running_loop().time()

    talk = Talk().play(story)
    assert "nobody heard a.ogg" in str(talk.failure)
    assert talk.resumptions == 1
    assert back > 3 + away
    assert talk.took == pytest.approx(back + PATIENCE, abs=0.6)  # it looks twice a second


def test_an_agent_that_comes_with_the_next_connection_hears_it_all():
    async def story(made, relay: Server, _call):
        await asyncio.sleep(3)
        relay.kill()
        await asyncio.sleep(2 * PATIENCE)
        relay.start()
        made.attend("agent", "relay")

    talk = Talk().play(story)
    assert talk.turn.intact


def test_a_connection_that_can_not_be_had_again_ends_it_with_its_own_reason():
    async def story(_made, relay: Server, _call):
        await asyncio.sleep(1)
        relay.kill()

    talk = Talk(reconnect=3.0).play(story)
    assert isinstance(talk.failure, SessionClosed)
    assert "the call ended before the receipt came" in str(talk.failure)
    assert talk.took < 5


def test_an_agent_that_was_there_and_is_away_is_not_given_up_for_the_patience_of_a_turn():
    """`--reconnect` is for that."""

    async def story(made, _relay, call):
        agent = made.attend("agent", "relay")
        await call.wait_answered()
        assert call.outbox.kept_bytes
        agent.kill()
        await asyncio.sleep(3 * PATIENCE)
        agent.start()

    talk = Talk().play(story)
    assert talk.failure is None
    assert talk.turn.intact
    assert talk.took > 3 * PATIENCE


def test_an_agent_that_says_no_hello_is_there_all_the_same(monkeypatch):
    async def story(made, _relay, _call):
        made.attend("agent", "relay")

    monkeypatch.setattr(Inbox, "greet", lambda *_: None)
    talk = Talk().play(story)
    assert talk.failure is None
    assert talk.turn.intact
    assert not talk.notes
