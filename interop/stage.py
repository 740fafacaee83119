"""Where a case plays: its folder, the programs it started, their orderly end."""

import asyncio
import os
import urllib.parse
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import msgspec

from interop.matrix import Transport
from interop.program import Program

__all__ = ["Endpoint", "Stage", "open_stage"]

SCHEMES: Final = {
    Transport.QUIC: "moqt",
    Transport.MOQL: "moql",
    Transport.WEBTRANSPORT: "https",
    Transport.WEBSOCKET: "wss",
}

FOREIGN_PREFIX: Final = "MOQVOX_"
"""Variables of the person who runs the cases must not change what they show."""


class Endpoint(msgspec.Struct, frozen=True):
    """A server to dial, and how to trust it.

    Attributes:
        address: host and port.
        fingerprint: SHA-256 of its certificate, hex; empty when `root` is to be trusted.
        root: PEM file of the CA, instead of the fingerprint.
        verify: False takes any certificate.
    """

    address: str
    fingerprint: str = ""
    root: Path | None = None
    verify: bool = True

    def url(self, transport: Transport, *, path: str = "", token: str | None = None) -> str:
        """Write the URL that selects a transport; a token goes where peers put it."""
        query = "?" + urllib.parse.urlencode({"jwt": token}) if token else ""
        return f"{SCHEMES[transport]}://{self.address}/{path}{query}"


class Stage:
    """The programs of one case. Made by `open_stage`."""

    def __init__(self, group: asyncio.TaskGroup, folder: Path) -> None:
        self.folder = folder
        self.programs: list[Program] = []
        self._group = group
        inherited = os.environ.items()
        self._environment = {k: v for k, v in inherited if not k.startswith(FOREIGN_PREFIX)}

    async def start(
        self, name: str, argv: Sequence[str], environment: Mapping[str, str]
    ) -> Program:
        """Start a program that ends, at the latest, with the case.

        Args:
            environment: added to ours.
        """
        program = await Program.start(name, list(argv), self._environment | dict(environment))
        self.programs.append(program)
        self._group.create_task(program.read())
        return program

    async def close(self) -> None:
        """End what still runs, the last started first."""
        for program in reversed(self.programs):
            program.terminate()
        for program in self.programs:
            await program.stop()


@asynccontextmanager
async def open_stage(folder: Path) -> AsyncIterator[Stage]:
    """Set a stage, and clear it whatever happens on it."""
    async with asyncio.TaskGroup() as group:
        stage = Stage(group, folder)
        try:
            yield stage
        finally:
            await stage.close()
