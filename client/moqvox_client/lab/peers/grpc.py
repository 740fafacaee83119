"""gRPC over TLS: one bidirectional stream, a message per frame, as grpcio's asyncio API does it."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import grpc

from moqvox_client.lab.frames import pack, unpack
from moqvox_client.lab.sides import CallerSide, ServerSide, address_towards, another_address, main

METHOD: Final = "Converse"
SERVICE: Final = "moqvox.lab.Voice"
END: Final = b""


async def call(side: CallerSide) -> None:
    """Speak from the first moment on; what is spoken before the connection stands is kept."""
    spoken: asyncio.Queue[bytes | None] = asyncio.Queue()
    side.begin()

    async def capture() -> None:
        async for numbered in side.speech():
            spoken.put_nowait(pack(*numbered))
        spoken.put_nowait(END)

    async with asyncio.TaskGroup() as tasks:
        capturing = tasks.create_task(capture())
        talking = tasks.create_task(_reconnecting(side, spoken))
        await side.listen_to_the_end()
        capturing.cancel()
        talking.cancel()


async def _reconnecting(side: CallerSide, spoken: "asyncio.Queue[bytes | None]") -> None:
    """Dial; and again at once when our address changes, if the application is told of that."""
    while True:
        own = address_towards(side.job.host, side.job.port)
        async with asyncio.TaskGroup() as tasks:
            attempt = tasks.create_task(_once(side, spoken))
            if side.job.options.get("notified"):
                await another_address(side.job, own)
                side.mark("noticed")
                attempt.cancel()
        if not side.job.options.get("notified"):
            return


async def _once(side: CallerSide, spoken: "asyncio.Queue[bytes | None]") -> None:
    trusted = grpc.ssl_channel_credentials(Path(side.job.root).read_bytes())
    target = f"{side.job.host}:{side.job.port}"
    # A channel of its own: grpcio shares connections between equal channels otherwise.
    apart = (("grpc.use_local_subchannel_pool", 1),)
    async with grpc.aio.secure_channel(target, trusted, options=apart) as channel:

        async def outgoing() -> AsyncIterator[bytes]:
            while (message := await spoken.get()) is not None:
                yield message

        converse = channel.stream_stream(f"/{SERVICE}/{METHOD}")
        try:
            async for message in converse(outgoing()):
                side.ear.take(*unpack(message))
        except grpc.aio.AioRpcError as exc:
            side.extra["error"] = f"{exc.code().name}: {exc.details()}"


async def take(side: ServerSide) -> None:
    """Take callers until told to stop."""

    async def converse(incoming: AsyncIterator[bytes], _context: object) -> AsyncIterator[bytes]:
        number = side.meet()

        async def read() -> None:
            async for message in incoming:
                if message == END:
                    side.over.set()
                else:
                    side.take(*unpack(message))

        async with asyncio.TaskGroup() as tasks:
            reading = tasks.create_task(read())
            await side.prompt_over()
            if side.shall_answer(number):
                async for numbered in side.reply():
                    yield pack(*numbered)
            await reading

    server = grpc.aio.server()
    handlers = {METHOD: grpc.stream_stream_rpc_method_handler(converse)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    key, cert = Path(side.job.key).read_bytes(), Path(side.job.cert).read_bytes()
    credentials = grpc.ssl_server_credentials([(key, cert)])
    server.add_secure_port(f"{side.job.host}:{side.job.port}", credentials)
    await server.start()
    side.ready()
    try:
        await server.wait_for_termination()
    finally:
        await server.stop(0)


if __name__ == "__main__":
    main(call, take)
