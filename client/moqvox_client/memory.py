"""What one run learns for the next: servers that UDP does not reach from here.

A small file in `$XDG_STATE_HOME/moqvox/` (else `~/.local/state/moqvox/`). It saves the next run
the time that WebTransport has before WebSocket is tried; losing it loses nothing else.
"""

import asyncio
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from moqvox.connect import detours, recall

__all__ = ["MAX_BYTES", "file", "remembering"]

log = logging.getLogger("moqvox.client")

MAX_BYTES: Final = 64 * 1024
"""More than as many servers as are remembered take; a longer file is not ours."""


class Detour(msgspec.Struct):
    """A server that WebSocket reached first.

    Attributes:
        until: Unix time; that long it counts.
    """

    host: str
    port: int
    until: float


class Memory(msgspec.Struct):
    """The whole file."""

    without_udp: list[Detour] = []


def file() -> Path:
    """Name the file; relative paths in the environment do not count (XDG base directories)."""
    state = Path(os.environ.get("XDG_STATE_HOME") or "~")
    if not state.is_absolute():
        state = Path.home() / ".local" / "state"
    return state / "moqvox" / "network.json"


@contextmanager
def remembering(wall: Callable[[], float]) -> Iterator[None]:
    """Within the block, know what earlier runs learned; on leaving, keep what this one did.

    For use in a running event loop. A file that can't be read or written is as good as none.

    Args:
        wall: tells Unix time.
    """
    clock = asyncio.get_running_loop().time
    before = _read()
    now = wall()
    recall([(each.host, each.port, each.until - now) for each in before.without_udp], clock())
    try:
        yield
    finally:
        now = wall()
        found = [Detour(host, port, int(now + left)) for host, port, left in detours(clock())]
        if _names(found) != _names(before.without_udp):
            _write(Memory(found))


def _names(found: list[Detour]) -> set[tuple[str, int]]:
    return {(each.host, each.port) for each in found}


def _read() -> Memory:
    try:
        with file().open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            return Memory()
        return msgspec.json.decode(content, type=Memory)
    except (OSError, RuntimeError, msgspec.MsgspecError, UnicodeDecodeError) as exc:
        log.debug("nothing is remembered of earlier runs: %s", exc)
        return Memory()


def _write(memory: Memory) -> None:
    """Replace the file as a whole: other runs may read it, or write their own."""
    try:
        kept = file()
        kept.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        passing = kept.with_name(f"{kept.name}.{os.getpid()}")
        passing.write_bytes(msgspec.json.encode(memory))
        passing.replace(kept)
    except (OSError, RuntimeError) as exc:
        log.debug("what was learned is not kept: %s", exc)
