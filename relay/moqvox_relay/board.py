"""Shared memory on which workers write their counters, so that any of them can tell all."""

import mmap
import os
import struct
from collections.abc import Mapping
from typing import Final

import msgspec

__all__ = ["SLOT_BYTES", "Board"]

SLOT_BYTES: Final = 16 * 1024
HEAD: Final = struct.Struct("=QQ")
"""A version, odd while somebody writes, and the length of what follows."""

ATTEMPTS: Final = 5


class Board:
    """One slot for each worker, and one for their supervisor; each writes its own only.

    What a dead worker wrote stays until its successor writes.
    """

    def __init__(self, fd: int, slots: int) -> None:
        self.fd = fd
        self.slots = slots
        self._memory = mmap.mmap(fd, slots * SLOT_BYTES)

    @staticmethod
    def create(slots: int) -> "Board":
        """Make one that child processes inherit by its descriptor. Linux only."""
        fd = os.memfd_create("moqvox-relay", 0)
        os.ftruncate(fd, slots * SLOT_BYTES)
        return Board(fd, slots)

    def write(self, slot: int, rows: Mapping[str, float]) -> None:
        """Replace what a slot says; nothing that does not fit."""
        text = msgspec.json.encode(dict(rows))
        if len(text) > SLOT_BYTES - HEAD.size:
            raise ValueError(f"{len(text)} bytes of counters do not fit a slot")
        start = slot * SLOT_BYTES
        version, _ = HEAD.unpack_from(self._memory, start)
        version |= 1  # odd already when a writer died over it
        HEAD.pack_into(self._memory, start, version, 0)
        self._memory[start + HEAD.size : start + HEAD.size + len(text)] = text
        HEAD.pack_into(self._memory, start, version + 1, len(text))

    def read(self, slot: int) -> dict[str, float]:
        """Read what a slot says; empty when nothing, or while it is being replaced."""
        start = slot * SLOT_BYTES
        for _ in range(ATTEMPTS):
            version, size = HEAD.unpack_from(self._memory, start)
            if not size or size > SLOT_BYTES - HEAD.size:
                continue
            text = bytes(self._memory[start + HEAD.size : start + HEAD.size + size])
            if HEAD.unpack_from(self._memory, start) == (version, size) and not version % 2:
                return msgspec.json.decode(text, type=dict[str, float])
        return {}

    def close(self) -> None:
        """Let go of it; others may go on."""
        self._memory.close()
        os.close(self.fd)
