"""An echo agent on `moqvox.voice`: every Opus packet of an utterance goes back as it comes.

`python -m bench.echo --bind 127.0.0.1:0 --tls-cert CERT --tls-key KEY`. No codec runs: what is
measured is the transport and the voice room.
"""

import argparse
import asyncio
import json
import logging
import signal
from pathlib import Path

from moqvox import voice
from moqvox.collector import spare
from moqvox.transport.credentials import ServerCertificate


async def _echo(session: voice.Session, tasks: asyncio.TaskGroup) -> None:
    async for utterance in session.utterances():
        tasks.create_task(_answer(session, utterance))


async def _answer(session: voice.Session, utterance: voice.Utterance) -> None:
    async with session.respond() as response:
        async for packet in utterance.opus():
            if not await response.write_packet(packet.opus):
                return


async def _serve(args: argparse.Namespace) -> None:
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    tls = ServerCertificate(args.tls_cert.read_bytes(), args.tls_key.read_bytes())
    async with (
        spare(lambda: False),
        voice.serve(args.bind, tls=tls) as desk,
        asyncio.TaskGroup() as tasks,
    ):
        host, port = desk.addresses[0]
        print(json.dumps({"event": "ready", "address": f"{host}:{port}"}), flush=True)
        async for session in desk:
            tasks.create_task(_echo(session, tasks))


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bind", default="127.0.0.1:0")
    parser.add_argument("--tls-cert", type=Path, required=True)
    parser.add_argument("--tls-key", type=Path, required=True)
    logging.basicConfig(level=logging.WARNING)
    try:
        asyncio.run(_serve(parser.parse_args()))
    except asyncio.CancelledError:
        return


if __name__ == "__main__":
    main()
