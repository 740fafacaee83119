"""The program of a worker process: `python -m moqvox_relay.worker`, started by a supervisor.

It loads everything first and then waits for its job, so that it can take a dead worker's place
at once. It ends when its stdin does: its supervisor is gone, or wants it to go.
"""

import asyncio
import contextlib
import logging
import signal
import sys
from typing import BinaryIO, Final

from moqvox.collector import spare
from moqvox.driver.scope import scope
from moqvox.errors import MoqError
from moqvox_relay.job import Report, decode_job, encode, open_share
from moqvox_relay.relay import Relay

__all__ = ["main"]

COUNT_EVERY: Final = 1.0
"""Seconds between two looks at the counters, for siblings that are asked for ours."""


class _Reports(logging.Handler):
    """Sends log records to the supervisor, which knows where and how they are wanted."""

    def __init__(self, out: BinaryIO, worker: int) -> None:
        super().__init__()
        self._out = out
        self._worker = worker

    def emit(self, record: logging.LogRecord) -> None:
        words = record.getMessage()
        if record.exc_info and record.exc_info[1] is not None:
            words += f": {record.exc_info[1]!r}"
        say(
            self._out,
            Report(
                message=f"worker {self._worker}: {words}", logger=record.name, level=record.levelno
            ),
        )


def say(out: BinaryIO, report: Report) -> None:
    """Tell the supervisor; nothing when there is none any more."""
    with contextlib.suppress(OSError):
        out.write(encode(report))
        out.flush()


def main() -> int:
    """Wait for a job and do it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the supervisor, which tells us
    out = sys.stdout.buffer
    say(out, Report(is_waiting=True))
    line = sys.stdin.buffer.readline()
    if not line:
        return 0
    job = decode_job(line)
    logging.getLogger().addHandler(_Reports(out, job.worker))
    logging.getLogger("moqvox").setLevel(job.log_level)
    try:
        relay = Relay(job.config, open_share(job))
        asyncio.run(_serve(relay, out))
    except MoqError as exc:
        say(out, Report(fault=str(exc)))
        return 1
    return 0


async def _serve(relay: Relay, out: BinaryIO) -> None:
    """Serve until stdin ends."""
    loop = asyncio.get_running_loop()
    over = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), over.set)
    loop.add_signal_handler(signal.SIGTERM, over.set)
    async with spare(lambda: relay.is_idle), scope() as tasks:
        serving = tasks.create_task(relay.run(), name="relay")
        counting = tasks.create_task(_count(relay), name="counters")
        telling = tasks.create_task(_tell(relay, out), name="ready")
        await over.wait()
        loop.remove_reader(sys.stdin.fileno())
        for task in (telling, counting, serving):
            task.cancel()


async def _tell(relay: Relay, out: BinaryIO) -> None:
    await relay.started.wait()
    say(out, Report(is_ready=True))


async def _count(relay: Relay) -> None:
    """Write our counters where siblings read them."""
    await relay.started.wait()
    while True:
        relay.write_metrics()
        await asyncio.sleep(COUNT_EVERY)


if __name__ == "__main__":
    sys.exit(main())
