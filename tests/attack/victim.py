"""The servers under attack: `python -m tests.attack.victim ours|naive [--port P]`.

Both give every byte of a bidirectional stream back, over raw QUIC and over WebTransport.
`ours` has the collector as `moqvox relay` and `moqvox serve` have it.
`naive` is `aioquic.asyncio.serve` with `H3Connection`, as its examples have it.
A stream that begins with `deaf` makes the server read nothing more of that connection;
`tally` is answered with the number of streams that began with `vote`, on any connection.
"""

import argparse
import asyncio
import datetime
import json
import logging
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from aioquic.asyncio import QuicConnectionProtocol, serve
from aioquic.h3.connection import H3Connection
from aioquic.h3.events import HeadersReceived, WebTransportStreamDataReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import END_STATES
from aioquic.quic.events import ProtocolNegotiated, StreamDataReceived
from aioquic.quic.events import StreamReset as Abandoned
from tests.attack.stopwatch import run

from moqvox.collector import spare
from moqvox.errors import MoqError
from moqvox.transport.aioquic import Limits, listen
from moqvox.transport.aioquic.identity import identify
from moqvox.transport.credentials import ServerCertificate
from moqvox.transport.interface import Connection, StreamData, StreamOpened, StreamReset
from moqvox.transport.quic import Keys
from moqvox_certs import generate

RAW = "moq-lite-06"
VOTES = [0]
LEAVING: list[Callable[[], int]] = []
"""Of the server: counts its connections that are over, but not forgotten or not taken apart."""


def answer_to(data: bytes) -> bytes:
    if data.startswith(b"vote"):
        VOTES[0] += 1
    return str(VOTES[0]).encode() if data.startswith(b"tally") else data


async def echo(connection: Connection) -> None:
    both_ways = set()
    try:
        while True:
            for event in await connection.events():
                if isinstance(event, StreamOpened) and event.bidirectional:
                    both_ways.add(event.stream)
                elif isinstance(event, StreamReset) and event.stream in both_ways:
                    connection.reset(event.stream, event.code)
                    both_ways.discard(event.stream)
                elif isinstance(event, StreamData) and event.stream in both_ways:
                    if event.data.startswith(b"deaf"):
                        await connection.wait_closed()
                        return
                    connection.write(event.stream, answer_to(event.data), fin=event.fin)
                    if event.fin:
                        both_ways.discard(event.stream)
                    await connection.drain(event.stream)
    except MoqError:
        return


async def ours(port: int, identity: ServerCertificate, limits: Limits, keys: Keys | None) -> None:
    listener = await listen(
        "127.0.0.1", port, protocols=[RAW], certificate=identity, limits=limits, keys=keys
    )
    endpoint = listener._endpoint
    LEAVING.append(lambda: len(endpoint) - endpoint._running + len(endpoint._departures))
    report(listener.addresses[0])
    async with spare(lambda: False), asyncio.TaskGroup() as tasks:
        while True:
            tasks.create_task(echo(await listener.accept()))


class NaivePeer(QuicConnectionProtocol):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.http = None
        self.is_deaf = False
        self.unread = []

    def quic_event_received(self, event):
        if isinstance(event, ProtocolNegotiated) and event.alpn_protocol == "h3":
            self.http = H3Connection(self._quic, enable_webtransport=True)
        elif self.http is not None:
            for found in self.http.handle_event(event):
                self.http_event_received(found)
        elif isinstance(event, StreamDataReceived) and event.stream_id % 4 == 0:
            self.is_deaf = self.is_deaf or event.data.startswith(b"deaf")
            if self.is_deaf:
                self.unread.append(event.data)
            else:
                self.give_back(event.stream_id, event.data, event.end_stream)
        elif isinstance(event, Abandoned) and event.stream_id % 4 == 0:
            self._quic.reset_stream(event.stream_id, event.error_code)
            self.transmit()

    def http_event_received(self, event):
        if isinstance(event, HeadersReceived):
            answer = [(b":status", b"200"), (b"sec-webtransport-http3-draft", b"draft02")]
            self.http.send_headers(event.stream_id, answer)
        elif isinstance(event, WebTransportStreamDataReceived) and event.stream_id % 4 == 0:
            self.give_back(event.stream_id, event.data, event.stream_ended)

    def give_back(self, stream, data, end):
        self._quic.send_stream_data(stream, answer_to(data), end)
        self.transmit()


async def naive(port: int, identity: ServerCertificate) -> None:
    configuration = QuicConfiguration(
        is_client=False, alpn_protocols=[RAW, "h3"], max_datagram_frame_size=65536
    )
    identify(configuration, identity)
    server = await serve("127.0.0.1", port, configuration=configuration, create_protocol=NaivePeer)
    LEAVING.append(
        lambda: sum(one._quic._state in END_STATES for one in set(server._protocols.values()))
    )
    report(server._transport.get_extra_info("sockname"))
    await asyncio.Event().wait()


def leaving() -> int:
    return LEAVING[0]()


def report(address: tuple[str, int]) -> None:
    sys.stdout.write(json.dumps({"host": address[0], "port": address[1]}) + "\n")
    sys.stdout.flush()


def certificate(file: Path | None) -> ServerCertificate:
    """Take the identity from a file, or make one."""
    if file is not None:
        pem = file.read_bytes()
        return ServerCertificate(pem, pem[pem.index(b"-----BEGIN PRIVATE") :])
    made = generate(["localhost", "127.0.0.1"], datetime.datetime.now(datetime.UTC))
    return ServerCertificate(made.cert_pem, made.key_pem)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("ours", "naive"))
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument(
        "--identity", type=Path, help="certificate and key, which secrets follow from"
    )
    parser.add_argument("--retry", action="store_true", help="everyone must prove the address")
    args = parser.parse_args()
    logging.basicConfig(level=logging.CRITICAL if args.what == "naive" else logging.WARNING)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    identity = certificate(args.identity)
    if args.what == "naive":
        run(naive(args.port, identity), leaving)
        return
    limits = Limits(retry_above_half_open=0) if args.retry else Limits()
    keys = Keys(identity.key_pem) if args.identity else None
    run(ours(args.port, identity, limits, keys), leaving)


if __name__ == "__main__":
    main()
