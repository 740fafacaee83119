"""A caller's first leg tells a young agent whether another one was there before."""

import asyncio

import pytest
from tests.aio import run
from tests.unit.driver.sides import driver_on

from moqvox.errors import NotFound, Refused, StreamCode
from moqvox.model.origin import Origin
from moqvox.transport.memory import pair
from moqvox.voice.leg import UNANSWERED, Leg
from moqvox.voice.lobby import Lobby
from moqvox.voice.words import Hello


async def asked(leg: Leg, name: str) -> str:
    try:
        (await leg.broadcast.consume().subscribe(name)).close()
    except NotFound:
        return "never"
    except Refused as exc:
        return "no more" if exc.code == StreamCode.CANCELLED else str(exc)
    return "there"


@pytest.mark.parametrize("name", [UNANSWERED, f"{UNANSWERED}1", f"{UNANSWERED}any/thing"])
def test_the_tracks_are_there_until_an_agent_was(name):
    async def main():
        leg = Leg(Hello(), 0, 0.0)
        told = [await asked(leg, name)]
        leg.broadcast.be_unanswered()
        told.append(await asked(leg, name))
        leg.broadcast.be_answered()
        told.append(await asked(leg, f"{UNANSWERED}new"))
        return told, await asked(leg, "unanswered"), await asked(leg, "audio")

    assert run(main()) == (["never", "there", "no more"], "never", "there")


def test_a_later_leg_tells_nothing_of_it():
    async def main():
        leg = Leg(Hello(), 1, 0.0)
        leg.broadcast.be_answered()
        return await asked(leg, f"{UNANSWERED}new")

    assert run(main()) == "never"


@pytest.mark.parametrize(
    ("shows", "is_answered", "taken"),
    [
        (True, None, False),  # left: a relay still gives out what it holds of it
        (True, True, False),
        (True, False, True),
        (False, None, True),  # never told: it is taken for new, as before there was such a thing
    ],
)
@pytest.mark.parametrize("age", [1, 35])
def test_a_young_agent_takes_a_leg_that_was_left_for_no_new_call(shows, is_answered, taken, age):
    async def main():
        lobby = Lobby()
        async with asyncio.TaskGroup() as tasks:
            mine, theirs = pair("moq-lite-06")
            local, remote, relay = Origin(), Origin(), Origin()
            agent = driver_on(mine, local.id)
            agent.start(tasks)
            agent.attach(local, remote)
            other = driver_on(theirs, relay.id)
            other.start(tasks)
            other.attach(relay, relay)
            hosting = tasks.create_task(lobby.host(agent, local, remote, eager=False))
            await asyncio.sleep(age)  # it is no more among what the relay tells at first
            leg = Leg(Hello(call="it", token="00", shows=shows), 0, 0.0)
            if is_answered is not None:
                leg.broadcast.be_unanswered()
            if is_answered:
                leg.broadcast.be_answered()
            relay.publish("it/caller", leg.broadcast.consume())
            await asyncio.sleep(1)
            asked = relay.get("it/agent"), [p for p in paths(relay) if p.startswith("it/again/")]
            agent.close()
            other.close()
            await hosting
        return asked[0] is not None, len(asked[1])

    assert run(main()) == ((True, 0) if taken else (False, 1))


def paths(origin: Origin) -> list[str]:
    watch = origin.watch()
    return [news.path for news in watch.poll()]
