"""A directory in which an agent's calls are written down, for the process after this one.

What is appended is in the page cache when the call returns, so it outlives the process, killed or
not; nothing is synced, so it need not outlive the machine. A file belongs to the process that has
it locked.
"""

import contextlib
import datetime
import errno
import hashlib
import logging
import os
import stat
import sys
import time
from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from moqvox.errors import LocalError
from moqvox.voice.chronicle import Chronicle, ChronicleError, Record, read, written
from moqvox.voice.scribe import Scribe, append

if sys.platform != "win32":
    import fcntl

__all__ = ["BOUNDS", "Bounds", "Journal"]

log = logging.getLogger("moqvox.voice")

SUFFIX: Final = ".call"
NEW: Final = ".new"

COUNT_EVERY: Final = 1.0
"""Seconds for which a count of the directory's files holds."""

FRESH: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND


class Bounds(msgspec.Struct, frozen=True):
    """What a journal may take. A call past one of these goes on without it.

    Attributes:
        max_bytes: of one call.
        max_calls: files in the directory.
        max_total_bytes: of all files in it.
        max_age: seconds after its last change for which a file is good.
    """

    max_bytes: int = 32 * 1024 * 1024
    max_calls: int = 1024
    max_total_bytes: int = 1024 * 1024 * 1024
    max_age: float = 60.0


BOUNDS: Final = Bounds()


def _wall() -> float:
    return datetime.datetime.now(datetime.UTC).timestamp()


class Journal:
    """The directory; several processes may share it.

    Attributes:
        bounds: what it may take.
        taken_up: calls that were gone on with.
        given_up: calls that could not be written down, or not any more.
        ignored: files that were of no use.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        bounds: Bounds = BOUNDS,
        *,
        wall: Callable[[], float] = _wall,
    ) -> None:
        self.bounds = bounds
        self._wall = wall
        self.taken_up = self.given_up = self.ignored = 0
        self._path = os.fspath(path)
        self._folder = -1
        self._scribes: set[Scribe] = set()
        self._total_bytes = self._files = 0
        self._counted = -COUNT_EVERY

    def open(self) -> None:
        """Make the directory if there is none, see that it can be written, remove old files.

        Idempotent.

        Raises:
            LocalError: it can't be used.
        """
        if self._folder >= 0:
            return
        if sys.platform == "win32":
            raise LocalError("a journal needs a POSIX system")
        try:
            os.makedirs(self._path, mode=0o700, exist_ok=True)
            self._folder = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            facts = os.fstat(self._folder)
            if facts.st_uid != os.geteuid() or facts.st_mode & 0o077:
                raise LocalError(f"journal {self._path} must be its user's alone: chmod 700")
            probe = f"{os.getpid()}{NEW}"
            os.close(self._make(probe))
            os.unlink(probe, dir_fd=self._folder)
        except OSError as exc:
            raise LocalError(f"journal {self._path}: {exc.strerror}") from exc
        self.sweep()

    def close(self) -> None:
        """Leave the files of calls that are not over to another process."""
        for scribe in list(self._scribes):
            scribe.release()
        folder, self._folder = self._folder, -1
        if folder >= 0:
            os.close(folder)

    def has(self, call: str) -> bool:
        """Tell whether there is a file of a call."""
        try:
            os.stat(_name(call), dir_fd=self._folder, follow_symlinks=False)
        except OSError:
            return False
        return True

    def begin(self, call: str, scribe: Scribe, records: Iterable[Record]) -> None:
        """Write down a call from now on; one that finds no room goes without."""
        if self._folder < 0:
            return
        name = _name(call)
        text = written(records)
        self._count()
        if self._files >= self.bounds.max_calls:
            self.sweep()
        if self._files >= self.bounds.max_calls:
            self.give_up(scribe, f"there are {self._files} files already")
            return
        why = self.refusal(scribe, len(text))
        try:
            file = -1 if why else self._make(name)
        except OSError as exc:
            why = str(exc.strerror)
        if why:
            self.give_up(scribe, why)
            return
        self._own(scribe, name, file)
        self._files += 1
        why = _lock(file) or append(file, text)
        if why:
            self.give_up(scribe, why)
            return
        scribe.size_bytes = len(text)
        self.wrote(len(text))

    def take_up(self, call: str) -> tuple[Chronicle, Scribe] | None:
        """Take the file of a call whose process is gone; None when there is none of use."""
        if self._folder < 0:
            return None
        name = _name(call)
        try:
            file = os.open(
                name,
                os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK,
                dir_fd=self._folder,
            )
        except OSError as exc:
            if exc.errno != errno.ENOENT:
                self._ignore(call, str(exc.strerror))
            return None
        try:
            return self._read(call, name, file)
        except (OSError, ChronicleError) as exc:
            os.close(file)
            self._ignore(call, exc.strerror or "" if isinstance(exc, OSError) else str(exc))
            self.unlink(name)
        return None

    def renew(self, scribe: Scribe, records: Iterable[Record]) -> None:
        """Put a new file in the place of a call's."""
        fresh = scribe.name + NEW
        text = written(records)
        file = -1
        try:
            self.unlink(fresh)
            file = self._make(fresh)
            why = _lock(file) or append(file, text)
            if not why:
                os.rename(fresh, scribe.name, src_dir_fd=self._folder, dst_dir_fd=self._folder)
        except OSError as exc:
            why = str(exc.strerror)
        if why:
            if file >= 0:
                os.close(file)
                self.unlink(fresh)
            self.give_up(scribe, why)
            return
        self._total_bytes += len(text) - scribe.size_bytes
        scribe.release()
        self._own(scribe, scribe.name, file)
        scribe.size_bytes = len(text)

    def mind(self) -> None:
        """Keep the files of calls that are on from growing old, and remove those that are."""
        for scribe in self._scribes:
            scribe.touch()
        self.sweep()

    def sweep(self) -> None:
        """Remove files that are too old to be gone on with."""
        oldest = self._wall() - self.bounds.max_age
        for name in self._names():
            try:
                facts = os.stat(name, dir_fd=self._folder, follow_symlinks=False)
                if facts.st_mtime >= oldest or not stat.S_ISREG(facts.st_mode):
                    continue
                file = os.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._folder)
            except OSError:
                continue
            if not _lock(file):
                self.unlink(name)
            os.close(file)
        self._counted = -COUNT_EVERY

    # For scribes

    def refusal(self, scribe: Scribe, size_bytes: int) -> str:
        """Tell which bound so many bytes more would break; "" for none."""
        if scribe.size_bytes + size_bytes > self.bounds.max_bytes:
            return f"a call may take {self.bounds.max_bytes} bytes"
        if self._total_bytes + size_bytes > self.bounds.max_total_bytes:
            self._count()
            if self._total_bytes + size_bytes > self.bounds.max_total_bytes:
                return f"the journal may take {self.bounds.max_total_bytes} bytes"
        return ""

    def wrote(self, size_bytes: int) -> None:
        """Count what was written, or removed."""
        self._total_bytes += size_bytes

    def give_up(self, scribe: Scribe, why: str) -> None:
        """Write a call down no more; it goes on without."""
        self.given_up += 1
        log.warning("journal %s: a call goes on without it: %s", self._path, why)
        scribe.remove()

    def forget(self, scribe: Scribe) -> None:
        """Note that a scribe has no file any more."""
        self._scribes.discard(scribe)

    def unlink(self, name: str) -> None:
        """Remove a file, if it is there."""
        with contextlib.suppress(OSError):
            os.unlink(name, dir_fd=self._folder)
            self._files -= 1

    def _own(self, scribe: Scribe, name: str, file: int) -> None:
        scribe.give(self, name, file, 0)
        self._scribes.add(scribe)

    def _make(self, name: str) -> int:
        return os.open(name, FRESH | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=self._folder)

    def _read(self, call: str, name: str, file: int) -> tuple[Chronicle, Scribe] | None:
        facts = os.fstat(file)
        if not stat.S_ISREG(facts.st_mode) or facts.st_uid != os.geteuid():
            raise ChronicleError("no file of ours")
        if facts.st_size > self.bounds.max_bytes:
            raise ChronicleError(f"{facts.st_size} bytes; {self.bounds.max_bytes} are allowed")
        if _lock(file):
            log.warning("journal %s: another process has call %s", self._path, call)
            os.close(file)
            return None
        # Its process may have put another file in its place before it let go of this one.
        if not os.path.samestat(facts, os.stat(name, dir_fd=self._folder, follow_symlinks=False)):
            os.close(file)
            return None
        if facts.st_mtime < self._wall() - self.bounds.max_age:
            self.unlink(name)
            os.close(file)
            return None
        chronicle, size_bytes = read(os.pread(file, facts.st_size, 0))
        if chronicle.began.call != call:
            raise ChronicleError("it is another call's")
        os.ftruncate(file, size_bytes)
        scribe = Scribe()
        self._own(scribe, name, file)
        scribe.size_bytes = size_bytes
        self.taken_up += 1
        return chronicle, scribe

    def _ignore(self, call: str, why: str) -> None:
        self.ignored += 1
        log.warning("journal %s: what it has of call %s is ignored: %s", self._path, call, why)

    def _names(self) -> list[str]:
        try:
            return [name for name in os.listdir(self._folder) if name.endswith((SUFFIX, NEW))]
        except OSError:
            return []

    def _count(self) -> None:
        """Count the directory's files and bytes, now and then."""
        now = time.monotonic()
        if now - self._counted < COUNT_EVERY:
            return
        self._counted = now
        self._files = self._total_bytes = 0
        for name in self._names():
            with contextlib.suppress(OSError):
                facts = os.stat(name, dir_fd=self._folder, follow_symlinks=False)
                self._files += 1
                self._total_bytes += facts.st_size


def _name(call: str) -> str:
    return hashlib.sha256(call.encode()).hexdigest()[:32] + SUFFIX


def _lock(file: int) -> str:
    """Lock a file; returns why that failed."""
    if sys.platform == "win32":
        return "no locks"
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        return str(exc.strerror)
    return ""
