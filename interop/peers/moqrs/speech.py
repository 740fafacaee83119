"""What every program for moq-rs shares: options, JSON lines, time limit, exit codes."""

import argparse
import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable

import moq

FAILED, USAGE, REFUSED, TIMED_OUT = 1, 2, 3, 4
"""Exit codes besides 0. The harness tells refusal from failure by them."""

FLUSH_S = 0.1
"""How long a closed connection is kept so that its last packet is sent."""


def emit(event: str, **fields: object) -> None:
    """Print one JSON object on a line of its own, at once."""
    print(json.dumps({"event": event, **fields}), flush=True)


def parser(summary: str) -> argparse.ArgumentParser:
    """Start a command line with the options that every program takes."""
    made = argparse.ArgumentParser(description=summary)
    made.add_argument("--limit", type=float, default=30.0, help="seconds until it gives up")
    made.add_argument("--peer-log", default="error", help="level of moq-rs' own log, on stderr")
    return made


def client_parser(summary: str) -> argparse.ArgumentParser:
    """Add what a program needs to reach a relay: https:// is WebTransport, moqt:// raw QUIC."""
    made = parser(summary)
    made.add_argument("url")
    made.add_argument("--tls-fingerprint", action="append", default=[], help="SHA-256, hex")
    made.add_argument("--tls-root", action="append", default=[], help="PEM file to trust")
    made.add_argument("--tls-disable-verify", action="store_true")
    made.add_argument("--websocket", action="store_true", help="try WebSocket too, on https://")
    return made


def client(args: argparse.Namespace, publish: moq.OriginProducer | None = None) -> moq.Client:
    """Prepare a client that dials once and stays with that connection."""
    return moq.Client(
        args.url,
        tls_verify=not args.tls_disable_verify,
        tls_roots=args.tls_root or None,
        tls_fingerprints=args.tls_fingerprint or None,
        websocket_enabled=args.websocket,
        reconnect=False,
        publish=publish,
    )


@contextlib.asynccontextmanager
async def connected(
    args: argparse.Namespace, publish: moq.OriginProducer | None = None
) -> AsyncIterator[moq.Client]:
    """Hold a connection, and report `ready` once the QUIC handshake is through.

    The handshake says nothing about authorisation: moq-rs returns from it before the
    relay has looked at the request. `watched` sees what happens after.
    """
    async with client(args, publish) as made:
        emit("ready", url=args.url.partition("?")[0])
        try:
            yield made
        finally:
            await _say_goodbye(made)


async def _say_goodbye(client: moq.Client) -> None:
    """Close the session, and stay until the CONNECTION_CLOSE has left.

    A process that ends at once takes the unsent packet with it, and the relay learns of
    the departure only by its idle timeout, 30 s later.
    """
    if client.session is None:
        return
    client.session.shutdown()
    with contextlib.suppress(moq.Error, TimeoutError):
        async with asyncio.timeout(1):
            await client.session.closed()
    await asyncio.sleep(FLUSH_S)


async def watched(client: moq.Client, work: Awaitable[None]) -> None:
    """Do `work`, but fail with the session's error as soon as the session is over."""
    session = client.session
    if session is None:
        raise RuntimeError("not connected")

    async def fail_with_session() -> None:
        await session.closed()
        raise ConnectionError("session closed")

    async def run(inside: asyncio.Task[None]) -> None:
        await work
        inside.cancel()

    async with asyncio.TaskGroup() as group:
        watching = group.create_task(fail_with_session())
        group.create_task(run(watching))


async def commands() -> AsyncIterator[str]:
    """Yield the lines of stdin as they come; the end of stdin is the order to leave."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        yield line.decode().strip()


class Leave(Exception):
    """Raised inside a task group to end all that runs in it."""


async def told_to_leave() -> None:
    """Wait for the end of stdin."""
    async for _ in commands():
        pass


@contextlib.asynccontextmanager
async def until_told_to_leave() -> AsyncIterator[asyncio.TaskGroup]:
    """Keep tasks running until stdin ends, then cancel them all."""
    with contextlib.suppress(Leave):
        try:
            async with asyncio.TaskGroup() as group:
                yield group
                await told_to_leave()
                raise Leave
        except BaseExceptionGroup as exc:
            others = exc.split(Leave)[1]
            if others is not None:
                raise others from None


def explain(error: BaseException) -> dict[str, object]:
    """Describe an error of moq-rs in fields that a case can check."""
    if isinstance(error, BaseExceptionGroup):
        return explain(error.exceptions[0])
    found: dict[str, object] = {"kind": type(error).__name__, "message": str(error)}
    if isinstance(error, Exception) and (details := moq.protocol_error(error)) is not None:
        found |= {
            "kind": details.kind.name.lower(),
            "scope": details.scope.name.lower(),
            "code": details.code,
            "message": details.message,
        }
    return found


def _is_auth(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return any(_is_auth(inner) for inner in error.exceptions)
    return moq.is_auth(error)


async def _bounded(run: Callable[[], Awaitable[None]], limit: float) -> None:
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(limit):
        task = asyncio.current_task()
        if task is not None:
            loop.add_signal_handler(signal.SIGTERM, task.cancel)
        await run()


def main(args: argparse.Namespace, run: Callable[[], Awaitable[None]]) -> None:
    """Run a program to its end and leave the process with its exit code."""
    moq.log_level(args.peer_log)
    try:
        asyncio.run(_bounded(run, args.limit))
    except TimeoutError:
        emit("error", kind="timeout", message=f"nothing more happened in {args.limit:g} s")
        sys.exit(TIMED_OUT)
    except asyncio.CancelledError:
        emit("stopped")
    except (Exception, BaseExceptionGroup) as exc:  # noqa: BLE001 - reported, whatever it is
        emit("error", refused=_is_auth(exc), **explain(exc))
        sys.exit(REFUSED if _is_auth(exc) else FAILED)
