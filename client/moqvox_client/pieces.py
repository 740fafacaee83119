"""Files and stdin in pieces, without holding up the event loop or its end."""

import asyncio
import os
import sys
import threading
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import BinaryIO, Final

from moqvox_client.errors import Failed

__all__ = ["STDIN", "check_readable", "read_pieces"]

STDIN: Final = "-"

PIECE_BYTES: Final = 16 * 1024

MAX_WAITING: Final = 16
"""Pieces of stdin read ahead."""


def check_readable(name: str) -> None:
    """Complain early about a file that can't be read.

    Raises:
        Failed: missing, a directory, or not ours to read.
    """
    if name != STDIN:
        _open(name).close()


async def read_pieces(name: str) -> AsyncGenerator[bytes, None]:
    """Read a file, or stdin for `-`, to its end. A pipe gives what is there.

    Raises:
        Failed: it can't be read.
    """
    if name == STDIN and (fd := _stdin_fd()) is not None:
        pipe = _Pipe(fd)
        while piece := await pipe.read():
            yield piece
        return
    stream = sys.stdin.buffer if name == STDIN else _open(name)
    try:
        while piece := await asyncio.to_thread(_read, stream, name):
            yield piece
    finally:
        if name != STDIN:
            stream.close()


class _Pipe:
    """Reads a file descriptor in a thread that nobody waits for.

    A read from a silent pipe can't be interrupted; a thread of the loop's executor in one
    would hold up the end of the program until the next byte.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._loop = asyncio.get_running_loop()
        self._pieces: asyncio.Queue[bytes | OSError] = asyncio.Queue()
        self._room = threading.Semaphore(MAX_WAITING)
        threading.Thread(target=self._run, name="stdin", daemon=True).start()

    async def read(self) -> bytes:
        """Wait for the next piece; empty at the end."""
        piece = await self._pieces.get()
        self._room.release()
        if isinstance(piece, OSError):
            raise Failed(f"stdin: {piece.strerror}") from piece
        return piece

    def _run(self) -> None:
        piece: bytes | OSError = b" "
        while piece and not isinstance(piece, OSError):
            self._room.acquire()
            try:
                piece = os.read(self._fd, PIECE_BYTES)
            except OSError as exc:
                piece = exc
            try:
                self._loop.call_soon_threadsafe(self._pieces.put_nowait, piece)
            except RuntimeError:
                return  # the loop is closed: nobody reads any more


def _stdin_fd() -> int | None:
    try:
        return sys.stdin.fileno()
    except (OSError, ValueError, AttributeError):
        return None


def _open(name: str) -> BinaryIO:
    try:
        return Path(name).open("rb")
    except OSError as exc:
        raise Failed(f"{name}: {(exc.strerror or str(exc)).lower()}") from exc


def _read(stream: BinaryIO, name: str) -> bytes:
    try:
        return stream.read(PIECE_BYTES)
    except OSError as exc:
        raise Failed(f"{name}: {(exc.strerror or str(exc)).lower()}") from exc
