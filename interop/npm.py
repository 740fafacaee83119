"""How the programs for packages from npm are started; what they are is in `peers/npm`.

They drive a headless Chromium, with a page that bundles the packages. moqvox serves no
moq-lite-06 to them: what is on npm ends with 05.
"""

import shutil
from collections.abc import Sequence
from typing import Final

from interop.environment import ROOT, EnvironmentUnavailable, modules_of
from interop.failure import Failure
from interop.matrix import Row, Transport, Version
from interop.program import Program, text
from interop.stage import Endpoint, Stage

__all__ = ["PEER", "check_version", "chromium", "start"]

PEER: Final = "npm"

PROGRAMS: Final = ROOT / "interop" / "peers" / "npm"
BROWSERS: Final = ("chromium", "chromium-browser", "google-chrome")


def chromium() -> str:
    """Find the browser.

    Raises:
        EnvironmentUnavailable: there is none.
    """
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        raise EnvironmentUnavailable("Chromium is not on the path (Debian package `chromium`)")
    return found


async def start(
    stage: Stage,
    row: Row,
    verb: str,
    target: Endpoint,
    arguments: Sequence[str],
    *,
    name: str | None = None,
) -> Program:
    """Start one of the programs, in a browser of its own.

    On a WebTransport row its client pins the certificate; on a WebSocket row it has no
    WebTransport, and its browser takes any certificate, as no page can pin one for TLS.

    Raises:
        EnvironmentUnavailable: no Chromium, no Node, or the packages can't be installed.
    """
    environment = {
        "INTEROP_NODE_MODULES": str(modules_of(PEER)),
        "INTEROP_CHROMIUM": chromium(),
    }
    argv = ["node", str(PROGRAMS / f"{verb}.mjs"), f"https://{target.address}/", *arguments]
    argv += ["--tls-fingerprint", target.fingerprint]
    if row.transport is Transport.WEBSOCKET:
        argv += ["--websocket"]
    return await stage.start(name or f"npm {verb}", argv, environment)


def check_version(program: Program, version: Version) -> None:
    """Check which version a client says that it spoke.

    Raises:
        Failure: another version, or it was never connected.
    """
    spoken = [text(event, "version") for event in program.all("session")]
    if spoken != [version.value]:
        raise Failure(f"{program.name} spoke {spoken}, not {version.value}")
