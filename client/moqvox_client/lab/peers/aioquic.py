"""Plain aioquic: one QUIC stream for the prompt, one for the answer, frames behind lengths."""

import asyncio
import functools
from typing import Final, cast

from aioquic.asyncio import QuicConnectionProtocol, connect, serve
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import HandshakeCompleted, QuicEvent, StreamDataReceived

from moqvox_client.lab.frames import pack, unpack
from moqvox_client.lab.sides import CallerSide, ServerSide, main

ALPN: Final = "lab"
PROMPT: Final = 0
ANSWER: Final = 1
"""Streams 0 (the client's first) and 1 (the server's first)."""


def _framed(index: int, frame: bytes) -> bytes:
    message = pack(index, frame)
    return len(message).to_bytes(2, "big") + message


class _Frames:
    """Cuts a stream back into frames."""

    def __init__(self) -> None:
        self._buffer = b""

    def push(self, data: bytes) -> list[tuple[int, bytes]]:
        self._buffer += data
        found = []
        while len(self._buffer) >= 2:
            size = int.from_bytes(self._buffer[:2], "big")
            if len(self._buffer) < 2 + size:
                break
            found.append(unpack(self._buffer[2 : 2 + size]))
            self._buffer = self._buffer[2 + size :]
        return found


class _Caller(QuicConnectionProtocol):
    def __init__(self, *args: object, side: CallerSide, **options: object) -> None:
        super().__init__(*args, **options)  # type: ignore[arg-type]  # passed on as it came
        self._side = side
        self._frames = _Frames()

    def quic_event_received(self, event: QuicEvent) -> None:
        if isinstance(event, HandshakeCompleted):
            self._side.mark("handshake")
        if isinstance(event, StreamDataReceived):
            for numbered in self._frames.push(event.data):
                self._side.ear.take(*numbered)

    def say(self, data: bytes, *, last: bool = False) -> None:
        self._quic.send_stream_data(PROMPT, data, last)
        self.transmit()


class _Agent(QuicConnectionProtocol):
    def __init__(self, *args: object, side: ServerSide, **options: object) -> None:
        super().__init__(*args, **options)  # type: ignore[arg-type]  # passed on as it came
        self._side = side
        self._frames = _Frames()
        self.called = asyncio.Event()

    def quic_event_received(self, event: QuicEvent) -> None:
        if isinstance(event, StreamDataReceived):
            for numbered in self._frames.push(event.data):
                self._side.take(*numbered)
            if event.end_stream:
                self._side.over.set()

    async def answer(self) -> None:
        await self._side.prompt_over()
        async for numbered in self._side.reply():
            self._quic.send_stream_data(ANSWER, _framed(*numbered))
            if self._side.job.pace:
                self.transmit()
        self.transmit()


async def call(side: CallerSide) -> None:
    """Speak from the first moment on; what is spoken before the connection stands is kept."""
    job = side.job
    configuration = QuicConfiguration(is_client=True, alpn_protocols=[ALPN])
    configuration.load_verify_locations(job.root)
    spoken: asyncio.Queue[bytes | None] = asyncio.Queue()
    side.begin()

    async def capture() -> None:
        async for numbered in side.speech():
            spoken.put_nowait(_framed(*numbered))
        spoken.put_nowait(None)

    async def talk() -> None:
        make = functools.partial(_Caller, side=side)
        port = job.caller_port or job.port
        async with connect(
            job.host, port, configuration=configuration, create_protocol=make
        ) as quic:
            caller = cast(_Caller, quic)
            side.mark("connected")
            while (data := await spoken.get()) is not None:
                caller.say(data)
            caller.say(b"", last=True)
            await caller.wait_closed()

    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(capture()), tasks.create_task(talk())]
        await side.listen_to_the_end()
        for task in running:
            task.cancel()


async def take(side: ServerSide) -> None:
    """Take callers until told to stop."""
    job = side.job
    configuration = QuicConfiguration(is_client=False, alpn_protocols=[ALPN])
    configuration.load_cert_chain(job.cert, job.key)
    agents: list[_Agent] = []

    def make(*args: object, **options: object) -> _Agent:
        agents.append(_Agent(*args, side=side, **options))
        return agents[-1]

    await serve(job.host, job.port, configuration=configuration, create_protocol=make)
    side.ready()
    while not agents:
        await asyncio.sleep(0.005)
    await agents[0].answer()
    await asyncio.Event().wait()


if __name__ == "__main__":
    main(call, take)
