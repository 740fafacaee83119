"""A sound card that needs none: PulseAudio with a sink for nobody and a microphone from a pipe.

Firefox lets no audio context run where there is no output device.
"""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

RATE = 48_000
PIECE_SECONDS = 0.02
PIECE_BYTES = int(2 * RATE * PIECE_SECONDS)


class Sound:
    """A sound server that runs.

    Attributes:
        environment: what a program needs to find it.
    """

    def __init__(self, socket: Path) -> None:
        self.environment = {"PULSE_SERVER": f"unix:{socket}"}
        self._pcm = b""

    def say(self, pcm: bytes) -> None:
        """Have the microphone hear this, s16le mono at 48 kHz, and then silence again."""
        self._pcm += pcm

    async def feed(self, pipe: Path) -> None:
        """Give the microphone what is said, at the pace of speech: the pipe is its clock."""
        silence = bytes(PIECE_BYTES)
        clock = asyncio.get_running_loop().time
        descriptor = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)
        try:
            due = clock()
            while True:
                piece, self._pcm = self._pcm[:PIECE_BYTES] or silence, self._pcm[PIECE_BYTES:]
                with suppress(BlockingIOError):
                    os.write(descriptor, piece)
                due += PIECE_SECONDS
                await asyncio.sleep(max(0.0, due - clock()))
        finally:
            os.close(descriptor)


@asynccontextmanager
async def sound(folder: Path) -> AsyncIterator[Sound]:
    """Run a sound server whose files are in `folder`."""
    program = shutil.which("pulseaudio")
    if program is None:
        pytest.skip("pulseaudio is not installed: there is no sound card for this browser")
    socket, pipe = folder / "sound.socket", folder / "microphone"
    modules = (
        f"module-native-protocol-unix socket={socket} auth-anonymous=1",
        f"module-null-sink sink_name=speaker rate={RATE} channels=2",
        f"module-pipe-source source_name=microphone file={pipe} format=s16le"
        f" rate={RATE} channels=1",
    )
    loaded = [f"--load={module}" for module in modules]
    home = {"HOME": str(folder), "XDG_RUNTIME_DIR": str(folder), "XDG_CONFIG_HOME": str(folder)}
    options = ("-n", "--exit-idle-time=-1", "--use-pid-file=no", "--disable-shm=yes")
    async with process(program, *options, *loaded, env={**os.environ, **home}):
        async with asyncio.timeout(10):
            while not (socket.exists() and pipe.exists()):  # noqa: ASYNC110 - another program's
                await asyncio.sleep(0.02)
        card = Sound(socket)
        async with asyncio.TaskGroup() as tasks:
            feeding = tasks.create_task(card.feed(pipe))
            yield card
            feeding.cancel()


@asynccontextmanager
async def process(*command: str, env: Mapping[str, str]) -> AsyncIterator[None]:
    """Run a program without its output until the block is left."""
    nowhere = asyncio.subprocess.DEVNULL
    running = await asyncio.create_subprocess_exec(
        *command, env=env, stdout=nowhere, stderr=nowhere
    )
    try:
        yield
    finally:
        if running.returncode is None:
            running.terminate()
        await running.wait()
