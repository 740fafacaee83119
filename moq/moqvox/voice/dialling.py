"""Opening sessions to URLs, one after another, for a call or an agent that keeps its connection."""

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import msgspec

from moqvox.connect import Wallet, open_session
from moqvox.connect import dial as dial_connection
from moqvox.driver import Driver
from moqvox.driver.scope import scope
from moqvox.errors import LocalError
from moqvox.model import cache
from moqvox.transport.credentials import Verify
from moqvox.transport.interface import Connection
from moqvox.transport.urge import Urge
from moqvox.url import Address, parse_url
from moqvox.voice.ahead import speak_first
from moqvox.voice.redial import Dial

__all__ = ["Dialler", "dialling"]


class Dialler(msgspec.Struct, frozen=True, kw_only=True):
    """How sessions are opened; arguments as of `moqvox.voice.call`.

    Attributes:
        on_begun: is given the first session in the moment when its server has answered, before
            `dialling` returns it, so that what is known by then leaves with the first packets.
            Only raw QUIC to a first address, in the version that is wanted most, is as quick.
    """

    verify: Verify | None
    token: str
    versions: Sequence[str]
    timeout: float
    origin_id: int
    websocket: bool = False
    wallet: Wallet | None = None
    early_speech: bool = True
    urge: Urge | None = None
    on_begun: Callable[[Driver], None] | None = None


@asynccontextmanager
async def dialling(dialler: Dialler) -> AsyncIterator[Dial]:
    """Open sessions to URLs for as long as the block runs; then all are closed.

    Only the first may speak before its server has answered: whoever takes another one for there
    gives up the one before. Later ones take up the TLS session of an earlier one, if they can.
    """
    async with scope() as tasks:
        sessions = _Sessions(dialler, tasks)
        try:
            yield sessions.dial
        finally:
            for driver in sessions.drivers:
                driver.close()
            for driver in sessions.drivers:
                await driver.connection.wait_closed()


class _Sessions:
    """Those that are open, the latest last."""

    def __init__(self, dialler: Dialler, tasks: asyncio.TaskGroup) -> None:
        self.drivers: list[Driver] = []
        self._dialler = dialler
        self._tasks = tasks
        self._purse = dialler.wallet or Wallet()

    async def dial(self, url: str) -> Driver:
        """Open a session."""
        dialler = self._dialler
        address = parse_url(url, dialler.token)
        is_first = dialler.on_begun is not None and not self.drivers
        connection = await dial_connection(
            address,
            verify=dialler.verify or Verify(),
            versions=dialler.versions,
            timeout=dialler.timeout,
            websocket=dialler.websocket,
            wallet=self._purse,
            early=not self.drivers,
            urge=dialler.urge,
            foresee=functools.partial(self._foresee, address) if is_first else None,
        )
        for driver in self.drivers:
            if driver.connection is connection:
                return driver
        try:
            driver = self._build(connection, address)
        except LocalError:
            connection.close()
            raise
        self._start(driver, address)
        return driver

    def _build(self, connection: Connection, address: Address) -> Driver:
        return open_session(
            connection,
            path=address.path,
            origin_id=self._dialler.origin_id,
            budget=cache.Budget(),
        )

    def _start(self, driver: Driver, address: Address) -> None:
        driver.start(self._tasks)
        wallet = self._dialler.wallet
        if wallet is not None and not self.drivers:
            speak_first(driver, wallet, address, early=self._dialler.early_speech)
        self.drivers[:] = [known for known in self.drivers if not known.closed] + [driver]

    def _foresee(self, address: Address, connection: Connection) -> Callable[[], None]:
        """Build the first session before its server answers, and begin with the answer."""
        try:
            driver: Driver | None = self._build(connection, address)
        except LocalError:
            driver = None  # the session that is built after the answer says so again

        def begin() -> None:
            on_begun = self._dialler.on_begun
            if driver is not None and on_begun is not None and not self.drivers:
                self._start(driver, address)
                on_begun(driver)

        return begin
