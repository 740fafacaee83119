"""`--trace FILE`: a JSON line for each frame, so that anyone can compute latency."""

import enum
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from moqvox_client.errors import Failed

__all__ = ["Moment", "Trace", "monotonic_ns"]


class Moment(enum.Enum):
    """What happened to the frame."""

    CAPTURED = "captured"
    WRITTEN = "written"
    RECEIVED = "received"
    PLAYED = "played"


def monotonic_ns() -> int:
    """Read CLOCK_MONOTONIC, which all processes of one machine share."""
    if hasattr(time, "CLOCK_MONOTONIC"):
        return time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    return time.monotonic_ns()


class Trace:
    """Writes frame moments to a file, or nowhere when there is no file.

    Lines are buffered and complete on leaving; a run that is killed may lose the tail.

    Raises:
        Failed: the file can't be created or written.
    """

    def __init__(self, file: Path | None, *, clock_ns: Callable[[], int] = monotonic_ns) -> None:
        self._file = file
        self._clock_ns = clock_ns
        self._stream = None
        if file is not None:
            try:
                self._stream = file.open("wb")
            except OSError as exc:
                raise self._failed(exc) from exc

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._stream is None:
            return
        stream, self._stream = self._stream, None
        try:
            stream.close()
        except OSError as exc:
            if error is None:
                raise self._failed(exc) from exc

    def frame(
        self,
        moment: Moment,
        *,
        timestamp_us: int | None,
        size_bytes: int,
        ns: int | None = None,
        **fields: str | int | float | bool | None,
    ) -> None:
        """Write one line; `ns` defaults to now, `fields` come last (track, group, frame)."""
        if self._stream is None:
            return
        line = {
            "event": moment.value,
            "ns": self._clock_ns() if ns is None else ns,
            "timestamp_us": timestamp_us,
            "bytes": size_bytes,
            **fields,
        }
        try:
            self._stream.write(msgspec.json.encode(line) + b"\n")
        except OSError as exc:
            raise self._failed(exc) from exc

    def _failed(self, exc: OSError) -> Failed:
        return Failed(f"cannot write the trace {self._file}: {(exc.strerror or '').lower()}")
