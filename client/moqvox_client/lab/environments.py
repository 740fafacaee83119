"""Environments of the systems that need packages we do not depend on, made on demand.

Each lives below the user's cache and is made once; making one needs the package registry.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import msgspec

import moqvox_client
from moqvox_client.errors import Failed

__all__ = ["Requirement", "environment_of", "folder"]

INSTALL_S: Final = 300
STAMP: Final = "complete.json"
SHOWN_LINES: Final = 6


class Requirement(msgspec.Struct, frozen=True):
    """What a system needs besides the standard library; `module` proves that it is there."""

    packages: tuple[str, ...]
    module: str


def folder() -> Path:
    """Tell where environments are kept."""
    cache = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(cache) if cache else Path.home() / ".cache") / "moqvox" / "lab"


def environment_of(name: str, needs: Requirement) -> tuple[str, dict[str, str]]:
    """Find the interpreter that has what a system needs, and the variables it runs with.

    Raises:
        Failed: it has to be made and can't be; the message says why.
    """
    home = folder() / name
    python = home / "bin" / "python"
    if not _is_current(home, needs):
        _make(name, home, python, needs)
    return str(python), {"PYTHONPATH": str(_shared(home))}


def _is_current(home: Path, needs: Requirement) -> bool:
    try:
        stamp = json.loads((home / STAMP).read_text())
    except (OSError, ValueError):
        return False
    return bool(stamp == [*needs.packages])


def _shared(home: Path) -> Path:
    """Let our own package show through, not all that is installed beside it.

    Each copy of ours has a folder of its own, so that several may use an environment at once.
    """
    package = str(Path(moqvox_client.__file__).parent)
    folder = home / f"shared-{hashlib.sha256(package.encode()).hexdigest()[:16]}"
    link = folder / "moqvox_client"
    if not link.exists():
        folder.mkdir(exist_ok=True)
        link.unlink(missing_ok=True)  # one that leads nowhere
        link.symlink_to(package, target_is_directory=True)
    return folder


def _make(name: str, home: Path, python: Path, needs: Requirement) -> None:
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    _step(name, "make a virtual environment", [sys.executable, "-m", "venv", str(home)])
    pip = [str(python), "-m", "pip", "install", "--quiet", "--no-input", "--prefer-binary"]
    _step(name, "install its packages", [*pip, "--disable-pip-version-check", *needs.packages])
    _step(name, f"import {needs.module}", [str(python), "-c", f"import {needs.module}"])
    (home / STAMP).write_text(json.dumps(needs.packages))


def _step(name: str, what: str, argv: list[str]) -> None:
    clean = {key: text for key, text in os.environ.items() if key != "PYTHONPATH"}
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, timeout=INSTALL_S, check=False, env=clean
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise Failed(f"{name}: could not {what}: {exc}") from exc
    if done.returncode:
        shown = " / ".join((done.stdout + done.stderr).strip().splitlines()[-SHOWN_LINES:])
        raise Failed(f"{name}: could not {what}: {shown}")
