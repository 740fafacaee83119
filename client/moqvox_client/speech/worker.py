"""The recogniser's process, as the process that started it sees it."""

import asyncio
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Final

import msgspec

from moqvox_client.speech.errors import SpeechFailed
from moqvox_client.speech.orders import HEADER, MAX_PCM_BYTES, Hypothesis, Order

__all__ = ["Worker"]

_LAST_WORDS_BYTES: Final = 2000

_answers = msgspec.json.Decoder(Hypothesis)


class Worker:
    """One process, and the thread that waits for its answers.

    Orders are carried out one after the other, also those whose caller was cancelled while
    he waited; so a worker can be used again at once.
    """

    def __init__(self, command: tuple[str, ...] | None = None) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
        self._process = subprocess.Popen(  # noqa: S603 - our own module, no shell, no input
            command or (sys.executable, "-P", "-m", "moqvox_client.speech.recogniser"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**os.environ, "PYTHONPATH": path},
            start_new_session=True,  # Ctrl-C is for the parent, which closes this
        )
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="moqvox-speech")

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        return self._process.poll() is None

    async def begin(self) -> None:
        """Start an utterance.

        Raises:
            SpeechFailed: the process ended.
        """
        await self._carry_out(Order.BEGIN)

    async def feed(self, pcm: bytes) -> str:
        """Hand over audio and return what is understood so far.

        Raises:
            SpeechFailed: the process ended.
        """
        text = ""
        for at in range(0, len(pcm), MAX_PCM_BYTES):
            text = (await self._carry_out(Order.AUDIO, pcm[at : at + MAX_PCM_BYTES])).text
        return text

    async def finish(self) -> str:
        """End the utterance and return all that was understood.

        Raises:
            SpeechFailed: the process ended.
        """
        return (await self._carry_out(Order.END)).text

    def close(self) -> None:
        """End the process. Idempotent."""
        self._process.kill()
        self._process.wait()
        self._thread.shutdown(wait=True)  # the dead process has answered whoever waited
        if self._process.stdin is not None:
            with suppress(OSError):  # what it did not read can't be flushed
                self._process.stdin.close()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._errors.close()

    async def _carry_out(self, order: Order, pcm: bytes = b"") -> Hypothesis:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._exchange, order, pcm)

    def _exchange(self, order: Order, pcm: bytes) -> Hypothesis:
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise SpeechFailed("the recogniser has no pipes")
        try:
            stdin.write(HEADER.pack(order, len(pcm)) + pcm)
            stdin.flush()
            line = stdout.readline()
        except (OSError, ValueError) as exc:
            raise SpeechFailed(f"the speech recogniser is gone: {exc}{self._why()}") from exc
        if not line:
            raise SpeechFailed(f"the speech recogniser ended{self._why()}")
        return _answers.decode(line)

    def _why(self) -> str:
        code = self._process.wait()
        if self._errors.closed:
            return ""
        size = self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(0, size - _LAST_WORDS_BYTES))
        lines = self._errors.read().decode("utf-8", "replace").strip().splitlines()
        return f" with status {code}" + (f": {lines[-1]}" if lines else "")
