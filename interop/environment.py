"""Make and find the environment of a peer: `python -m interop.environment moq-rs`.

Each peer has a virtual environment of its own, or a `node_modules`, below `.peers/` at the
repository's root, so that what it depends on never meets what moqvox depends on. Making one
needs the package registry; using one does not. POSIX only, as the whole harness.
"""

import argparse
import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

__all__ = ["PEERS", "EnvironmentUnavailable", "Peer", "built", "modules_of", "python_of"]

ROOT: Final = Path(__file__).resolve().parent.parent
FOLDER: Final = ROOT / ".peers"
STAMP: Final = "complete.json"

INSTALL_S: Final = 300
"""Longest installation; a registry that can't be reached is given up much earlier."""

REGISTRY_TIMEOUT_S: Final = 20
START_S: Final = 20
SHOWN_LINES: Final = 12


class EnvironmentUnavailable(Exception):
    """A peer's environment is not there and can't be made; the message says why."""


class Peer(msgspec.Struct, frozen=True):
    """What has to be installed for a peer.

    Attributes:
        module: imported once to prove that the installation works.
        minimum: oldest Python it runs on, or None for packages that Node runs.
    """

    name: str
    requirements: tuple[str, ...]
    module: str
    minimum: tuple[int, int] | None


PEERS: Final = {
    peer.name: peer
    for peer in (
        Peer("moq-rs", ("moq-rs==0.5.1", "moq-ffi==0.4.18"), "moq", (3, 10)),
        Peer(
            "npm",
            (
                "@moq/net@0.3.4",
                "@moq/publish@0.2.17",
                "@moq/watch@0.4.6",
                "axe-core@4.14.1",
                "esbuild@0.28.2",
                "playwright-core@1.65.1",
            ),
            "esbuild",
            None,
        ),
        Peer("aiomoqt", ("aiomoqt==0.13.3",), "aiomoqt", (3, 12)),
    )
}


def python_of(name: str) -> Path:
    """Return the interpreter of a peer, making its environment on the first call.

    Concurrent callers wait for one another. A changed requirement makes it anew.

    Raises:
        EnvironmentUnavailable: no such peer, no Python new enough, or the packages can't
            be installed.
    """
    return _made(_peer(name))


def modules_of(name: str) -> Path:
    """Return the `node_modules` of a peer that Node runs, as `python_of` does.

    Raises:
        EnvironmentUnavailable: no Node, no npm, or the packages can't be installed.
    """
    return _made(_peer(name))


def _made(peer: Peer) -> Path:
    found = built(peer.name)
    if found is not None:
        return found
    with _locked(peer.name):
        found = built(peer.name)
        if found is None:
            found = _build(peer) if peer.minimum is not None else _build_for_node(peer)
    return found


def built(name: str) -> Path | None:
    """Return a peer's interpreter, or its modules, if all is there, complete and current."""
    peer = _peer(name)
    try:
        stamp = json.loads((FOLDER / name / STAMP).read_bytes())
    except (OSError, ValueError):
        return None
    found = _modules(name) if peer.minimum is None else _python(name)
    return found if stamp == list(peer.requirements) and found.exists() else None


def _peer(name: str) -> Peer:
    try:
        return PEERS[name]
    except KeyError as exc:
        known = ", ".join(sorted(PEERS))
        raise EnvironmentUnavailable(f"no peer {name!r}; there are {known}") from exc


def _python(name: str) -> Path:
    return FOLDER / name / "bin" / "python"


def _modules(name: str) -> Path:
    return FOLDER / name / "node_modules"


@contextmanager
def _locked(name: str) -> Iterator[None]:
    FOLDER.mkdir(exist_ok=True)
    with (FOLDER / f"{name}.lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _runs(python: str) -> bool:
    """Whether it is a Python, and not a version manager's word for one that is not chosen."""
    done = subprocess.run([python, "-c", ""], capture_output=True, check=False, timeout=START_S)
    return done.returncode == 0


def _interpreter(peer: Peer) -> str:
    """Find a Python that the peer runs on; ours first."""
    minimum = peer.minimum or (3, 0)
    if sys.version_info[:2] >= minimum:
        return sys.executable
    newer = [f"python3.{minor}" for minor in range(minimum[1], minimum[1] + 6)]
    for candidate in newer:
        path = shutil.which(candidate)
        if path is not None and _runs(path):
            return path
    wanted = ".".join(map(str, minimum))
    raise EnvironmentUnavailable(
        f"{peer.name} needs Python {wanted} or newer, and neither this one "
        f"({sys.version.split()[0]}) nor {', '.join(newer)} on the path will do"
    )


def _build_for_node(peer: Peer) -> Path:
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            raise EnvironmentUnavailable(f"{peer.name} needs {program}, which is not on the path")
    folder = FOLDER / peer.name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    npm = ["npm", "install", "--prefix", str(folder), "--ignore-scripts", "--no-audit", "--no-fund"]
    npm += ["--save-exact", "--fetch-retries=2", f"--fetch-timeout={1000 * REGISTRY_TIMEOUT_S}"]
    _step(peer, "install from the package registry", [*npm, *peer.requirements])
    proof = f"require({str(_modules(peer.name) / peer.module)!r})"
    _step(peer, f"import {peer.module}", ["node", "-e", proof])
    (folder / STAMP).write_text(json.dumps(peer.requirements))
    return _modules(peer.name)


def _build(peer: Peer) -> Path:
    interpreter = _interpreter(peer)
    folder = FOLDER / peer.name
    shutil.rmtree(folder, ignore_errors=True)
    python = str(_python(peer.name))
    _step(peer, "make a virtual environment", [interpreter, "-m", "venv", str(folder)])
    pip = [python, "-m", "pip", "install", "--quiet", "--no-input", "--prefer-binary"]
    pip += ["--disable-pip-version-check", "--retries", "2", f"--timeout={REGISTRY_TIMEOUT_S}"]
    _step(peer, "install from the package registry", [*pip, *peer.requirements])
    _step(peer, f"import {peer.module}", [python, "-c", f"import {peer.module}"])
    (folder / STAMP).write_text(json.dumps(peer.requirements))
    return _python(peer.name)


def _step(peer: Peer, what: str, argv: list[str]) -> None:
    environment = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
    try:
        done = subprocess.run(
            argv,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=INSTALL_S,
            check=False,
            env=environment,
        )
    except subprocess.TimeoutExpired as exc:
        raise EnvironmentUnavailable(f"{peer.name}: {what}: no end after {INSTALL_S} s") from exc
    except OSError as exc:
        raise EnvironmentUnavailable(f"{peer.name}: {what}: {exc}") from exc
    if done.returncode:
        shown = "\n  ".join(done.stdout.strip().splitlines()[-SHOWN_LINES:])
        wanted = " ".join(peer.requirements)
        raise EnvironmentUnavailable(
            f"{peer.name}: could not {what} ({wanted}); is the registry reachable from here, and "
            f"is there a package for this platform? It said:\n  {shown}"
        )


def main() -> int:
    """Make the environments that are named, or all that this machine has a Python for."""
    parser = argparse.ArgumentParser(description="make the environments of peers")
    parser.add_argument("peer", nargs="*", help=f"of {', '.join(PEERS)}; moq-rs by default")
    failed = 0
    for name in parser.parse_args().peer or ["moq-rs"]:
        try:
            print(f"{name}: {_made(_peer(name))}")
        except EnvironmentUnavailable as exc:
            print(exc, file=sys.stderr)
            failed = 1
    return failed


if __name__ == "__main__":
    sys.exit(main())
