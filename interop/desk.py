"""A voice server of ours that tells what it hears: `VERSION`. Ends when stdin does."""

import asyncio
import hashlib
import json
import sys

from moqvox import voice


def emit(event: str, **fields: object) -> None:
    """Print one JSON object on a line of its own, at once."""
    print(json.dumps({"event": event, **fields}), flush=True)


async def listen(session: voice.Session) -> None:
    """Tell each packet of each utterance."""
    async for utterance in session.utterances():
        count = 0
        async for packet in utterance.opus():
            digest = hashlib.sha256(packet.opus).hexdigest()
            emit("packet", index=count, size=len(packet.opus), sha256=digest)
            count += 1
        emit("utterance", call=session.id, packets=count, whole=utterance.is_whole)


async def answer(desk: voice.Desk) -> None:
    """Take every call."""
    async with asyncio.TaskGroup() as tasks:
        async for session in desk:
            tasks.create_task(listen(session))


async def run(version: str) -> None:
    """Serve until told to leave."""
    async with (
        voice.serve("127.0.0.1:0", versions=[version], websocket=False) as desk,
        asyncio.TaskGroup() as tasks,
    ):
        answering = tasks.create_task(answer(desk))
        host, port = desk.addresses[0]
        emit("ready", address=f"{host}:{port}", fingerprint=desk.fingerprint)
        await asyncio.to_thread(sys.stdin.read)
        answering.cancel()


if __name__ == "__main__":
    asyncio.run(run(sys.argv[1]))
