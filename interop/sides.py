"""What a case asks of the side under test, whoever plays it."""

from pathlib import Path
from typing import Protocol

import msgspec

from interop.matrix import Row
from interop.program import Event, Program
from interop.sound import Heard
from interop.stage import Endpoint, Stage

__all__ = ["Access", "Certificate", "RelayWish", "Side", "Source", "Target"]


class Source(msgspec.Struct, frozen=True):
    """What is pushed: a tone, or packets that were encoded before.

    Attributes:
        packets: an Ogg-Opus file; the tone is then only what it holds.
        recipe: the same packets as the peer's encoder printed them.
    """

    tone_hz: float
    duration_ms: int
    packets: Path | None = None
    recipe: Path | None = None


class Certificate(msgspec.Struct, frozen=True):
    """Files of a server's identity, and of the CA that vouches for it."""

    cert: Path
    key: Path
    ca: Path


class Access(Protocol):
    """Makes tokens that a relay takes, or must not take."""

    def token(self, *, root: str, publish: bool, subscribe: bool) -> str:
        """Grant access below `root`."""

    def forged(self, *, root: str) -> str:
        """Grant everything, signed with a key that the relay does not know."""

    def expired(self, *, root: str) -> str:
        """Grant everything, until an hour ago."""


class Target(msgspec.Struct, frozen=True):
    """Where a client goes, and with what proof."""

    endpoint: Endpoint
    path: str = ""
    token: str | None = None


class RelayWish(msgspec.Struct, frozen=True):
    """How a relay is to be set up; everything open and alone by default."""

    access: Access | None = None
    certificate: Certificate | None = None
    upstream: Endpoint | None = None


class Side(Protocol):
    """The programs under test."""

    def can_play(self, row: Row) -> str | None:
        """Say why a row can't be tried with this side; None when it can."""

    async def relay(self, stage: Stage, row: Row, wish: RelayWish) -> Endpoint:
        """Start a relay and wait until it can be dialled."""

    async def push(
        self, stage: Stage, row: Row, target: Target, broadcast: str, source: Source
    ) -> Program:
        """Start to publish a source."""

    async def push_ended(self, program: Program) -> None:
        """Check that all was published, and that the publisher ends."""

    async def pull(
        self,
        stage: Stage,
        row: Row,
        target: Target,
        broadcast: str,
        out: Path,
        seconds: float | None = None,
    ) -> Program:
        """Start to subscribe; returns once it waits for the broadcast, or has failed.

        `seconds`: leave after so much audio, not at the broadcast's end.
        """

    def packets_pulled(self, program: Program, out: Path) -> list[str]:
        """Name the packets that a finished pull has stored."""

    def sound_pulled(self, program: Program, out: Path) -> Heard:
        """Measure what a finished pull has stored."""

    def catalog_pulled(self, program: Program) -> Event:
        """Return the pull's event about the audio that the catalog offers."""

    async def refused(self, program: Program) -> None:
        """Check that a push or pull ended because it was not let in, and said so."""

    async def access(self, folder: Path) -> Access:
        """Make a secret and what derives from it."""

    async def certificate(self, stage: Stage, folder: Path) -> Certificate:
        """Make a CA and a leaf for this machine."""

    def check_version(self, program: Program, row: Row) -> None:
        """Check that what one of its programs spoke is what the row says."""

    @property
    def forces_version(self) -> bool:
        """Whether it keeps to the row's version, so that its peers must have spoken that."""
