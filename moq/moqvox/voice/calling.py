"""Call an agent: a call, and what keeps it connected."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from moqvox.connect import Wallet
from moqvox.driver.scope import scope
from moqvox.model import origin
from moqvox.transport.credentials import Verify
from moqvox.transport.urge import Urge
from moqvox.voice.call import PATIENCE, Call
from moqvox.voice.dialling import Dialler, dialling
from moqvox.voice.keep import KEEP, Keep
from moqvox.voice.proof import make_spare
from moqvox.voice.redial import Redial
from moqvox.wire.version import LITE_ALPNS as ALPNS

__all__ = ["call"]

log = logging.getLogger("moqvox.voice")

LAST_WORDS: Final = 1.0
"""Seconds a leaving caller gives its last events to arrive."""


@asynccontextmanager
async def call(
    url: str | Sequence[str],
    *,
    verify: Verify | None = None,
    token: str = "",
    versions: Sequence[str] = ALPNS,
    timeout: float = 10.0,
    websocket: bool = True,
    patience: float = PATIENCE,
    keep: Keep = KEEP,
    wallet: Wallet | None = None,
    early_speech: bool = True,
) -> AsyncIterator[Call]:
    """Call an agent, directly or through a relay; hang up when the block is left.

    The block begins at once: what is spoken while the connection is still being made is
    kept and sent first. When the connection is lost, another one is made, and the call goes
    on; see docs/voice-protocol.md, "Resuming".

    Args:
        url: the agent's or the relay's; several lead to the same agent, the first is wanted
            most, the others are for when it is gone.
        verify: whom to trust; None trusts the system's roots.
        token: added to the URL as `?jwt=`.
        versions: ALPN names offered, most wanted first.
        timeout: seconds for a handshake.
        websocket: for `https://`, go over TCP where UDP is blocked.
        patience: seconds to try to get back to the agent; 0 ends the call with its connection.
        keep: what is kept for another connection.
        wallet: what earlier calls left, and what this one leaves: with it, the next call over
            raw QUIC speaks in its first packet. Then a server that can't be reached is told as
            the call's end.
        early_speech: the first words go in that packet, too; whoever records it may play them
            once more to a server that shares keys but not memory with the one called. False:
            they follow a round trip later, when the server has proved itself.

    Raises:
        MoqError: no server can be reached at first. One that ends the call later ends the
            iterations and fails what waits with `SessionClosed`; `Call.ended` has the reason.
    """
    loop = asyncio.get_running_loop()
    begun_at, origin_id = loop.time(), origin.make_id()
    built: asyncio.Future[Call] = loop.create_future()
    urge = Urge()
    urls = [url] if isinstance(url, str) else list(url)
    async with (
        dialling(
            Dialler(
                verify=verify,
                token=token,
                versions=versions,
                timeout=timeout,
                origin_id=origin_id,
                websocket=websocket,
                wallet=wallet,
                early_speech=early_speech,
                urge=urge,
                on_begun=lambda driver: built.result().begin(driver),
            )
        ) as dial,
        scope() as tasks,
    ):
        redial = Redial(urls, dial, patience=patience, urge=urge)
        line = tasks.create_task(_keep(built, redial), name="call")
        await asyncio.sleep(0)  # the first packet leaves; the call is made while it is on its way
        made = Call(keep=keep, patience=patience, origin_id=origin_id, begun_at=begun_at)
        made.redial = redial
        built.set_result(made)
        try:
            yield made
        finally:
            made.outbox.finish()
            await _last_words(made)
            line.cancel()
            made.close()
            make_spare()


async def _keep(built: asyncio.Future[Call], redial: Redial) -> None:
    """Keep a call connected, which is built while its first packet is on its way."""
    first = await redial.first()
    made = await built
    why = await redial.keep(
        first, made.hold, settled=made.wait_answered, may_return=lambda: made.may_resume
    )
    made.over(why)


async def _last_words(made: Call) -> None:
    """Let the last receipts and reports leave before the connection closes."""
    if made.driver is None:
        return
    try:
        async with asyncio.timeout(LAST_WORDS):
            await made.driver.wait_served()
    except TimeoutError:
        log.debug("hung up before the other side had everything")
