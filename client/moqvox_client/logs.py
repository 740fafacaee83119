"""Logs of a program: to stderr, as text or as JSON lines."""

import datetime
import logging
import sys
import threading

import msgspec

from moqvox_client.options import LogLevel, Shared
from moqvox_client.output import Color, Output

__all__ = ["configure"]

log = logging.getLogger("moqvox.client")

_COLORS = {
    logging.WARNING: Color.WARNING,
    logging.ERROR: Color.BAD,
    logging.CRITICAL: Color.BAD,
    logging.DEBUG: Color.FAINT,
}


def configure(options: Shared, output: Output) -> None:
    """Send log records to `output`, replacing what was configured before.

    moqvox logs from `--log-level` on, lowered by -v (info) and -vv (debug); other
    libraries log warnings, and everything with -vvv. Tracebacks come with debug messages.
    What dies in a thread or a destructor is logged as well.
    """
    level = options.log_level.number
    if options.verbose:
        lowered = LogLevel.INFO if options.verbose == 1 else LogLevel.DEBUG
        level = min(level, lowered.number)
    tracebacks = level <= logging.DEBUG
    form = _JsonLines(tracebacks) if options.log_json else _Text(tracebacks)
    handler = _Stderr(output)
    handler.setFormatter(form)
    root = logging.getLogger()
    for old in [h for h in root.handlers if isinstance(h, _Stderr)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.DEBUG if options.verbose >= 3 else logging.WARNING)
    logging.getLogger("moqvox").setLevel(level)
    logging.captureWarnings(True)
    threading.excepthook = _thread_died
    sys.unraisablehook = _unraisable


def _thread_died(died: threading.ExceptHookArgs) -> None:
    if died.exc_value is not None and not isinstance(died.exc_value, SystemExit):
        name = died.thread.name if died.thread else "?"
        log.error("thread %s died", name, exc_info=died.exc_value)


def _unraisable(lost: "sys.UnraisableHookArgs") -> None:
    if lost.exc_value is not None:
        log.error("%s", lost.err_msg or "error outside any call", exc_info=lost.exc_value)


class _Stderr(logging.Handler):
    def __init__(self, output: Output) -> None:
        super().__init__()
        self._output = output

    def emit(self, record: logging.LogRecord) -> None:
        color = None if isinstance(self.formatter, _JsonLines) else _COLORS.get(record.levelno)
        self._output.note(self.format(record), color)


class _Text(logging.Formatter):
    """`12:34:56.789 warning moqvox.session: message`, one line unless a traceback is wanted."""

    def __init__(self, tracebacks: bool) -> None:
        super().__init__()
        self._tracebacks = tracebacks

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.datetime.fromtimestamp(record.created).astimezone()
        line = (
            f"{at:%H:%M:%S}.{record.msecs:03.0f} {record.levelname.lower()} "
            f"{record.name}: {_message(record)}"
        )
        if record.exc_info and self._tracebacks:
            return f"{line}\n{self.formatException(record.exc_info)}"
        return line


class _JsonLines(logging.Formatter):
    def __init__(self, tracebacks: bool) -> None:
        super().__init__()
        self._tracebacks = tracebacks

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
        line: dict[str, object] = {
            "time": at.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _message(record),
        }
        if record.exc_info and self._tracebacks:
            line["traceback"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line).decode()


def _message(record: logging.LogRecord) -> str:
    """Join the message and, in a word, the exception that came with it."""
    message = record.getMessage().replace("\n", " ")
    error = record.exc_info[1] if record.exc_info else None
    return f"{message}: {type(error).__name__}: {error}" if error else message
