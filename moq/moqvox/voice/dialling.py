"""Opening sessions to URLs, one after another, for a call or an agent that keeps its connection."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from moqvox.connect import Wallet, open_session
from moqvox.connect import dial as dial_connection
from moqvox.driver import Driver
from moqvox.driver.scope import scope
from moqvox.errors import LocalError
from moqvox.model import cache
from moqvox.transport.credentials import Verify
from moqvox.transport.urge import Urge
from moqvox.url import parse_url
from moqvox.voice.ahead import speak_first
from moqvox.voice.redial import Dial

__all__ = ["dialling"]


@asynccontextmanager
async def dialling(
    *,
    verify: Verify | None,
    token: str,
    versions: Sequence[str],
    timeout: float,
    origin_id: int,
    websocket: bool = False,
    wallet: Wallet | None = None,
    early_speech: bool = True,
    urge: Urge | None = None,
) -> AsyncIterator[Dial]:
    """Open sessions to URLs for as long as the block runs; then all are closed.

    Only the first may speak before its server has answered: whoever takes another one for there
    gives up the one before. Later ones take up the TLS session of an earlier one, if they can.
    """
    drivers: list[Driver] = []
    purse = wallet or Wallet()
    async with scope() as tasks:

        async def dial(url: str) -> Driver:
            address = parse_url(url, token)
            connection = await dial_connection(
                address,
                verify=verify or Verify(),
                versions=versions,
                timeout=timeout,
                websocket=websocket,
                wallet=purse,
                early=not drivers,
                urge=urge,
            )
            try:
                driver = open_session(
                    connection, path=address.path, origin_id=origin_id, budget=cache.Budget()
                )
            except LocalError:
                connection.close()
                raise
            driver.start(tasks)
            if wallet is not None and not drivers:
                speak_first(driver, wallet, address, early=early_speech)
            drivers[:] = [known for known in drivers if not known.closed] + [driver]
            return driver

        try:
            yield dial
        finally:
            for driver in drivers:
                driver.close()
            for driver in drivers:
                await driver.connection.wait_closed()
