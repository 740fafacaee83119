"""A server that sends back what it is told on each stream, and how to ask it."""

import asyncio

from tests.loopback.pairs import Reader

from moqvox.transport.aioquic import Listener
from moqvox.transport.interface import Connection

__all__ = ["ask", "echo"]


async def echo(listener: Listener, seen: list[Connection]) -> None:
    """Serve until cancelled; `seen` gets each connection that was accepted."""
    async with asyncio.TaskGroup() as tasks:
        while True:
            connection = await listener.accept()
            seen.append(connection)
            tasks.create_task(_answer(Reader(connection)))


async def _answer(reader: Reader) -> None:
    answered: set[int] = set()
    while reader.closed is None:
        for event in await reader.connection.events():
            reader.note(event)
        for stream in reader.ended - answered:
            answered.add(stream)
            reader.connection.write(stream, bytes(reader.data[stream]), fin=True)


async def ask(client: Reader, words: bytes) -> None:
    """Say something on a stream of its own, and hear it back."""
    stream = client.connection.open_stream(bidirectional=True)
    client.connection.write(stream, words, fin=True)
    await client.until(lambda reader: stream in reader.ended)
    assert client.data[stream] == words
