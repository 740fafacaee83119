"""An agent that notes what it hears and answers each utterance with one twice as long.

`python -m bench.scribe --bind 127.0.0.1:4443 --tls-cert CERT --tls-key KEY --secret HEXFILE`, or
`--url URL,URL --tls-cert CERT` behind relays. One JSON line for each utterance that is over: its
number, how many frames came, their digest, whether all of it. For `bench.resume`.
"""

import argparse
import asyncio
import datetime
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from moqvox import voice
from moqvox.listen import Keys
from moqvox.transport.credentials import ServerCertificate, Verify
from moqvox_certs import load


async def _note(session: voice.Session, tasks: asyncio.TaskGroup) -> None:
    async for utterance in session.utterances():
        tasks.create_task(_answer(session, utterance))


async def _answer(session: voice.Session, utterance: voice.Utterance) -> None:
    packets = [packet.opus async for packet in utterance.opus()]
    whole = utterance.is_whole
    _say(
        event="heard",
        number=utterance.number,
        frames=len(packets),
        digest=utterance.tally.digest,
        whole=whole,
    )
    if whole and not session.closed:
        response = session.respond()
        for packet in packets * 2:
            if not await response.write_packet(packet):
                return
        played = await response.played()
        _say(event="played", ms=played.ms, sent_ms=played.sent_ms, complete=played.complete)


def _say(**fields: object) -> None:
    print(json.dumps(fields), flush=True)


@asynccontextmanager
async def _desk(args: argparse.Namespace) -> AsyncIterator[voice.Desk]:
    if args.url:
        now = datetime.datetime.now(datetime.UTC)
        verify = Verify.pinned([load(args.tls_cert, args.tls_key, now=now).fingerprint_hex])
        async with voice.attend(args.url.split(","), verify=verify) as desk:
            yield desk
        return
    tls = ServerCertificate(args.tls_cert.read_bytes(), args.tls_key.read_bytes())
    keys = Keys.read(args.secret)
    async with voice.serve(args.bind, tls=tls, keys=keys, websocket=False) as desk:
        yield desk


async def _serve(args: argparse.Namespace) -> None:
    async with _desk(args) as desk, asyncio.TaskGroup() as tasks:
        _say(event="ready", address=":".join(map(str, (desk.addresses or [("", 0)])[0])))
        async for session in desk:
            tasks.create_task(_note(session, tasks))


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bind", default="127.0.0.1:0")
    parser.add_argument("--url", default="")
    parser.add_argument("--tls-cert", type=Path, required=True)
    parser.add_argument("--tls-key", type=Path)
    parser.add_argument("--secret", type=Path)
    logging.basicConfig(level=logging.WARNING)
    asyncio.run(_serve(parser.parse_args()))


if __name__ == "__main__":
    main()
