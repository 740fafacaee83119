"""Run a verb to its end, whatever ends it, and turn that into an exit code."""

import asyncio
import contextlib
import inspect
import logging
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator

from moqvox_certs import CertificateError
from moqvox_client.errors import Failed, UsageError
from moqvox_client.output import Color, Output, OutputClosed

__all__ = [
    "CLOSED_STDOUT",
    "FAILED",
    "INTERRUPTED",
    "OK",
    "TERMINATED",
    "USAGE",
    "guard",
    "run_to_end",
]

OK = 0
FAILED = 1
USAGE = 2
INTERRUPTED = 130
CLOSED_STDOUT = 141
TERMINATED = 143

log = logging.getLogger("moqvox.client")


def run_to_end(run: Callable[[], int | Coroutine[object, object, int]]) -> int:
    """Call a verb, and when it is async run it on a loop of its own.

    SIGINT and SIGTERM cancel an async verb. It may clean up in `finally`, and may catch
    the cancellation and return: then SIGTERM ends with its exit code, as a drained
    server's should. Another signal during the clean-up cancels that too.
    """
    result = run()
    if not inspect.iscoroutine(result):
        return int(result) if isinstance(result, int) else OK
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(_until_signalled(result))


def guard(body: Callable[[], int], output: Output) -> int:
    """Run `body`; every way to fail becomes a line on stderr and an exit code.

    A traceback is shown only where debug messages are (-vv).
    """
    try:
        code = body()
        if output.json and not output.is_done:
            output.done(ok=code == OK)
        output.flush()
    except SystemExit:
        raise
    except BaseException as exc:  # noqa: BLE001 - the last frame before the user
        return _report(exc, output)
    finally:
        output.clear_progress()
    return code


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """Pick a loop that can watch plain sockets, which Windows' default can't."""
    return asyncio.SelectorEventLoop if sys.platform == "win32" else asyncio.new_event_loop


async def _until_signalled(verb: Coroutine[object, object, int]) -> int:
    task = asyncio.current_task()
    received: list[signal.Signals] = []

    def stop(number: signal.Signals) -> None:
        received.append(number)
        if task is not None:
            task.cancel()

    with _watching(stop):
        try:
            code = await verb
        except asyncio.CancelledError:
            if not received:
                raise
            code = TERMINATED
    return INTERRUPTED if signal.SIGINT in received else code


@contextlib.contextmanager
def _watching(stop: Callable[[signal.Signals], None]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    watched = []
    for number in (signal.SIGINT, signal.SIGTERM):
        # Windows, and threads other than the main one, keep Python's own Ctrl-C.
        with contextlib.suppress(NotImplementedError, ValueError, RuntimeError):
            loop.add_signal_handler(number, stop, number)
            watched.append(number)
    try:
        yield
    finally:
        for number in watched:
            loop.remove_signal_handler(number)


def _report(exc: BaseException, output: Output) -> int:
    tracebacks = log.isEnabledFor(logging.DEBUG)
    if tracebacks and not isinstance(exc, OutputClosed):
        log.error("stopped by an exception", exc_info=exc)
    leaves = list(_leaves(exc))
    code, message = _verdict(leaves)
    if code == CLOSED_STDOUT:
        _silence_stdout()
        return code
    if message:
        hint = "" if tracebacks or _is_expected(leaves) else " (a bug; -vv shows the traceback)"
        output.note(f"moqvox: {message}{hint}", Color.BAD)
    try:
        output.done(ok=False, error=message or "interrupted", exit_code=code)
        output.flush()
    except (OutputClosed, OSError):
        _silence_stdout()
    return code


def _verdict(leaves: list[BaseException]) -> tuple[int, str]:
    """Choose the exit code and the message for the exceptions that ended a run."""
    for leaf in leaves:
        if isinstance(leaf, OutputClosed):
            return CLOSED_STDOUT, ""
        if isinstance(leaf, KeyboardInterrupt):
            return INTERRUPTED, ""
        if isinstance(leaf, UsageError):
            return USAGE, str(leaf)
    messages = dict.fromkeys(map(_message, leaves))
    return FAILED, "; ".join(messages)


def _leaves(exc: BaseException) -> Iterator[BaseException]:
    """Unpack exception groups: a TaskGroup wraps whatever its tasks raise."""
    if isinstance(exc, BaseExceptionGroup):
        for inner in exc.exceptions:
            yield from _leaves(inner)
    else:
        yield exc


def _is_expected(leaves: list[BaseException]) -> bool:
    return all(isinstance(leaf, _expected()) for leaf in leaves)


def _expected() -> tuple[type[BaseException], ...]:
    """List what may go wrong in a user's world; the library's own only once it is loaded."""
    known: list[type[BaseException]] = [Failed, UsageError, CertificateError, OSError]
    library = sys.modules.get("moqvox.errors")
    if library is not None:
        known.append(library.MoqError)
    return tuple(known)


def _message(exc: BaseException) -> str:
    if isinstance(exc, OSError) and exc.strerror:
        named = f"{exc.filename}: " if exc.filename else ""
        return f"{named}{exc.strerror.lower()}"
    text = " ".join(str(exc).split())
    if isinstance(exc, _expected()) and text:
        return text
    return f"{type(exc).__name__}: {text}" if text else type(exc).__name__


def _silence_stdout() -> None:
    """Let the interpreter flush stdout at exit without a complaint about the broken pipe."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
