"""The public interop runner's rebind-port, rebind-addr and connectionmigration, and strangers.

The runner's parameters: 15 ms each way, 10 Mbit/s, a first rebinding after 1 s, then one every
5 s, and 10 MB of download.
"""

import asyncio
import socket
import sys
from collections.abc import Callable

import pytest
from aioquic.asyncio import QuicConnectionProtocol, serve
from aioquic.asyncio import connect as connect_plain
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicReceiveContext
from aioquic.quic.events import QuicEvent, StreamDataReceived
from tests import aio
from tests.loopback.pairs import PATIENCE, PROTOCOL, Reader, certificate, open_listener

from moqvox.transport.address import Address
from moqvox.transport.aioquic import connect
from moqvox.transport.credentials import Verify
from moqvox.transport.interface import Connection
from moqvox.transport.quic.connection_ids import Preferred
from moqvox_client.fate import Impairment
from moqvox_client.link import Link, Rebind, Settings

pytestmark = [
    pytest.mark.net,
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="127.0.0.2 is there on Linux only"),
    pytest.mark.filterwarnings("ignore:unclosed transport"),  # aioquic leaves its first one
]

SIZE = 10_000_000
RUNNER = Impairment(delay_ms=15.0, rate_kbps=10_000.0, queue_ms=30.0)
LONG = 60.0
MOVES = 20


def free_port(host: str) -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((host, 0))
        return sock.getsockname()[1]


async def dial(address: tuple[str, int]) -> Connection:
    return await connect(
        *address,
        protocols=[PROTOCOL],
        webtransport=False,
        verify=Verify.authority(certificate().ca_pem),
        server_name="localhost",
    )


async def download(connection: Connection) -> None:
    """Send as a server does that is asked for a file."""
    stream = connection.open_stream(bidirectional=False)
    block = bytes(range(256)) * 64
    for start in range(0, SIZE, len(block)):
        piece = block[: SIZE - start]
        connection.write(stream, piece, fin=start + len(piece) == SIZE)
        await connection.drain(stream)


async def read_to_end(reader: Reader) -> None:
    while not reader.ended:
        for event in await reader.connection.events():
            reader.note(event)


class Asked:
    """Notes whom an engine's peer asked for, and under which of its connection IDs it was."""

    def __init__(self, connection: Connection) -> None:
        engine = connection._link.engine
        self.challenges: list[tuple[Address, bytes]] = []
        self.responses: list[tuple[Address, bytes]] = []
        engine._handle_path_challenge_frame = self._noting(
            engine._handle_path_challenge_frame, self.challenges
        )
        engine._handle_path_response_frame = self._noting(
            engine._handle_path_response_frame, self.responses
        )

    def _noting(
        self, handle: Callable[..., None], notes: list[tuple[Address, bytes]]
    ) -> Callable[..., None]:
        def noting(context: QuicReceiveContext, *rest: object) -> None:
            notes.append((context.network_path.addr, context.host_cid))
            handle(context, *rest)

        return noting


async def fetch_where_preferred(settings: Settings) -> None:
    """Download from a server that prefers another address, each address behind a link."""
    second = ("127.0.0.2", free_port("127.0.0.2"))
    listener = await open_listener(preferred=[second])
    async with Link(listener.addresses[0], settings) as first, Link(second, settings) as link:
        listener._admission._issuer.preferred = Preferred.parse([link.address])
        client = Reader(await dial(first.address))
        server = Reader(await listener.accept())
        asked, answered = Asked(server.connection), Asked(client.connection)
        before = server.connection._link.engine.host_cid
        async with asyncio.timeout(LONG), asyncio.TaskGroup() as group:
            group.create_task(download(server.connection))
            group.create_task(read_to_end(client))
        (data,) = client.data.values()
        assert len(data) == SIZE
        assert client.connection.remote_address == "{}:{}".format(*link.address)
        assert client.connection.stats().path_changes == 1
        assert server.connection.stats().path_changes == 1
        for notes in (asked.challenges, asked.responses):
            assert notes
            assert before not in {used for _, used in notes}, "the ID that came with the address"
        assert answered.challenges
        assert answered.responses
        client.connection.close()
        await client.connection.wait_closed()
    await listener.close()


async def fetch(settings: Settings, *, migrates: bool = False) -> tuple[int, int]:
    """Download over a link; how often each side's path changed."""
    listener = await open_listener()
    async with Link(listener.addresses[0], settings) as link:
        client = Reader(await dial(link.address))
        server = Reader(await listener.accept())
        asked, answered = Asked(client.connection), Asked(server.connection)
        async with asyncio.timeout(LONG), asyncio.TaskGroup() as group:
            group.create_task(download(server.connection))
            reading = group.create_task(read_to_end(client))
            while migrates and not reading.done():
                await asyncio.sleep(1.0)
                if not reading.done():
                    client.connection.migrate()
        (data,) = client.data.values()
        assert len(data) == SIZE
        assert data == bytes(range(256)) * (SIZE // 256) + bytes(range(SIZE % 256))
        changes = client.connection.stats().path_changes, server.connection.stats().path_changes
        assert len(asked.challenges) >= changes[1], "the server asks on each new path"
        assert len({address for address, _ in answered.responses}) >= changes[1], "and is answered"
        client.connection.close()
        await client.connection.wait_closed()
    await listener.close()
    return changes


@pytest.mark.parametrize("address", [False, True], ids=["rebind-port", "rebind-addr"])
def test_a_download_goes_on_when_a_nat_rebinds(address):
    rebinds = tuple(Rebind(at, address) for at in (1.0, 6.0, 11.0, 16.0))
    ours, theirs = aio.run(fetch(Settings.both(RUNNER, rebinds=rebinds)), sockets=True)
    assert ours == 0
    assert theirs >= 2


def test_a_download_goes_on_at_the_address_that_the_server_prefers():
    aio.run(fetch_where_preferred(Settings.both(RUNNER)), sockets=True)


def test_a_download_goes_on_when_the_client_migrates():
    ours, theirs = aio.run(fetch(Settings.both(RUNNER), migrates=True), sockets=True)
    assert ours >= 5
    assert theirs >= ours - 1


class PlainEnd(QuicConnectionProtocol):
    """A plain aioquic peer that takes what comes and notes it."""

    ends: list["PlainEnd"]

    def __init__(self, *args: object, **options: object) -> None:
        super().__init__(*args, **options)
        self.data = bytearray()
        self.ended = asyncio.Event()
        self.ends.append(self)

    def quic_event_received(self, event: QuicEvent) -> None:
        if isinstance(event, StreamDataReceived):
            self.data += event.data
            if event.end_stream:
                self.ended.set()


def numbered(frames: int) -> bytes:
    return b"".join(number.to_bytes(4, "big") for number in range(frames))


async def speak(connection: Connection, frames: int) -> None:
    stream = connection.open_stream(bidirectional=False)
    for number in range(frames):
        connection.write(stream, number.to_bytes(4, "big"), fin=number == frames - 1)
        await asyncio.sleep(0.002)


def test_a_plain_aioquic_server_follows_our_client_without_loss(tmp_path):
    async def main() -> None:
        PlainEnd.ends = []
        configuration = QuicConfiguration(is_client=False, alpn_protocols=[PROTOCOL])
        cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
        cert.write_bytes(certificate().cert_pem)
        key.write_bytes(certificate().key_pem)
        configuration.load_cert_chain(cert, key)
        server = await serve("127.0.0.1", 0, configuration=configuration, create_protocol=PlainEnd)
        client = await dial(server._transport.get_extra_info("sockname"))

        async def roam() -> None:
            for number in range(MOVES):
                client.migrate((f"127.0.0.{2 + number % 2}", 0))
                await asyncio.sleep(0.03)

        async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
            group.create_task(speak(client, 400))
            group.create_task(roam())
        async with asyncio.timeout(PATIENCE):
            await PlainEnd.ends[0].ended.wait()
        assert PlainEnd.ends[0].data == numbered(400)
        assert client.stats().path_changes >= MOVES - 2
        client.close()
        await client.wait_closed()
        server.close()

    aio.run(main(), sockets=True)


def test_our_server_follows_a_plain_aioquic_client_that_changes_its_socket():
    async def main() -> None:
        PlainEnd.ends = []
        listener = await open_listener()
        configuration = QuicConfiguration(
            is_client=True,
            alpn_protocols=[PROTOCOL],
            server_name="localhost",
            cadata=certificate().ca_pem,
        )
        loop = asyncio.get_running_loop()
        host, port = listener.addresses[0]
        async with connect_plain(
            host,
            port,
            configuration=configuration,
            create_protocol=PlainEnd,
        ) as client:
            server = Reader(await listener.accept())
            quic = client._quic
            stream = quic.get_next_available_stream_id(is_unidirectional=True)
            for number in range(400):
                if number % 20 == 10:
                    sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
                    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
                    sock.bind((f"::ffff:127.0.0.{2 + number // 20 % 2}", 0))
                    await loop.create_datagram_endpoint(lambda: client, sock=sock)
                    if number % 40 == 10:
                        client.change_connection_id()
                quic.send_stream_data(stream, number.to_bytes(4, "big"), number == 399)
                client.transmit()
                await asyncio.sleep(0.002)
            await server.until(lambda reader: reader.ended)
            (data,) = server.data.values()
            assert data == numbered(400)
            assert server.connection.stats().path_changes >= MOVES - 2
        await listener.close()

    aio.run(main(), sockets=True)
