"""One worker process, as its supervisor sees it."""

import asyncio
import contextlib
import logging
import os
import sys
from typing import Final

from moqvox.errors import LocalError
from moqvox_relay.job import MAX_LINE_BYTES, Job, Report, decode_report, encode

__all__ = ["Process"]

START_TIMEOUT: Final = 30.0
"""Seconds that a process may take to load, and a worker to serve."""


class Process:
    """One worker process, waiting or at work."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.fault = ""

    @staticmethod
    async def start(job: Job) -> "Process":
        """Start a process, and wait until it waits for work.

        Raises:
            LocalError: it does not come so far.
        """
        inherited = [*(fd for row in job.rows for fd in row), *job.tcp, *job.doors, job.board]
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "moqvox_relay.worker"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            pass_fds=inherited,
            limit=MAX_LINE_BYTES,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        )
        made = Process(process)
        try:
            async with asyncio.timeout(START_TIMEOUT):
                is_waiting = await made._until("is_waiting")
        except TimeoutError as exc:
            await made.stop(0.0)
            raise LocalError(f"a worker did not load in {START_TIMEOUT:g} s") from exc
        except BaseException:
            await made.stop(0.0)
            raise
        if not is_waiting:
            await made.stop(0.0)
            raise LocalError(f"a worker died while it was loaded: {made.epitaph}")
        return made

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether it was not seen to end yet."""
        return self._process.returncode is None

    @property
    def has_failed(self) -> bool:
        """Whether it ended otherwise than it was told to."""
        return bool(self.fault) or self._process.returncode != 0

    @property
    def epitaph(self) -> str:
        """How it ended."""
        code = self._process.returncode
        if self.fault or code is None:
            return self.fault or "it does not answer"
        return f"signal {-code}" if code < 0 else f"exit code {code}"

    async def work(self, job: Job) -> bool:
        """Hand over a job, and wait until it is being done; False when the process ended."""
        if self._process.stdin is not None:
            with contextlib.suppress(ConnectionError):
                self._process.stdin.write(encode(job))
                await self._process.stdin.drain()
        try:
            async with asyncio.timeout(START_TIMEOUT):
                return await self._until("is_ready")
        except TimeoutError:
            self.fault = f"it did not serve within {START_TIMEOUT:g} s"
            self._process.kill()
            return False

    async def wait(self) -> None:
        """Pass on what it logs until it ends."""
        await self._until("")
        await self._process.wait()

    async def stop(self, patience: float) -> None:
        """Ask it to stop, and make it; returns when it is gone."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            async with asyncio.timeout(patience):
                await self.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()

    async def _until(self, wanted: str) -> bool:
        """Read reports until one says what is wanted; False when there are no more."""
        reports = self._process.stdout
        while reports is not None and (line := await reports.readline()):
            report = decode_report(line)
            self.fault = report.fault or self.fault
            if report.message:
                _log(report)
            if wanted and getattr(report, wanted):
                return True
        return False


def _log(report: Report) -> None:
    logger = logging.getLogger(report.logger)
    if logger.isEnabledFor(report.level):
        logger.log(report.level, "%s", report.message)
