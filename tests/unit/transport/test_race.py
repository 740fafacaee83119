"""Several ways to one end: who wins, what is told when none does, and what is left open."""

import asyncio

import pytest
from tests import aio

from moqvox.errors import LocalError, MoqError
from moqvox.transport.failures import (
    CertificateRefused,
    ConnectFailed,
    HostUnknown,
    NoAnswer,
    NoCommonProtocol,
    PortRefused,
    RequestRefused,
    Unreachable,
    vagueness,
)
from moqvox.transport.race import race


class Attempt:
    """Something that succeeds or fails after a while."""

    def __init__(self, name: str, after: float, failure: MoqError | None = None) -> None:
        self.name = name
        self.after = after
        self.failure = failure
        self.began: float | None = None
        self.is_cancelled = False

    async def __call__(self) -> str:
        self.began = asyncio.get_running_loop().time()
        try:
            await asyncio.sleep(self.after)
        except asyncio.CancelledError:
            self.is_cancelled = True
            raise
        if self.failure is not None:
            raise self.failure
        return self.name


def run_race(*attempts: Attempt) -> str:
    discarded: list[str] = []
    return aio.run(race(attempts, delay=1.0, discard=discarded.append))


def test_the_first_success_wins_and_the_others_are_cancelled():
    slow, quick = Attempt("slow", 5.0), Attempt("quick", 0.5)
    assert run_race(slow, quick) == "quick"
    assert (slow.began, quick.began) == (0.0, 1.0)
    assert slow.is_cancelled


def test_a_success_in_time_lets_nobody_else_begin():
    first, second = Attempt("first", 0.5), Attempt("second", 0.0)
    assert run_race(first, second) == "first"
    assert second.began is None


def test_a_failure_lets_the_next_begin_at_once():
    first, second = Attempt("a", 0.2, ConnectFailed("no")), Attempt("second", 0.1)
    assert run_race(first, second) == "second"
    assert second.began == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        (ConnectFailed("one"), ConnectFailed("two"), "one"),
        (NoAnswer("one"), RequestRefused(403, "two"), "two"),
        (RequestRefused(403, "one"), NoAnswer("two"), "one"),
        (NoAnswer("one"), PortRefused("two"), "one"),
        (LocalError("one"), NoAnswer("two"), "one"),
        (PortRefused("one"), NoAnswer("two"), "one"),
        (NoAnswer("one"), ConnectFailed("two"), "two"),
        (Unreachable("one"), PortRefused("two"), "two"),
        (NoAnswer("one"), Unreachable("two"), "one"),
        (Unreachable("one"), LocalError("two"), "two"),
        (Unreachable("one"), Unreachable("two"), "one"),
    ],
)
def test_when_all_fail_the_most_telling_failure_is_told(first, second, told):
    with pytest.raises(MoqError, match=told):
        run_race(Attempt("a", 3.0, first), Attempt("b", 0, second))


def test_each_failure_has_its_place_in_what_is_told():
    """Silence says the same wherever ways are tried: over UDP, over TCP, over the two of them."""
    told = {
        0: [ConnectFailed, HostUnknown, CertificateRefused, NoCommonProtocol],
        1: [NoAnswer, PortRefused],
        2: [Unreachable],
    }
    found = {level: [vagueness(kind("why")) for kind in kinds] for level, kinds in told.items()}
    assert found == {level: [level] * len(kinds) for level, kinds in told.items()}
    assert vagueness(RequestRefused(403, "why")) == vagueness(LocalError("why")) == 0
    assert {kind for kinds in told.values() for kind in kinds} | {RequestRefused} == {
        ConnectFailed,
        *ConnectFailed.__subclasses__(),
    }


@pytest.mark.parametrize("others", [0, 1, 2])
def test_what_is_wrong_with_what_was_asked_for_is_told_bare(others):
    """No group of it, however many ways there were."""
    failure = LocalError("roots that can't be read")
    attempts = [Attempt(str(at), 0, failure) for at in range(1 + others)]
    with pytest.raises(LocalError) as told:
        run_race(*attempts)
    assert told.value is failure


def test_a_second_success_is_discarded():
    discarded: list[str] = []

    async def stubborn() -> str:
        try:
            await asyncio.sleep(5.0)
        except asyncio.CancelledError:
            return "stubborn"
        return "late"

    won = aio.run(race([stubborn, Attempt("quick", 0.1)], delay=1.0, discard=discarded.append))
    assert (won, discarded) == ("quick", ["stubborn"])


@pytest.mark.parametrize("turns", range(6))
def test_a_success_in_the_turn_in_which_patience_ends_is_returned_or_discarded(turns):
    """Whichever of the two comes first, and by however many turns of the loop."""
    held: set[str] = set()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[None] = loop.create_future()

        async def attempt() -> str:
            await answer
            held.add("connection")
            return "connection"

        async def silent() -> str:
            await loop.create_future()
            return "never"

        racing = loop.create_task(race([attempt, silent], delay=1.0, discard=held.discard))
        await aio.settle()
        answer.set_result(None)
        await aio.settle(turns)
        racing.cancel()
        await asyncio.wait([racing])
        if not racing.cancelled():
            held.remove(racing.result())

    aio.run(main())
    assert not held
