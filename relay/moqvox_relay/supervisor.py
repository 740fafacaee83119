"""The parent of a relay's workers: binds, starts them, and starts them again when they die.

One process more than there are workers is loaded and waits, so that the sockets of a dead worker
are served again within milliseconds. Until then the kernel keeps what arrives, and the first thing
the successor does is to tell the dead one's callers, by stateless resets.
"""

import asyncio
import contextlib
import logging
import math
import os
import socket
from typing import Final

import msgspec

from moqvox.driver.scope import scope
from moqvox.errors import LocalError
from moqvox.transport.quic import Preferred, bind_workers
from moqvox.transport.quic.binding import uncovered
from moqvox.transport.websocket import bind_tcp
from moqvox.url import parse_bind
from moqvox_relay.board import Board
from moqvox_relay.config import Config
from moqvox_relay.job import Job
from moqvox_relay.process import Process
from moqvox_relay.relay import Started, make_identity
from moqvox_relay.share import connection_ids, read_secret

__all__ = ["Supervisor"]

log = logging.getLogger("moqvox.relay")

STOP_TIMEOUT: Final = 10.0
"""Seconds that a worker may take to stop, beyond draining."""

SHORT_LIFE: Final = 5.0
"""One that dies sooner than this again and again is replaced ever more slowly."""

FIRST_WAIT: Final = 0.5
LONGEST_WAIT: Final = 30.0
PORT_ATTEMPTS: Final = 8
SECRET_BYTES: Final = 32
SERVED: Final = "moqvox_relay_sessions_total"


class Supervisor:
    """A relay of several workers. `run` serves until cancelled.

    Attributes:
        started: set once all workers serve; then `where` tells where.
        restarts: workers that were replaced.
        pids: the workers' processes, by number.
    """

    def __init__(self, config: Config) -> None:
        config.check()
        self.started = asyncio.Event()
        self.where = Started((), "")
        self.restarts = 0
        self.pids: dict[int, int] = {}
        self._config = config
        self._spares: asyncio.Queue[Process] = asyncio.Queue()
        self._spare_wanted = asyncio.Semaphore(1)
        self._ready = self._past = 0
        self._job: Job | None = None
        self._board: Board | None = None

    @property
    def served(self) -> int:
        """Sessions so far; of workers that died, those that they had counted."""
        return self._past + sum(map(self._served_by, range(self._config.workers)))

    def _served_by(self, number: int) -> int:
        board = self._board
        return int(board.read(number).get(SERVED, 0)) if board is not None else 0

    def _settle(self) -> None:
        """Keep what the workers counted, whose board goes."""
        self._past = self.served
        if self._board is not None:
            self._board.close()
            self._board = None

    async def run(self) -> None:
        """Bind, and keep as many workers as asked for until cancelled.

        Raises:
            LocalError: the port is taken, the certificate unusable, this system can't steer,
                or the workers can't start.
        """
        config = self._config
        identity = make_identity(config)
        with contextlib.ExitStack() as closing:
            rows, tcp = await self._bind(closing)
            doors = [closing.enter_context(_door()) for _ in rows]
            board = self._board = Board.create(config.workers + 1)
            closing.callback(self._settle)
            self._count()
            self._job = Job(
                worker=0,
                config=_portion(config),
                chain_pem=identity.certificate.chain_pem,
                key_pem=identity.certificate.key_pem,
                fingerprint=identity.fingerprint,
                secret=read_secret(config) or os.urandom(SECRET_BYTES),
                rows=tuple(tuple(sock.fileno() for sock in row) for row in rows),
                tcp=tuple(sock.fileno() for sock in tcp),
                doors=tuple(door.fileno() for door in doors),
                addresses=tuple(door.getsockname()[:2] for door in doors),
                board=board.fd,
                log_level=logging.getLogger("moqvox").getEffectiveLevel(),
            )
            self.where = Started(
                tuple(sock.getsockname()[:2] for sock in rows[0]), identity.fingerprint, bool(tcp)
            )
            async with scope() as tasks:
                for number in range(config.workers):
                    tasks.create_task(self._keep(number, self._job), name=f"worker-{number}")
                tasks.create_task(self._keep_spare(self._job), name="spare")

    async def _bind(
        self, closing: contextlib.ExitStack
    ) -> tuple[list[list[socket.socket]], list[socket.socket]]:
        """Bind UDP for each worker, and TCP for all, to one port number."""
        config = self._config
        host, port = parse_bind(config.bind)
        ids = connection_ids(config)
        for attempt in range(PORT_ATTEMPTS):
            with contextlib.ExitStack() as bound:
                rows = await bind_workers(host, port, config.workers, ids=ids)
                _enter(bound, rows)
                for address in uncovered(rows[0], Preferred.parse(config.preferred_addresses)):
                    more = await bind_workers(*address, config.workers, ids=ids)
                    _enter(bound, more)
                    rows = [[*row, *extra] for row, extra in zip(rows, more, strict=True)]
                tcp: list[socket.socket] = []
                if config.websocket or config.http:
                    try:
                        tcp = await bind_tcp(host, rows[0][0].getsockname()[1])
                    except LocalError as exc:
                        if port == 0 and attempt < PORT_ATTEMPTS - 1:
                            continue
                        log.warning("no WebSocket, no HTTP: %s", exc)
                    for sock in tcp:
                        bound.enter_context(sock)
                closing.push(bound.pop_all())
                return rows, tcp
        raise AssertionError

    async def _keep(self, number: int, job: Job) -> None:
        """Keep a worker alive: start it, wait for its death, start the next."""
        loop = asyncio.get_running_loop()
        job = msgspec.structs.replace(job, worker=number)
        process = await Process.start(job)
        wait = 0.0
        while True:
            began = loop.time()
            try:
                await self._work(process, number, job)
            finally:
                self.pids.pop(number, None)
                await process.stop(self._config.drain + STOP_TIMEOUT)
            if not self.started.is_set():
                raise LocalError(f"worker {number} did not start: {process.fault or 'it died'}")
            if process.has_failed:
                log.warning("worker %d died: %s; its callers are told", number, process.epitaph)
            else:
                log.info("worker %d has ended, as it was told; another takes its place", number)
            self.restarts += 1
            self._past += self._served_by(number)
            self._count(number)
            is_frail = loop.time() - began < SHORT_LIFE
            await asyncio.sleep(wait if is_frail else 0.0)
            wait = min(max(2 * wait, FIRST_WAIT), LONGEST_WAIT) if is_frail else 0.0
            process = await self._take_spare()

    async def _work(self, process: Process, number: int, job: Job) -> None:
        """Give a process its job, and wait until it is over."""
        if not await process.work(job):
            return
        self.pids[number] = process.pid
        if not self.started.is_set():
            self._ready += 1
            if self._ready == self._config.workers:
                self.started.set()
                log.info("%d workers", self._ready)
        await process.wait()

    async def _keep_spare(self, job: Job) -> None:
        """Keep one process loaded and waiting."""
        await self.started.wait()
        try:
            while True:
                await self._spare_wanted.acquire()
                self._spares.put_nowait(await Process.start(job))
        finally:
            while not self._spares.empty():
                await self._spares.get_nowait().stop(STOP_TIMEOUT)

    async def _take_spare(self) -> Process:
        """Take a process that waits for work."""
        while True:
            process = await self._spares.get()
            self._spare_wanted.release()
            if process.is_alive:
                return process
            await process.stop(0.0)

    def _count(self, dead: int | None = None) -> None:
        """Write our own counters, and forget those of a dead worker."""
        if self._board is not None:
            rows = {"moqvox_relay_worker_restarts_total": float(self.restarts)}
            self._board.write(self._config.workers, rows)
            if dead is not None:
                self._board.write(dead, {})


def _enter(bound: contextlib.ExitStack, rows: list[list[socket.socket]]) -> None:
    for row in rows:
        for sock in row:
            bound.enter_context(sock)


def _door() -> socket.socket:
    """Bind where one worker will listen for its siblings."""
    door = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    door.bind(("127.0.0.1", 0))
    door.listen()
    return door


def _portion(config: Config) -> Config:
    """Divide what is bounded for the whole relay among the workers; they get the secret anyhow."""
    return msgspec.structs.replace(
        config,
        max_sessions=math.ceil(config.max_sessions / config.workers),
        cache_total=math.ceil(config.cache_total / config.workers),
        secret_file=None,
        secret="",
    )
