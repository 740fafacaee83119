"""What a case is given: its row, and verbs to start both sides' programs."""

import os
import secrets
import sys
from pathlib import Path
from typing import Final

from interop import moqrs, npm
from interop.control import start_server
from interop.environment import ROOT
from interop.failure import Skipped
from interop.matrix import Row, Transport
from interop.moqvox import COMPONENTS, Moqvox
from interop.ogg import write_opus
from interop.program import Program
from interop.recipe import read_recipe
from interop.sides import Access, RelayWish, Side, Source, Target
from interop.sound import Heard, listen, read_raw
from interop.stage import Endpoint, Stage

__all__ = ["Scene"]

TONE_HZ: Final = 660.0
DURATION_MS: Final = 1500
PEER_RATE: Final = 48_000


class Scene:
    """One run of one case.

    Attributes:
        row: what is being shown.
        side: the programs under test.
        room: a broadcast name that no other run uses, as they may share a relay.
    """

    def __init__(self, row: Row, stage: Stage, side: Side) -> None:
        self.row = row
        self.side = side
        self.room = f"room/{secrets.token_hex(4)}"
        self._stage = stage
        self._ours: list[Endpoint] = []
        self._dialled: list[Program] = []

    @property
    def folder(self) -> Path:
        """A folder of its own, which goes when the case is over."""
        return self._stage.folder

    async def relay(self, wish: RelayWish | None = None) -> Endpoint:
        """Start a relay of the side under test."""
        endpoint = await self.side.relay(self._stage, self.row, wish or RelayWish())
        self._ours.append(endpoint)
        return endpoint

    async def peer_relay(self, access: Access | None = None) -> Endpoint:
        """Start the peer's server, as a relay."""
        return await start_server(self._stage, self.row, access)

    async def peer(
        self,
        verb: str,
        target: Endpoint | Target,
        *arguments: str,
        transport: Transport | None = None,
        name: str | None = None,
    ) -> Program:
        """Start one of the peer's programs against a server, and return at once."""
        to = target if isinstance(target, Target) else Target(target)
        chosen = transport or self.row.transport
        url = to.endpoint.url(chosen, path=to.path, token=to.token)
        told = [url, *moqrs.tls_arguments(to.endpoint), *arguments]
        program = await moqrs.start(self._stage, verb, told, name=name)
        if to.endpoint in self._ours:
            self._dialled.append(program)
        return program

    async def tool(self, module: str, *arguments: str) -> Program:
        """Start a module of this folder that uses moqvox as a library."""
        paths = os.pathsep.join([str(ROOT), *(str(ROOT / component) for component in COMPONENTS)])
        argv = [sys.executable, "-m", f"interop.{module}", *arguments]
        return await self._stage.start(module, argv, {"PYTHONPATH": paths})

    async def push(self, target: Endpoint | Target, broadcast: str, source: Source) -> Program:
        """Start to publish with the side under test."""
        to = target if isinstance(target, Target) else Target(target)
        return await self.side.push(self._stage, self.row, to, broadcast, source)

    async def pull(
        self,
        target: Endpoint | Target,
        broadcast: str,
        out: Path,
        *,
        seconds: float | None = None,
    ) -> Program:
        """Start to subscribe with the side under test; it is connected, or has failed."""
        to = target if isinstance(target, Target) else Target(target)
        return await self.side.pull(self._stage, self.row, to, broadcast, out, seconds)

    async def browser(
        self, verb: str, target: Endpoint, *arguments: str, name: str | None = None
    ) -> Program:
        """Start a program that drives Chromium with packages from npm."""
        return await npm.start(self._stage, self.row, verb, target, arguments, name=name)

    async def moqvox(self, verb: str, *arguments: str) -> Program:
        """Start one of our programs that only this side has."""
        if not isinstance(self.side, Moqvox):
            raise Skipped(f"only moqvox has {verb}")
        return await self.side.start(self._stage, verb, arguments)

    def check_versions(self) -> None:
        """Check that every session with the side under test was of the row's version.

        Raises:
            Failure: one was not, so that the case has shown something else.
        """
        for program in self._dialled if self.side.forces_version else ():
            moqrs.check_version(program, self.row.version)
        for program in self._stage.programs:
            self.side.check_version(program, self.row)

    async def certificate_relay(self) -> Endpoint:
        """Start a relay whose certificate is under a CA of its own."""
        made = await self.side.certificate(self._stage, self.folder / "tls")
        return await self.relay(RelayWish(certificate=made))

    def tone(self, duration_ms: int = DURATION_MS) -> Source:
        """Describe a tone that the side under test makes itself."""
        return Source(TONE_HZ, duration_ms)

    async def packets(self) -> tuple[Source, list[str]]:
        """Have the peer's codec encode a tone: a source to push, and its packets' digests."""
        recipe = self.folder / "recipe.jsonl"
        arguments = ["--tone", str(TONE_HZ), "--duration-ms", str(DURATION_MS)]
        encoder = await moqrs.start(self._stage, "opus_encode", arguments)
        await encoder.finished()
        head, packets, digests = read_recipe(encoder.events, recipe)
        file = self.folder / "source.opus"
        write_opus(file, head, packets)
        return Source(TONE_HZ, DURATION_MS, file, recipe), digests

    def heard_by_peer(self, pcm: Path) -> Heard:
        """Measure what the peer decoded."""
        return listen(PEER_RATE, read_raw(pcm))
