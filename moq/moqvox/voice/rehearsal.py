"""A call to oneself before the first one to anybody else.

The first time that a process does something takes it several times as long as the second:
modules and codecs are loaded, libraries look up their algorithms, the interpreter learns what
its instructions deal with. A call's first word has to wait for all of that, at both ends and in
the midst of round trips; a rehearsal has it happen before.
"""

import asyncio
import contextvars
import datetime
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

from moqvox.connect import TRANSPORT_LOGGERS, Wallet
from moqvox.driver.scope import scope
from moqvox.errors import MoqError
from moqvox.listen import Server, listen
from moqvox.transport.credentials import ServerCertificate, Verify
from moqvox.voice.calling import call
from moqvox.voice.door import take_sessions
from moqvox.voice.lobby import Lobby
from moqvox.voice.playback import Playback
from moqvox.voice.proof import make_spare
from moqvox.voice.session import Session
from moqvox_certs import generate

__all__ = ["prepare", "prepare_when_idle"]

log = logging.getLogger("moqvox.voice")

HOST: Final = "127.0.0.1"
SCHEMES: Final = ("moqt", "https", "moqt")
"""Of the calls; the last of them is by somebody who was here before."""

LIMIT: Final = 2.0
"""Seconds that it may take; it is worth no more."""

IDLE: Final = 0.25
"""Seconds without a caller after which a server has time for it. Callers of one that was killed
are back sooner, and are not to wait for it."""

RATE: Final = 48_000
WORD: Final = bytes(2 * RATE // 50 * 3)
"""Three frames of silence."""

LOGGERS: Final = (
    "moqvox.connect",
    "moqvox.driver",
    "moqvox.listen",
    "moqvox.voice",
    *TRANSPORT_LOGGERS,
)

_rehearses = contextvars.ContextVar("rehearses", default=False)
_begun = False


async def prepare() -> None:
    """Get this process ready for its first call, so that its first word is heard sooner.

    It calls itself over the loopback interface, on ports of the system's choice, which takes
    about a quarter of a second, mostly spent waiting. Await it when a program starts, before
    there is a call to make or to `attend` to; `serve` does so by itself. A process needs it
    once: the second time does nothing. Where there is no loopback it does without.
    """
    global _begun  # what is warm is the process
    if _begun:
        return
    _begun = True
    rehearsal = contextvars.copy_context()
    rehearsal.run(_rehearses.set, True)
    with _unheard():
        async with scope() as tasks:
            tasks.create_task(_rehearse(), name="rehearsal", context=rehearsal)
    make_spare()


async def prepare_when_idle(is_busy: Callable[[], bool]) -> None:
    """Prepare once nobody has called for a moment."""
    waits = True
    while waits:
        await asyncio.sleep(IDLE)
        waits = is_busy()
    await prepare()


async def _rehearse() -> None:
    try:
        async with asyncio.timeout(LIMIT), _stage() as (server, verify):
            wallet = Wallet()
            where = f"{HOST}:{server.addresses[0][1]}"
            for number, scheme in enumerate(SCHEMES):
                await _make_call(f"{scheme}://{where}/", verify, wallet, listens=not number)
    except* (MoqError, OSError) as failed:
        log.debug("no rehearsal: %s", "; ".join(map(str, failed.exceptions)))
    except* Exception as failed:
        log.warning("the rehearsal hit a bug", exc_info=failed)


@asynccontextmanager
async def _stage() -> AsyncIterator[tuple[Server, Verify]]:
    """Listen where nobody else calls, as somebody whom only we trust."""
    made = generate([HOST], datetime.datetime.now(datetime.UTC))
    tls = ServerCertificate(made.cert_pem, made.key_pem)
    lobby = Lobby(grace=0.0)
    async with listen(f"{HOST}:0", tls=tls) as server, scope() as tasks:
        letting_in = tasks.create_task(take_sessions(server, lobby), name="accept")
        answering = tasks.create_task(_answer_all(lobby), name="agent")
        yield server, Verify.authority(made.ca_pem)
        letting_in.cancel()
        answering.cancel()
        lobby.close()


async def _make_call(url: str, verify: Verify, wallet: Wallet, *, listens: bool) -> None:
    """Say a word and have the answer; `listens`: hear it to its end, in real time."""
    async with (
        call(url, verify=verify, wallet=wallet, websocket=False) as made,
        scope() as tasks,
    ):
        playback = Playback(made, lambda _pcm: None)
        playing = tasks.create_task(playback.run(), name="playback")
        speech = made.speak(sample_rate=RATE)
        speech.write(WORD)
        speech.finish()
        await speech.receipt()
        answer = await playback.wait_account(0)
        if listens:
            await answer.over.wait()
        playing.cancel()


async def _answer_all(lobby: Lobby) -> None:
    async with asyncio.TaskGroup() as tasks:
        async for session in lobby.sessions():
            tasks.create_task(_answer(session), name="answer")


async def _answer(session: Session) -> None:
    async for utterance in session.utterances():
        response = session.respond()
        async for packet in utterance.opus():
            await response.write_packet(packet.opus)
        response.finish()


@contextmanager
def _unheard() -> Iterator[None]:
    """Keep what the rehearsal has to say out of the logs; what others say meanwhile is kept."""

    def passes(_record: logging.LogRecord) -> bool:
        return not _rehearses.get()

    loggers = [logging.getLogger(name) for name in LOGGERS]
    for logger in loggers:
        logger.addFilter(passes)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(passes)
