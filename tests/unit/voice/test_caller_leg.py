"""What a caller does first on another connection."""

import asyncio

import pytest
from tests.aio import run

from moqvox.errors import Refused, StreamCode
from moqvox.model.origin import Origin
from moqvox.voice.caller_leg import CallerLeg
from moqvox.voice.keep import KEEP
from moqvox.voice.party import Party
from moqvox.voice.words import Hello


class Line:
    """A driver that notes what is asked and offered, in order."""

    def __init__(self, *, refuses: bool) -> None:
        self.done: list[str] = []
        self.published = asyncio.Event()
        self._refuses = refuses

    def consume(self, _remote):
        self.done.append("consume")

    def publish(self, _view):
        self.done.append("publish")
        self.published.set()

    def broadcast(self, _path):
        return self

    async def subscribe(self, name, _wishes):
        self.done.append(f"ask {name}")
        if self._refuses:
            raise Refused(StreamCode.NOT_FOUND, "none here")
        await asyncio.Event().wait()


def steps(number: int, *, refuses: bool = False) -> list[str]:
    """Begin a leg; tells what happened until it was offered to the other side."""

    async def main():
        hello = Hello(call="c", leg=number)
        party = Party(hello, KEEP, on_begin=lambda _: None, on_hello=lambda _: None)
        line = Line(refuses=refuses)
        leg = CallerLeg("c", number, party.outbox.leg, party.inbox, lambda _: None, None)
        leg.attach(line, Origin(), Origin())
        async with asyncio.TaskGroup() as tasks:
            hearing = tasks.create_task(leg.hear())
            await line.published.wait()
            hearing.cancel()
        return line.done

    return run(main())


def test_first_leg_is_offered_at_once():
    assert steps(0) == ["consume", "publish"]


@pytest.mark.parametrize("refuses", [False, True])
def test_later_leg_asks_before_what_is_said_again_can_fill_the_window(refuses):
    assert steps(1, refuses=refuses) == ["consume", "ask events", "ask audio", "publish"]
