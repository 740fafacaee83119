"""A relay of ours that is killed and started again on the same port, with the same secret.

Prints `ready` when it listens; each line on stdin kills it, and `again` follows when it is back.
`python -m interop.restarter VERSION`.
"""

import asyncio
import json
import secrets
import sys
from typing import Final

from interop.moqvox import COMMAND

PATIENCE: Final = 20.0


def emit(event: str, **fields: object) -> None:
    """Print one event."""
    sys.stdout.write(json.dumps({"event": event, **fields}) + "\n")
    sys.stdout.flush()


async def start(
    version: str, secret: str, port: int
) -> tuple[asyncio.subprocess.Process, dict[str, object]]:
    """Start the relay; returns it and what it said."""
    relay = await asyncio.create_subprocess_exec(
        *COMMAND,
        *("relay", "--bind", f"127.0.0.1:{port}", "--tls-generate", "localhost", "--public", ""),
        *("--versions", version, "--secret", secret, "--no-websocket", "--json"),
        stdout=asyncio.subprocess.PIPE,
    )
    if relay.stdout is None:
        raise RuntimeError("no pipe")
    async with asyncio.timeout(PATIENCE):
        ready = json.loads(await relay.stdout.readline())
    return relay, ready


async def run(version: str) -> None:
    """Serve, and be killed as often as asked."""
    stdin = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stdin), sys.stdin)
    secret = secrets.token_hex(32)
    relay, ready = await start(version, secret, 0)
    try:
        emit("ready", address=ready["address"], fingerprint=ready["fingerprint"])
        while await stdin.readline():
            relay.kill()
            await relay.wait()
            relay, ready = await start(version, secret, int(str(ready["port"])))
            emit("again")
    finally:
        relay.kill()
        await relay.wait()


if __name__ == "__main__":
    asyncio.run(run(sys.argv[1]))
