"""WebSocket over TLS with the `websockets` library: a binary message per frame."""

import asyncio
from typing import Final

from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from moqvox_client.lab.frames import pack, unpack
from moqvox_client.lab.sides import (
    CallerSide,
    ServerSide,
    address_towards,
    another_address,
    client_tls,
    main,
    server_tls,
)

END: Final = "end"


async def call(side: CallerSide) -> None:
    """Speak from the first moment on; what is spoken before the connection stands is kept."""
    spoken: asyncio.Queue[tuple[int, bytes] | None] = asyncio.Queue()
    side.begin()

    async def capture() -> None:
        async for numbered in side.speech():
            spoken.put_nowait(numbered)
        spoken.put_nowait(None)

    async with asyncio.TaskGroup() as tasks:
        capturing = tasks.create_task(capture())
        if side.job.options.get("notified"):
            talking = tasks.create_task(_reconnecting(side, spoken))
        else:
            talking = tasks.create_task(_once(side, spoken))
        await side.listen_to_the_end()
        capturing.cancel()
        talking.cancel()


async def _once(side: CallerSide, spoken: "asyncio.Queue[tuple[int, bytes] | None]") -> None:
    job = side.job
    uri = f"wss://{job.host}:{job.port}/"
    try:
        async with connect(uri, ssl=client_tls(job), compression=None) as socket:
            side.mark("connected")
            try:
                await _talk(side, socket, spoken)
            except asyncio.CancelledError:
                socket.transport.abort()  # a farewell on a dead network would take 10 s
                raise
    except (ConnectionClosed, OSError) as exc:
        side.extra["error"] = f"{type(exc).__name__}: {exc}"


async def _talk(
    side: CallerSide,
    socket: ClientConnection,
    spoken: "asyncio.Queue[tuple[int, bytes] | None]",
) -> None:
    async def speak() -> None:
        while (numbered := await spoken.get()) is not None:
            await socket.send(pack(*numbered))
        await socket.send(END)

    async with asyncio.TaskGroup() as tasks:
        speaking = tasks.create_task(speak())
        async for message in socket:
            if isinstance(message, bytes):
                side.ear.take(*unpack(message))
        speaking.cancel()


async def _reconnecting(
    side: CallerSide, spoken: "asyncio.Queue[tuple[int, bytes] | None]"
) -> None:
    """Dial again at once whenever the system says that our address has changed."""
    while True:
        own = address_towards(side.job.host, side.job.port)
        async with asyncio.TaskGroup() as tasks:
            attempt = tasks.create_task(_once(side, spoken))
            await another_address(side.job, own)
            side.mark("noticed")
            attempt.cancel()


async def take(side: ServerSide) -> None:
    """Take callers until told to stop."""

    async def handle(socket: ServerConnection) -> None:
        number = side.meet()

        async def answer() -> None:
            await side.prompt_over()
            if side.shall_answer(number):
                async for numbered in side.reply():
                    await socket.send(pack(*numbered))

        async with asyncio.TaskGroup() as tasks:
            answering = tasks.create_task(answer())
            try:
                async for message in socket:
                    if isinstance(message, bytes):
                        side.take(*unpack(message))
                    else:
                        side.over.set()
            except ConnectionClosed:
                pass  # the answer can't be sent either
            answering.cancel()

    async with serve(handle, side.job.host, side.job.port, ssl=server_tls(side.job)):
        side.ready()
        await asyncio.Event().wait()


if __name__ == "__main__":
    main(call, take)
