"""How the `moqvox` command is spelled, and how what it says is read. All of it is here."""

import os
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from interop.access import JwtAccess
from interop.environment import ROOT
from interop.failure import Failure
from interop.matrix import Row, Transport
from interop.ogg import packet_digests
from interop.program import Event, Program, text
from interop.sides import Certificate, RelayWish, Source, Target
from interop.sound import Heard, listen, read_wav
from interop.stage import Endpoint, Stage

__all__ = ["COMMAND", "Moqvox"]

COMMAND: Final = (sys.executable, "-m", "moqvox_client")

COMPONENTS: Final = ("moq", "relay", "client", "certs")

FAILED: Final = 1
"""Exit code of a push or pull that was not let in."""

CARRIERS: Final = {
    Transport.QUIC: "quic",
    Transport.MOQL: "quic",
    Transport.WEBTRANSPORT: "webtransport",
    Transport.WEBSOCKET: "websocket",
}
"""What our programs call the transport that a row asks for."""

REFUSAL: Final = re.compile(
    r"unauthori[sz]ed|refused|forbidden|not (allowed|let in)", re.IGNORECASE
)


class Moqvox:
    """The side under test: this repository's programs, or others with the same command line.

    Args:
        command: what comes before the verb.
    """

    forces_version = True

    def __init__(self, command: Sequence[str] = COMMAND) -> None:
        self._command = tuple(command)
        paths = [str(ROOT), *(str(ROOT / component) for component in COMPONENTS)]
        inherited = os.environ.get("PYTHONPATH")
        self._environment = {
            "PYTHONPATH": os.pathsep.join(paths + ([inherited] if inherited else [])),
            "PYTHONUNBUFFERED": "1",
        }

    def can_play(self, row: Row) -> str | None:
        """Every row is meant for moqvox."""
        del row
        return None

    async def relay(self, stage: Stage, row: Row, wish: RelayWish) -> Endpoint:
        """Start `moqvox relay` and wait for its `ready`."""
        host = f"[{row.host}]" if ":" in row.host else row.host
        arguments = ["--bind", f"{host}:0", "--versions", row.version.value]
        if wish.certificate is None:
            arguments += ["--tls-generate", "localhost"]
        else:
            cert, key = wish.certificate.cert, wish.certificate.key
            arguments += ["--tls-cert", str(cert), "--tls-key", str(key)]
        if isinstance(wish.access, JwtAccess):
            arguments += ["--auth-key", str(wish.access.file)]
        else:
            arguments += ["--public", ""]
        if wish.upstream is not None:
            arguments += ["--upstream", wish.upstream.url(row.transport)]
            arguments += ["--upstream-fingerprint", wish.upstream.fingerprint]
        ready = await (await self.start(stage, "relay", arguments)).event("ready")
        if wish.certificate is not None:
            return Endpoint(text(ready, "address"), root=wish.certificate.ca)
        return Endpoint(text(ready, "address"), text(ready, "fingerprint"))

    async def push(
        self, stage: Stage, row: Row, target: Target, broadcast: str, source: Source
    ) -> Program:
        """Start `moqvox push`."""
        arguments = [*_client(row, target), broadcast]
        if source.packets is not None:
            arguments.append(str(source.packets))
        else:
            duration = f"{source.duration_ms / 1000:g}s"
            arguments += ["--tone", f"{source.tone_hz:g}", "--duration", duration]
        return await self.start(stage, "push", arguments)

    async def push_ended(self, program: Program) -> None:
        """Wait for the end, which comes by itself."""
        await program.finished()
        _check_done(program)

    async def pull(
        self,
        stage: Stage,
        row: Row,
        target: Target,
        broadcast: str,
        out: Path,
        seconds: float | None = None,
    ) -> Program:
        """Start `moqvox pull` and wait until it is connected, or has failed."""
        arguments = [*_client(row, target), broadcast, "--out", str(out)]
        if seconds is not None:
            arguments += ["--duration", f"{seconds:g}s"]
        program = await self.start(stage, "pull", arguments)
        await program.either("connected", "done")
        return program

    def packets_pulled(self, program: Program, out: Path) -> list[str]:
        """Read the packets from the Ogg file that was written."""
        _check_done(program)
        return packet_digests(out)

    def sound_pulled(self, program: Program, out: Path) -> Heard:
        """Listen to the WAV file that was written."""
        _check_done(program)
        return listen(*read_wav(out))

    def catalog_pulled(self, program: Program) -> Event:
        """Return the event that tells what was found in the catalog."""
        found = program.all("catalog")
        if not found:
            raise Failure(f"{program.name} did not report the catalog")
        return found[0]

    async def refused(self, program: Program) -> None:
        """Check for exit code 1, an honest `done` and a message that names the reason."""
        await program.finished(FAILED)
        done = program.all("done")
        if not done or done[-1].fields.get("ok") is not False:
            raise Failure(f'{program.name} was refused, but did not end with "ok": false')
        if not REFUSAL.search(program.stderr):
            raise Failure(f"{program.name} does not say that it was refused: {program.stderr!r}")
        if program.has_traceback:
            raise Failure(f"{program.name} shows a traceback for a refusal")

    async def access(self, folder: Path) -> JwtAccess:
        """Make a key for `--auth-key`."""
        return JwtAccess(folder / "key.jwk", int(time.time()))  # noqa: TID251 - an edge

    async def certificate(self, stage: Stage, folder: Path) -> Certificate:
        """Run `moqvox certs`."""
        program = await self.start(stage, "certs", [str(folder)])
        await program.finished()
        return Certificate(folder / "cert.pem", folder / "key.pem", folder / "ca.pem")

    def check_version(self, program: Program, row: Row) -> None:
        """Compare what a push or pull says about its session."""
        for event in program.all("connected"):
            if text(event, "version") != row.version.value:
                raise Failure(f"{program.name} spoke {text(event, 'version')}")
            if text(event, "transport") != CARRIERS[row.transport]:
                raise Failure(f"{program.name} used {text(event, 'transport')}")

    async def start(self, stage: Stage, verb: str, arguments: Sequence[str]) -> Program:
        """Start any of the command's verbs."""
        argv = [*self._command, verb, *arguments, "--json"]
        return await stage.start(f"moqvox {verb}", argv, self._environment)


def _client(row: Row, target: Target) -> list[str]:
    """Spell where a client goes; the URL comes first."""
    url = target.endpoint.url(row.transport, path=target.path)
    arguments = [url, "--versions", row.version.value, *_trust(target.endpoint)]
    return arguments if target.token is None else [*arguments, "--token", target.token]


def _trust(endpoint: Endpoint) -> list[str]:
    if not endpoint.verify:
        return ["--tls-insecure"]
    if endpoint.root is not None:
        return ["--tls-root", str(endpoint.root)]
    return ["--tls-fingerprint", endpoint.fingerprint]


def _check_done(program: Program) -> None:
    """Check that the program's last word is `done`, and that it is content."""
    if not program.events or program.events[-1].name != "done":
        raise Failure(f"the last event of {program.name} is not done")
    if program.events[-1].fields.get("ok") is not True:
        raise Failure(f'{program.name} ended without "ok": true')
