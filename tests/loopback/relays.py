"""Relays on loopback."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from moqvox.driver.scope import scope
from moqvox.transport.credentials import Verify
from moqvox_relay.config import Config
from moqvox_relay.relay import Relay

__all__ = ["running", "settings", "trust", "url"]


def settings(**options: object) -> Config:
    options = {
        "bind": "127.0.0.1:0",
        "tls_generate": ("localhost",),
        "public": ("",),
        "http": False,
        "websocket": False,
        **options,
    }
    return Config(**options)


@contextlib.asynccontextmanager
async def running(**options: object) -> AsyncIterator[Relay]:
    """Run a relay until the block is left."""
    relay = Relay(settings(**options))
    async with scope() as tasks:
        serving = tasks.create_task(relay.run())
        await relay.started.wait()
        try:
            yield relay
        finally:
            serving.cancel()


def url(relay: Relay, path: str = "/", scheme: str = "moqt") -> str:
    return f"{scheme}://127.0.0.1:{relay.where.addresses[0][1]}{path}"


def trust(relay: Relay) -> Verify:
    return Verify.pinned([relay.where.fingerprint])


async def until(condition, patience: float = 5.0) -> None:
    """Wait for a condition of another task's; polls, as nothing rings for it."""
    async with asyncio.timeout(patience):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)
