"""Our QUIC client calls an echo server again and again with one wallet: `ADDRESS FINGERPRINT`.

Two streams are echoed in each call: one that may leave before the server's answer, and before it
one that may not. Each call is printed as a JSON line: whether the echoes were right.
"""

import argparse
import asyncio
import json
from typing import Final

from aioquic.tls import SessionTicket

from moqvox.errors import MoqError
from moqvox.transport.aioquic import Wallet, connect
from moqvox.transport.credentials import Verify
from moqvox.transport.interface import Closed, Connection, StreamData

CALLS: Final = 3
PATIENCE: Final = 8.0
PAYLOAD: Final = b"said early, if that is allowed; " * 20


class Purse(Wallet):
    """A wallet that tells when a ticket was put into it."""

    def __init__(self) -> None:
        super().__init__()
        self.has_ticket = asyncio.Event()

    def keep(self, server: str, session: SessionTicket, protocol: str, host: str) -> None:
        """Keep a ticket, and tell."""
        super().keep(server, session, protocol, host)
        self.has_ticket.set()


async def echo(connection: Connection) -> list[bytes]:
    """Say the same on a stream that waits and on one that may be early; what comes back."""
    back: dict[int, bytes] = {}
    for early in (False, True):
        stream = connection.open_stream(bidirectional=True, early=early)
        connection.write(stream, PAYLOAD, fin=True)
        back[stream] = b""
    ended = 0
    while ended < len(back):
        for event in await connection.events():
            if isinstance(event, Closed):
                return list(back.values())
            if isinstance(event, StreamData):
                back[event.stream] += event.data
                ended += event.fin
    return list(back.values())


async def call(host: str, port: int, verify: Verify, wallet: Purse) -> None:
    """Call once, echo, stay until there is a ticket for the next time."""
    wallet.has_ticket.clear()
    detail = ""
    try:
        async with asyncio.timeout(PATIENCE):
            connection = await connect(
                host,
                port,
                protocols=["echo-1"],
                webtransport=False,
                verify=verify,
                wallet=wallet,
            )
            if await echo(connection) != [PAYLOAD, PAYLOAD]:
                detail = "the echoes differ"
            await wallet.has_ticket.wait()
            connection.close()
            await connection.wait_closed()
    except (MoqError, TimeoutError) as exc:
        detail = f"{type(exc).__name__}: {exc}"
    print(json.dumps({"event": "call", "ok": not detail, "detail": detail}), flush=True)


async def _run(address: str, fingerprint: str) -> None:
    host, _, port = address.rpartition(":")
    verify, wallet = Verify.pinned([fingerprint]), Purse()
    for _ in range(CALLS):
        await call(host, int(port), verify, wallet)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address")
    parser.add_argument("fingerprint")
    given = parser.parse_args()
    asyncio.run(_run(given.address, given.fingerprint))
