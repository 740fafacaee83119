"""A caller's first leg tells a young agent whether another one was there before."""

import pytest
from tests.aio import run

from moqvox.errors import NotFound, Refused, StreamCode
from moqvox.voice.leg import UNANSWERED, Leg
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
