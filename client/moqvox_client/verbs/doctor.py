"""`moqvox doctor`: look at everything that could be in the way, and say what to do."""

import datetime
import urllib.parse
from collections.abc import Callable
from typing import Annotated, Final

from moqvox_client.checks import Finding, Status, machine, network, server
from moqvox_client.errors import UsageError
from moqvox_client.flags import (
    DEFAULT_BIND,
    Bind,
    TlsCert,
    TlsFingerprint,
    TlsInsecure,
    TlsKey,
    TlsRoot,
    Token,
)
from moqvox_client.kinds import Duration, Url
from moqvox_client.options import Flag, Shared
from moqvox_client.output import Color, Output

__all__ = ["EXAMPLES", "Options", "run"]

EXAMPLES: Final = """
moqvox doctor                                 # this machine
moqvox doctor --tls-cert tls/cert.pem --tls-key tls/key.pem
moqvox doctor --url https://localhost:4443/ --tls-root tls/ca.pem
moqvox doctor --json | jq -r 'select(.status == "fail") | .remedy'
"""

COLORS: Final = {
    Status.OK: Color.GOOD,
    Status.WARN: Color.WARNING,
    Status.FAIL: Color.BAD,
}


class Options(Shared, frozen=True, kw_only=True):
    """What to look at besides the machine itself."""

    bind: Bind = DEFAULT_BIND
    url: Annotated[Url | None, Flag("a server to reach")] = None
    tls_cert: TlsCert = None
    tls_key: TlsKey = None
    tls_fingerprint: TlsFingerprint = ()
    tls_root: TlsRoot = None
    tls_insecure: TlsInsecure = False
    token: Token = None
    timeout: Annotated[Duration, Flag("how long to wait for the server")] = 5.0


async def run(options: Options, output: Output) -> int:
    """Run every check; 1 if one of them failed."""
    if (options.tls_cert is None) != (options.tls_key is None):
        raise UsageError("--tls-cert and --tls-key go together")
    findings = [
        _report(finding, output) for check in local_checks(options) for finding in _findings(check)
    ]
    url = options.url
    if url is not None:
        shown = urllib.parse.urlsplit(url)._replace(query="").geturl()
        found = await server.reach(shown, lambda: _session(url, options), timeout=options.timeout)
        findings.append(_report(found, output))
    failures = sum(found.status is Status.FAIL for found in findings)
    warnings = sum(found.status is Status.WARN for found in findings)
    healthy = not failures
    output.text(f"\n{len(findings)} checks, {failures} failed, {warnings} with a warning")
    output.done(ok=healthy, checks=len(findings), failures=failures, warnings=warnings)
    return 0 if healthy else 1


def local_checks(options: Options) -> list[Callable[[], Finding | list[Finding]]]:
    """List the checks that need no server, in the order of their printing."""
    checks: list[Callable[[], Finding | list[Finding]]] = [
        machine.python,
        machine.packages,
        machine.codec,
        machine.clock,
        network.loopback,
        network.buffers,
        network.dual_stack,
        lambda: network.port_free(options.bind),
        machine.demo,
        machine.sound,
    ]
    cert, key = options.tls_cert, options.tls_key
    if cert is not None and key is not None:
        now = datetime.datetime.now(datetime.UTC)
        checks.append(lambda: server.certificate(cert, key, now))
    return checks


def _findings(check: Callable[[], Finding | list[Finding]]) -> list[Finding]:
    found = check()
    return [found] if isinstance(found, Finding) else found


async def _session(url: str, options: Options) -> str:
    """Open a session and say what was agreed on."""
    # The library is what is under examination: the doctor starts without it.
    from moqvox.connect import connect
    from moqvox_client.trust import verify

    trust = verify(options.tls_fingerprint, options.tls_root, insecure=options.tls_insecure)
    opening = connect(url, verify=trust, token=options.token or "", timeout=options.timeout)
    async with opening as driver:
        return f"{driver.session.version} over {driver.connection.kind.value}"


def _report(finding: Finding, output: Output) -> Finding:
    output.event(
        "check",
        name=finding.name,
        status=finding.status,
        detail=finding.detail,
        remedy=finding.remedy or None,
    )
    word = output.paint(f"{finding.status.value:<4}", COLORS[finding.status])
    output.text(f"{word}  {finding.name:<12}  {finding.detail}")
    if finding.remedy:
        output.text(f"{'':<20}{output.paint(finding.remedy, Color.STRONG)}")
    return finding
