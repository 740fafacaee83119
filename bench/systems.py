"""The servers that are compared, and how each is started as a process of its own."""

import os
import socket
import sys
from collections.abc import Callable, Mapping
from enum import Enum
from pathlib import Path
from typing import Final

import msgspec
from interop.environment import ROOT, EnvironmentUnavailable, python_of

__all__ = ["SYSTEMS", "Command", "Files", "System", "Work", "python_path"]

LIMIT_S: Final = 600
"""When moq-rs' programs end by themselves, should nobody end them before."""


class Work(Enum):
    """What a server is asked to do."""

    RELAY = "relay"
    ECHO = "echo"


class Files(msgspec.Struct, frozen=True):
    """The certificate that every server uses, and its key: PEM."""

    cert: Path
    key: Path

    @property
    def arguments(self) -> list[str]:
        """Spell them as most programs do."""
        return ["--tls-cert", str(self.cert), "--tls-key", str(self.key)]


class Command(msgspec.Struct, frozen=True):
    """How to start a server.

    Attributes:
        address: where it will listen, if it does not say so itself in a `ready` event.
        folder: to start it in; None: the repository's root.
    """

    argv: tuple[str, ...]
    environment: Mapping[str, str] = {}
    address: str = ""
    folder: Path | None = None


class System(msgspec.Struct, frozen=True):
    """One contestant.

    Attributes:
        note: what a reader of its figures has to know.
        commands: how it does which work; what is missing it can't do.
        why_not: why it can't do the rest.
    """

    name: str
    note: str
    commands: Mapping[Work, Callable[[Files], Command]]
    why_not: str = ""

    def command(self, work: Work, files: Files) -> Command:
        """Return how to start it.

        Raises:
            EnvironmentUnavailable: it can't do this work, or not on this machine; says why.
        """
        make = self.commands.get(work)
        if make is None:
            raise EnvironmentUnavailable(f"{self.name}: {self.why_not}")
        return make(files)


def python_path() -> dict[str, str]:
    """Let another environment's Python import `bench` and `interop`."""
    return {"PYTHONPATH": str(ROOT)}


def _ours(*arguments: str) -> Command:
    return Command((sys.executable, "-m", *arguments), _source_folders())


def _source_folders() -> dict[str, str]:
    """Let our programs be found whether moqvox is installed or not."""
    folders = [ROOT, *(ROOT / name for name in ("moq", "relay", "client", "certs"))]
    return {"PYTHONPATH": os.pathsep.join(map(str, folders))}


def _moqvox_relay(files: Files) -> Command:
    options = ("--bind", "127.0.0.1:0", "--public", "", "--no-http", "--json")
    return _ours("moqvox_client", "relay", *options, *files.arguments)


def _moqvox_echo(files: Files) -> Command:
    return _ours("bench.echo", *files.arguments)


def _naive(work: Work) -> Callable[[Files], Command]:
    return lambda files: _ours("bench.naive", work.value, *files.arguments)


def _moqrs_relay(files: Files) -> Command:
    return _moqrs("interop.peers.moqrs.server", files)


def _moqrs_echo(files: Files) -> Command:
    return _moqrs("bench.moqrs.echo", files)


def _moqrs(module: str, files: Files) -> Command:
    python = str(python_of("moq-rs"))
    argv = (python, "-m", module, *files.arguments, "--limit", str(LIMIT_S))
    return Command(argv, python_path())


def _aiomoqt_relay(files: Files) -> Command:
    python = str(python_of("aiomoqt"))
    port = _free_port()
    argv = (python, "-m", "aiomoqt.tools.moq_interop_relay", "--quic", "--bind", "127.0.0.1")
    where = ("--port", str(port), "--cert", str(files.cert), "--key", str(files.key))
    # Started elsewhere: its own modules shadow the standard library's in its folder.
    return Command((*argv, *where), {}, f"127.0.0.1:{port}", files.cert.parent)


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


SYSTEMS: Final = {
    system.name: system
    for system in (
        System(
            "moqvox",
            "this package: `moqvox relay`, or an agent on `moqvox.voice.serve`",
            {Work.RELAY: _moqvox_relay, Work.ECHO: _moqvox_echo},
        ),
        System(
            "naive",
            "bench/naive.py: the same protocol on `aioquic.asyncio.serve`, without bounds",
            {Work.RELAY: _naive(Work.RELAY), Work.ECHO: _naive(Work.ECHO)},
        ),
        System(
            "moq-rs",
            "moq-rs' server, Rust; its echo agent reads and writes each frame in Python",
            {Work.RELAY: _moqrs_relay, Work.ECHO: _moqrs_echo},
        ),
        System(
            "aiomoqt",
            "aiomoqt's relay on picoquic; speaks IETF moqt-22, which the same clients then speak",
            {Work.RELAY: _aiomoqt_relay},
            "its package has a relay, but no server that an application can answer calls with",
        ),
    )
}
