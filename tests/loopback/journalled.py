"""An agent for `moqvox serve` that hands over four seconds of answer at once."""

import asyncio

from tests.unit.voice.calls import packets

from moqvox import voice

__all__ = ["ANSWER", "agent"]

ANSWER = packets(200)


async def agent(session: voice.Session) -> None:
    """Answer each utterance, unless another process did; stay until the caller leaves."""
    async with asyncio.TaskGroup() as tasks:
        for response in session.carried:
            tasks.create_task(_tell(session, response))
        async for utterance in session.utterances():
            await utterance.wait_over()
            response = session.respond()
            for packet in ANSWER:
                response.speech.write_packet(packet)
            response.finish()
            tasks.create_task(_tell(session, response))


async def _tell(session: voice.Session, response: voice.Response) -> None:
    played = await response.played()
    if not response.speech.lost:
        session.send("played", [response.number, played.ms, response in session.carried])
