"""How the programs for moq-rs are started; what they are is in `peers/moqrs`."""

from collections.abc import Sequence

from interop.environment import ROOT, python_of
from interop.program import Program
from interop.stage import Endpoint, Stage

__all__ = ["PEER", "start", "tls_arguments"]

PEER = "moq-rs"


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
    environment = {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    return await stage.start(name or f"moq-rs {verb}", argv, environment)
