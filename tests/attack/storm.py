"""Mutated first packets by the hundred thousand: a listener, without the network between.

They go through everything that a datagram from outside goes through; what would be answered is
counted. A connection that the engine can't go on with is counted apart: nobody is harmed by it,
but it is a bug of somebody's.
"""

import asyncio
import datetime
import logging
import time
from dataclasses import dataclass

from tests.attack.attacker import RAW, Crowd
from tests.attack.fuzz import mutate

from moqvox.transport.aioquic import Limits, listen
from moqvox.transport.credentials import ServerCertificate
from moqvox_certs import generate

AT_ONCE = 16
"""Fewer than wait at the door, so that none is lost there."""

PATIENT = Limits(
    handshake_timeout=0.2,
    max_half_open=10_000,
    retry_above_half_open=10_000,
    max_unproven_per_prefix=10_000,
    handshakes_per_prefix=1e9,
    handshake_burst_per_prefix=1e9,
    unproven_per_second=1e9,
    unproven_burst=1e9,
)
"""Nobody is asked for a proof: each packet is read to its end."""


@dataclass(frozen=True)
class Storm:
    """What came of it; `opened` packets began a handshake."""

    datagrams: int
    answers: int
    opened: int
    uncaught: tuple[str, ...]
    broken: tuple[str, ...]
    seconds: float


class Records(logging.Handler):
    """Keeps warnings that the engine failed."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if "engine" in record.getMessage():
            self.texts.append(record.getMessage())


async def _accept(listener) -> None:
    while True:
        await listener.accept()


async def _storm(count: int, seed: int, broken: Records) -> Storm:
    loop = asyncio.get_running_loop()
    uncaught: list[str] = []
    loop.set_exception_handler(lambda _loop, context: uncaught.append(str(context)))
    made = generate(["localhost"], datetime.datetime.now(datetime.UTC))
    identity = ServerCertificate(made.cert_pem, made.key_pem)
    listener = await listen("127.0.0.1", 0, protocols=[RAW], certificate=identity, limits=PATIENT)
    endpoint, answers, opened = listener._endpoint, [0], [0]
    add = endpoint.add

    def count_answer(*_):
        answers[0] += 1

    def count_opened(*arguments):
        opened[0] += 1
        add(*arguments)

    endpoint.send, endpoint.add = count_answer, count_opened
    start = time.process_time()
    reception = endpoint._reception
    accepting = loop.create_task(_accept(listener))
    with Crowd(("127.0.0.1", 1), seed=seed) as crowd:
        for number in range(count):
            datagram = mutate(crowd, number), (crowd.source(), 40_000), None
            reception._take(datagram, loop.time(), {})
            if number % AT_ONCE == AT_ONCE - 1 or number == count - 1:
                while reception._door or reception._backlog:  # noqa: ASYNC110  # turns of work
                    await asyncio.sleep(0)
    seconds = time.process_time() - start
    accepting.cancel()
    endpoint.close()
    return Storm(count, answers[0], opened[0], tuple(uncaught), tuple(broken.texts), seconds)


def storm(count: int, seed: int) -> Storm:
    """Let so many mutated datagrams come; the seed makes them the same each time."""
    records = Records()
    logger = logging.getLogger("moqvox.transport.aioquic")
    logger.addHandler(records)
    try:
        return asyncio.run(_storm(count, seed, records))
    finally:
        logger.removeHandler(records)
