"""A relay that somebody else runs, at a URL: what can be shown with nothing but that."""

import urllib.parse
from pathlib import Path
from typing import Final

from interop.control import Control
from interop.failure import Skipped
from interop.matrix import Row, Version
from interop.sides import Access, Certificate, RelayWish
from interop.stage import SCHEMES, Endpoint, Stage

__all__ = ["External"]

SHOWN: Final = frozenset(
    {
        "relay",
        "many-subscribers",
        "late-subscriber",
        "ended-track",
        "fetch",
        "gone-and-back",
        "replaced-in-session",
        "killed-and-back",
    }
)


class External(Control):
    """A relay at a URL; it takes what version it likes.

    Args:
        url: https:// for WebTransport, moqt:// or moql:// for raw QUIC.
        verify: False takes any certificate.
        root: PEM file of the CA to trust.
    """

    def __init__(self, url: str, *, verify: bool = True, root: Path | None = None) -> None:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in SCHEMES.values() or not parts.hostname:
            known = ", ".join(f"{scheme}://" for scheme in SCHEMES.values())
            raise ValueError(f"{url!r} is no URL of a relay; it has to begin with {known}")
        self._scheme = parts.scheme
        self._endpoint = Endpoint(parts.netloc, root=root, verify=verify)

    def can_play(self, row: Row) -> str | None:
        """Refuse what needs more than a relay, and other transports than the URL's."""
        if row.case not in SHOWN:
            return "needs programs of ours, not just a relay"
        if row.version is not Version.LITE_06:
            return "a relay at a URL can't be told which version to use"
        if SCHEMES[row.transport] != self._scheme or ":" in row.host:
            return f"the URL is {self._scheme}://"
        return None

    async def relay(self, stage: Stage, row: Row, wish: RelayWish) -> Endpoint:
        """Return the relay that is there."""
        if wish != RelayWish():
            raise Skipped("the relay is as it is")
        return self._endpoint

    async def access(self, folder: Path) -> Access:
        """Do nothing: only the relay's owner makes tokens."""
        raise Skipped("tokens are the relay's owner's to make")

    async def certificate(self, stage: Stage, folder: Path) -> Certificate:
        """Do nothing: only the relay's owner has its key."""
        raise Skipped("the certificate is the relay's owner's to make")
