"""Checks of a server: the certificate it would use, and whether it can be reached."""

import asyncio
import datetime
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import moqvox_certs
from moqvox_client.checks import Finding, fail, ok, warn

__all__ = ["certificate", "reach"]

RENEW: Final = "renew it; for development: moqvox certs DIR --force"

REACH_REMEDY: Final = (
    "is the server running, is its UDP port open in every firewall between, does the network"
    " block UDP?"
)


def certificate(cert: Path, key: Path, now: datetime.datetime) -> list[Finding]:
    """Check that a chain and its key can serve, for how long, and whether browsers may pin it."""
    try:
        loaded = moqvox_certs.load(cert, key, now=now)
    except moqvox_certs.CertificateError as exc:
        return [fail("certificate", str(exc), RENEW)]
    left = moqvox_certs.remaining(loaded, now=now)
    hosts = ", ".join(loaded.hosts) or "no host"
    detail = f"{hosts}; {_span(left)} left; sha256 {loaded.fingerprint_hex}"
    obstacles = moqvox_certs.pin_obstacles(loaded)
    pin = ok("pinning", "a browser can pin it by its sha256")
    if obstacles:
        pin = warn(
            "pinning",
            f"a browser can't pin it: {'; '.join(obstacles)}",
            "fine when a public CA signed it; else make one with moqvox certs",
        )
    if not loaded.hosts:
        return [fail("certificate", f"{cert} names no host", RENEW), pin]
    if left < moqvox_certs.EXPIRY_WARNING:
        return [warn("certificate", detail, RENEW), pin]
    return [ok("certificate", detail), pin]


async def reach(url: str, connect: Callable[[], Awaitable[str]], *, timeout: float) -> Finding:
    """Check that a server answers over UDP.

    Args:
        url: for the report.
        connect: opens and closes a session, and says what was agreed on.
        timeout: seconds.
    """
    loop = asyncio.get_running_loop()
    started = loop.time()
    try:
        async with asyncio.timeout(timeout):
            agreed = await connect()
    except TimeoutError:
        return fail("server", f"{url}: no answer within {timeout:g} s", REACH_REMEDY)
    except ImportError as exc:
        return fail("server", f"cannot load the library: {exc}", "pip install moqvox again")
    except Exception as exc:  # noqa: BLE001 - whatever it was, the doctor reports it
        text = " ".join(str(exc).split()) or type(exc).__name__
        return fail("server", f"{url}: {text}", REACH_REMEDY)
    took_ms = (loop.time() - started) * 1000
    return ok("server", f"{url}: {agreed}, connected in {took_ms:.0f} ms")


def _span(left: datetime.timedelta) -> str:
    if left >= datetime.timedelta(days=2):
        return f"{left.days} days"
    return f"{left.total_seconds() / 3600:.0f} hours"
