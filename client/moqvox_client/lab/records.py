"""Runs kept in files, a JSON line each."""

import os
from pathlib import Path

import msgspec

from moqvox_client.errors import Failed
from moqvox_client.lab.verdict import Run

__all__ = ["append", "read"]


def append(file: Path, one: Run) -> None:
    """Add a run, and make sure that it is kept."""
    with file.open("ab") as stream:
        stream.write(msgspec.json.encode(one) + b"\n")
        stream.flush()
        os.fsync(stream.fileno())


def read(file: Path) -> list[Run]:
    """Read runs.

    Raises:
        Failed: it can't be read, or holds something else.
    """
    try:
        lines = file.read_bytes().splitlines()
    except OSError as exc:
        raise Failed(f"{file}: {(exc.strerror or str(exc)).lower()}") from exc
    try:
        return [msgspec.json.decode(line, type=Run) for line in lines if line.strip()]
    except msgspec.DecodeError as exc:
        raise Failed(f"{file}: not what --out writes: {exc}") from exc
