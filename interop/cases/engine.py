"""QUIC itself, with a client of plain aioquic."""

from typing import Final

from interop.cases.registry import Direction, case
from interop.failure import Failure
from interop.program import text
from interop.scene import Scene

CHECKS: Final = 7


@case("plain-quic", Direction.TO_MOQVOX)
async def plain_quic(scene: Scene) -> None:
    """Plain aioquic: Retry, version negotiation, key updates, resumption, a new port."""
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
