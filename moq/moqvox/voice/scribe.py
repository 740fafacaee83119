"""Writes a session down, record by record, as it goes."""

import contextlib
import os
import time
from collections.abc import Callable, Iterable
from typing import Final, Protocol

from moqvox.voice.chronicle import Record, pack

__all__ = ["RENEW_BYTES", "Scribe", "Shelf", "append"]

RENEW_BYTES: Final = 256 * 1024
"""A file longer than this begins anew when nothing in it is still needed."""

SLOW: Final = 1.0
"""Seconds that one append may take; a disk that is slower is not written to any more."""


class Shelf(Protocol):
    """Where the file belongs: a journal."""

    def refusal(self, scribe: "Scribe", size_bytes: int) -> str:
        """Tell which bound so many bytes more would break; "" for none."""

    def wrote(self, size_bytes: int) -> None:
        """Count what was written; less than nothing is what was removed."""

    def give_up(self, scribe: "Scribe", why: str) -> None:
        """Write a call down no more."""

    def renew(self, scribe: "Scribe", records: Iterable[Record]) -> None:
        """Put a new file in the place of a call's."""

    def unlink(self, name: str) -> None:
        """Remove a file."""

    def forget(self, scribe: "Scribe") -> None:
        """Note that a scribe has no file any more."""


class Scribe:
    """Writes down one session; nothing until it is given a file, or once that has failed.

    Attributes:
        size_bytes: of the file.
    """

    def __init__(self) -> None:
        self.size_bytes = 0
        self.name = ""
        self._file = -1
        self._journal: Shelf | None = None
        self._renewal: Callable[[], Iterable[Record] | None] = lambda: None

    @property
    def is_writing(self) -> bool:
        """Whether what it is told is written down."""
        return self._file >= 0

    def give(self, journal: Shelf, name: str, file: int, size_bytes: int) -> None:
        """Give it a file that is locked, to append to."""
        self._journal, self.name, self._file, self.size_bytes = journal, name, file, size_bytes

    def renew_by(self, renewal: Callable[[], Iterable[Record] | None]) -> None:
        """Set what tells all that a new file needs; None as long as the old one is needed."""
        self._renewal = renewal

    def note(self, record: Record) -> None:
        """Write a record; it is out of the process when this returns."""
        if self._journal is None or self._file < 0:
            return
        text = pack(record)
        why = self._journal.refusal(self, len(text))
        if not why:
            began = time.perf_counter()
            why = append(self._file, text)
            if not why and time.perf_counter() - began > SLOW:
                why = "the disk is too slow"
        if why:
            self._journal.give_up(self, why)
            return
        self.size_bytes += len(text)
        self._journal.wrote(len(text))

    def look(self) -> None:
        """Begin the file anew if it has grown long and little of it is needed."""
        if self._journal is not None and self._file >= 0 and self.size_bytes > RENEW_BYTES:
            records = self._renewal()
            if records is not None:
                self._journal.renew(self, records)

    def touch(self) -> None:
        """Let the file be as old as this moment."""
        if self._file >= 0:
            with contextlib.suppress(OSError):
                os.utime(self._file)

    def release(self) -> None:
        """Leave the file to another process."""
        file, self._file = self._file, -1
        if file >= 0:
            os.close(file)
            if self._journal is not None:
                self._journal.forget(self)

    def remove(self) -> None:
        """Remove the file: what is in it is over."""
        if self._journal is not None and self._file >= 0:
            self._journal.unlink(self.name)
            self._journal.wrote(-self.size_bytes)
        self.release()


def append(file: int, text: bytes) -> str:
    """Append all of a text; returns why that failed."""
    try:
        done = os.write(file, text)
    except OSError as exc:
        return str(exc.strerror)
    return "" if done == len(text) else "the disk is full"
