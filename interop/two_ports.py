"""A moqvox server without UDP on one port and without TCP on another, for the same broadcasts.

A client that may use WebSocket uses it only where WebTransport fails, and where a port has no
UDP it does fail. Prints `ready` with both addresses; ends when stdin does.
"""

import argparse
import asyncio
import datetime
import functools
import json
import sys

from moqvox.listen import Server, make_driver
from moqvox.model.cache import Budget
from moqvox.model.origin import Origin
from moqvox.transport.aioquic import listen as listen_quic
from moqvox.transport.credentials import ServerCertificate
from moqvox.transport.websocket import listen_websocket
from moqvox_certs import generate


async def _serve(server: Server, hub: Origin) -> None:
    async for incoming in server:
        await incoming.path()
        incoming.accept(publish=hub, consume=hub)


async def _run(version: str) -> None:
    made = generate(["localhost", "127.0.0.1"], datetime.datetime.now(datetime.UTC))
    identity = ServerCertificate(made.cert_pem, made.key_pem)
    udp = await listen_quic("127.0.0.1", 0, protocols=[version], certificate=identity)
    tcp = await listen_websocket("127.0.0.1", 0, protocols=[version], tls=identity)
    addresses = {
        name: "{}:{}".format(*listener.addresses[0])
        for name, listener in (("udp", udp), ("tcp", tcp))
    }
    server = Server(udp, tcp)
    hub = Origin()
    make = functools.partial(make_driver, origin_id=hub.id, budget=Budget())
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(server.run(make)), tasks.create_task(_serve(server, hub))]
        print(json.dumps({"event": "ready", "fingerprint": made.fingerprint_hex, **addresses}))
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.read)
        await server.close()
        for task in running:
            task.cancel()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("version")
    asyncio.run(_run(parser.parse_args().version))
