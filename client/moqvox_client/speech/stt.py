"""Streaming speech recognition, offline, without holding up the event loop.

Measured by `python bench/speech.py`, which prints word error rates, the share of real time
it takes and how long after the last audio the transcript is there.
"""

import asyncio
import weakref
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Final, Self

from moqvox.errors import LocalError
from moqvox_client.speech.errors import require
from moqvox_client.speech.orders import SAMPLE_RATE
from moqvox_client.speech.worker import Worker

__all__ = ["SAMPLE_RATE", "Transcriber"]

PIECE_BYTES: Final = 2 * SAMPLE_RATE * 60 // 1000
"""Audio handed over at once: 60 ms."""


class Transcriber:
    """Turns utterances into text, in processes of its own that are started when needed.

    For one event loop. Audio is taken only as fast as it is understood, so nothing piles up
    here. Close it, or use it as a context manager; what is
    left open ends with the program.

    Args:
        workers: utterances understood at the same time, each by a process of some 170 MB;
            further ones wait their turn.

    Raises:
        SpeechUnavailable: pocketsphinx is not installed.
    """

    def __init__(self, workers: int = 2) -> None:
        if workers < 1:
            raise LocalError(f"at least one worker is needed, not {workers}")
        require("pocketsphinx", "speech recognition")
        self._turns = asyncio.Semaphore(workers)
        self._all: list[Worker] = []
        self._idle: list[Worker] = []
        self._finalize = weakref.finalize(self, _close, self._all)

    async def transcribe(
        self, pcm: AsyncIterator[bytes], partial: Callable[[str], None] | None = None
    ) -> str:
        """Take s16le mono PCM at 16 kHz as it arrives; return the words, in lower case.

        Args:
            pcm: chunks of any size.
            partial: told what is understood so far, whenever that changes.

        Raises:
            SpeechFailed: the recogniser's process ended.
        """
        async with self._turns:
            worker = self._take()
            try:
                return await _transcribe(worker, pcm, partial or _ignore)
            finally:
                self._give_back(worker)

    async def warm_up(self) -> None:
        """Load the models, which takes about half a second, before the first utterance.

        Raises:
            SpeechFailed: they can't be loaded.
        """
        async with self._turns:
            worker = self._take()
            try:
                await worker.begin()
            finally:
                self._give_back(worker)

    def close(self) -> None:
        """End the processes. Idempotent; what is being transcribed fails."""
        self._idle.clear()
        self._finalize()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.close()

    def _take(self) -> Worker:
        if not self._finalize.alive:
            raise LocalError("this transcriber is closed")
        while self._idle:
            worker = self._idle.pop()
            if worker.alive:
                return worker
            self._discard(worker)
        worker = Worker()
        self._all.append(worker)
        return worker

    def _give_back(self, worker: Worker) -> None:
        if not self._finalize.alive:
            return
        if worker.alive:
            self._idle.append(worker)
        else:
            self._discard(worker)

    def _discard(self, worker: Worker) -> None:
        self._all.remove(worker)
        worker.close()


async def _transcribe(
    worker: Worker, pcm: AsyncIterator[bytes], partial: Callable[[str], None]
) -> str:
    await worker.begin()
    held = bytearray()
    last = ""
    async for chunk in pcm:
        held += chunk
        if len(held) < PIECE_BYTES:
            continue
        whole = len(held) - len(held) % 2
        text = await worker.feed(bytes(held[:whole]))
        del held[:whole]
        if text != last:
            last = text
            partial(text)
    if len(held) % 2:
        raise LocalError("the audio ends in half a sample")
    await worker.feed(bytes(held))
    return await worker.finish()


def _ignore(_text: str) -> None:
    return


def _close(workers: list[Worker]) -> None:
    for worker in workers:
        worker.close()
    workers.clear()
