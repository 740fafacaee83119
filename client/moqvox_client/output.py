"""What a user sees: data on stdout, everything else on stderr."""

import enum
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, TextIO

import msgspec

__all__ = ["Color", "Output", "OutputClosed"]

PROGRESS_PERIOD: Final = 0.1
"""A progress line changes at most ten times a second."""

ERASE_LINE: Final = "\r\x1b[K"


class Color(enum.Enum):
    """What a word says by its color, as an ANSI SGR code."""

    GOOD = "32"
    WARNING = "33"
    BAD = "31"
    STRONG = "1"
    FAINT = "2"


class OutputClosed(Exception):
    """Whoever read stdout has gone, as `head` does: nothing is left to do, quietly."""


class Output:
    """One run's stdout and stderr.

    With `json`, stdout has one object a line and nothing else, and the last one is
    `done`; `text`, `table` and `progress` are then silent. Without, `event` and the
    totals of `done` are silent. So a verb says both, and each reader hears one.

    Raises:
        OutputClosed: from every method that writes to stdout.
    """

    def __init__(
        self,
        *,
        json: bool = False,
        stdout: TextIO | None = None,
        stderr: TextIO | None = None,
        environment: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        environment = os.environ if environment is None else environment
        self.json = json
        self.is_done = False
        self._stdout = sys.stdout if stdout is None else stdout
        self._stderr = sys.stderr if stderr is None else stderr
        self._clock = clock
        self._colored = not environment.get("NO_COLOR") and environment.get("TERM") != "dumb"
        self._progress = ""
        self._progress_at = -PROGRESS_PERIOD

    def event(self, name: str, /, **fields: object) -> None:
        """With `json`, write one line: the event's name, then the fields in order."""
        if self.json:
            line = msgspec.json.encode({"event": name, **fields}, enc_hook=str)
            self._write(line.decode() + "\n")

    def done(self, *, ok: bool = True, **totals: object) -> None:
        """Write the last line, once; later calls are ignored."""
        if not self.is_done:
            self.event("done", ok=ok, **totals)
            self.is_done = True

    def text(self, line: str = "") -> None:
        """Without `json`, write one line for a human."""
        if not self.json:
            self._write(line + "\n")

    def table(self, rows: Sequence[Sequence[object]], *, header: Sequence[str] = ()) -> None:
        """Without `json`, write columns as wide as their widest cell."""
        cells = [[str(cell) for cell in row] for row in ([header] if header else [])]
        cells += [[str(cell) for cell in row] for row in rows]
        widths = [
            max(len(row[column]) for row in cells if column < len(row))
            for column in range(max(map(len, cells), default=0))
        ]
        for number, row in enumerate(cells):
            line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False))
            is_header = bool(header) and number == 0
            self.text(self.paint(line.rstrip(), Color.STRONG) if is_header else line.rstrip())

    def paint(self, text: str, color: Color) -> str:
        """Color a text where stdout is a terminal and NO_COLOR is not set."""
        return self._paint(text, color, self._stdout)

    def progress(self, line: str) -> None:
        """Replace the progress line; nothing happens unless stderr is a terminal."""
        if self.json or not self._stderr.isatty():
            return
        now = self._clock()
        if now - self._progress_at < PROGRESS_PERIOD:
            return
        self._progress, self._progress_at = line, now
        self._stderr.write(ERASE_LINE + line)
        self._stderr.flush()

    def clear_progress(self) -> None:
        """Remove the progress line."""
        if self._progress:
            self._progress = ""
            self._progress_at = -PROGRESS_PERIOD
            self._stderr.write(ERASE_LINE)
            self._stderr.flush()

    def note(self, line: str, color: Color | None = None) -> None:
        """Write one line to stderr, above the progress line."""
        progress = self._progress
        self.clear_progress()
        try:
            self._stderr.write(self._paint(line, color, self._stderr) + "\n")
            if progress:
                self._stderr.write(progress)
                self._progress = progress
            self._stderr.flush()
        except (OSError, ValueError):
            return  # without a stderr there is nobody to tell

    def raw(self, data: bytes) -> None:
        """Write bytes to stdout as they are, for `--out -`; not with `json`."""
        self._guarded(lambda: self._raw(data))

    def flush(self) -> None:
        """Push out what stdout still holds."""
        self._guarded(self._stdout.flush)

    def _paint(self, text: str, color: Color | None, stream: TextIO) -> str:
        if color is None or not self._colored or not stream.isatty():
            return text
        return f"\x1b[{color.value}m{text}\x1b[0m"

    def _raw(self, data: bytes) -> None:
        self._stdout.buffer.write(data)
        self._stdout.buffer.flush()

    def _write(self, text: str) -> None:
        """Write and flush: whoever reads the pipe acts on each line."""
        self.clear_progress()

        def write() -> None:
            self._stdout.write(text)
            self._stdout.flush()

        self._guarded(write)

    def _guarded(self, write: Callable[[], object]) -> None:
        try:
            write()
        except BrokenPipeError as exc:
            raise OutputClosed("stdout") from exc
        except ValueError as exc:
            if self._stdout.closed:
                raise OutputClosed("stdout") from exc
            raise
