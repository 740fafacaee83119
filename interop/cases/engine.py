"""QUIC itself, with plain aioquic at the other end."""

from typing import Final

from interop.cases.registry import Direction, case
from interop.failure import Failure
from interop.program import Event, text
from interop.scene import Scene

CHECKS: Final = 10


@case("plain-quic", Direction.TO_MOQVOX)
async def plain_quic(scene: Scene) -> None:
    """Plain aioquic: Retry, tokens, version negotiation, key updates, 0-RTT, a new port."""
    addresses = []
    for arguments in ([], ["--careful"]):
        server = await scene.tool("echo_server", *arguments)
        addresses.append(text(await server.event("ready"), "address"))
    client = await scene.tool("plain_quic", *addresses)
    await client.finished()
    checks = client.all("check")
    failed = [f"{text(it, 'name')}: {text(it, 'detail')}" for it in checks if not it.fields["ok"]]
    if failed or len(checks) != CHECKS:
        raise Failure(f"{len(failed)} of {len(checks)} checks failed: {'; '.join(failed)}")


@case("plain-quic-server", Direction.FROM_MOQVOX)
async def plain_quic_server(scene: Scene) -> None:
    """Our client at plain aioquic: 0-RTT of what may be early, with each ticket, after a Retry."""
    for arguments in ([], ["--retry"]):
        server = await scene.tool("plain_server", *arguments)
        ready = await server.event("ready")
        visitor = await scene.tool("visitor", text(ready, "address"), text(ready, "fingerprint"))
        await visitor.finished()
        failed = [text(it, "detail") for it in visitor.all("call") if not it.fields["ok"]]
        if failed:
            raise Failure("; ".join(failed))
        _check_handshakes(server.all("handshake"), retried=bool(arguments))
        server.leave()


def _check_handshakes(seen: list[Event], *, retried: bool) -> None:
    """Compare what the server saw of our calls; only the first comes without a ticket.

    The client's second stream may be early, its first may not.
    """
    found = [(it.fields["resumed"], it.fields["early"], it.fields["retried"]) for it in seen]
    first, later = (False, False, retried), (True, True, retried)
    if found != [first, later, later]:
        raise Failure(f"the server saw (resumed, early, retried) {found}")
    ahead = [it.fields["ahead"] for it in seen]
    if ahead[0] != [] or any(streams not in ([], [4]) for streams in ahead):
        raise Failure(f"ahead of its answer the server had streams {ahead}")
    if not retried and [4] not in ahead:
        raise Failure("nothing came ahead of the server's answer")
