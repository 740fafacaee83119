"""How the programs for moq-rs are started; what they are is in `peers/moqrs`."""

import re
from collections.abc import Sequence

from interop.environment import ROOT, python_of
from interop.failure import Failure
from interop.matrix import Version
from interop.program import Program
from interop.stage import Endpoint, Stage

__all__ = ["PEER", "check_version", "start", "subscriptions", "tls_arguments"]

PEER = "moq-rs"

CONNECTED = re.compile(r"connected version=(\S+)")
SUBSCRIBED = re.compile(
    r"subscribed started broadcast=(\S+) track=(\S+) request=Subscribe \{ id: (\d+)"
)
COLOR = re.compile(r"\x1b\[[0-9;]*m")


def tls_arguments(endpoint: Endpoint) -> list[str]:
    """Spell how a program for moq-rs is to trust a server."""
    if not endpoint.verify:
        return ["--tls-disable-verify"]
    if endpoint.root is not None:
        return ["--tls-root", str(endpoint.root)]
    return ["--tls-fingerprint", endpoint.fingerprint]


async def start(
    stage: Stage, verb: str, arguments: Sequence[str], *, name: str | None = None
) -> Program:
    """Start one of the programs, with the interpreter of the peer's environment.

    Raises:
        EnvironmentUnavailable: the environment has not been made and can't be.
    """
    argv = [str(python_of(PEER)), "-m", f"interop.peers.moqrs.{verb}", *arguments]
    argv += ["--peer-log", "info"]
    environment = {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "NO_COLOR": "1"}
    return await stage.start(name or f"moq-rs {verb}", argv, environment)


def check_version(program: Program, version: Version) -> None:
    """Check which version a client spoke, by moq-rs' own log; its API does not tell.

    Raises:
        Failure: another version, or nothing is said about it.
    """
    if not program.all("ready"):
        return
    spoken = CONNECTED.findall(COLOR.sub("", program.head))
    if spoken != [version.value]:
        raise Failure(f"{program.name} spoke {spoken}, not {version.value}")


def subscriptions(program: Program) -> dict[tuple[str, str], int]:
    """Tell by moq-rs' own log which broadcast and track it was asked for with which number."""
    found = SUBSCRIBED.findall(COLOR.sub("", program.head))
    return {(broadcast, track): int(number) for broadcast, track, number in found}
