"""A server with several addresses: it answers from the one that was asked, and may prefer one."""

import asyncio
import contextlib
import socket
import sys

import pytest
from aioquic.asyncio import QuicConnectionProtocol
from aioquic.asyncio import connect as connect_plainly
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import StreamDataReceived
from tests import aio
from tests.loopback.echoes import ask, echo
from tests.loopback.pairs import (
    HASTY,
    PATIENCE,
    PROTOCOL,
    Reader,
    certificate,
    identity,
    open_listener,
)
from tests.loopback.test_restart import kill

from moqvox.errors import LocalError
from moqvox.transport.aioquic import Limits, connect, listen
from moqvox.transport.credentials import Verify
from moqvox.transport.failures import ConnectFailed
from moqvox.transport.quic import Keys

pytestmark = [
    pytest.mark.net,
    pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell"),
]

EVERYWHERE = ("::", "0.0.0.0")


@contextlib.asynccontextmanager
async def echoing(host: str, **options: object):
    options = {"protocols": [PROTOCOL], "certificate": identity(), "limits": HASTY, **options}
    listener = await listen(host, 0, **options)
    async with asyncio.timeout(3 * PATIENCE), asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(echo(listener, []))
        try:
            yield listener
        finally:
            serving.cancel()
            await listener.close()


async def call(host: str, port: int, timeout: float = PATIENCE, **options: object) -> Reader:
    options = {"verify": Verify.authority(certificate().ca_pem), "limits": HASTY, **options}
    connection = await connect(
        host,
        port,
        protocols=[PROTOCOL],
        webtransport=False,
        server_name="localhost",
        timeout=timeout,
        **options,
    )
    return Reader(connection)


async def hang_up(client: Reader) -> None:
    client.connection.close()
    await client.until_closed()


@pytest.mark.parametrize("host", EVERYWHERE)
@pytest.mark.parametrize("asks_to_retry", [False, True])
def test_answers_come_from_the_address_that_was_asked(host, asks_to_retry):
    limits = Limits(linger=0.05, retry_above_half_open=0 if asks_to_retry else 100)

    async def main() -> None:
        async with echoing(host, limits=limits) as listener:
            port = listener.addresses[0][1]
            addresses = ["127.0.0.1", "127.0.0.2", "127.99.1.3"]
            addresses += ["::1"] if host == "::" else []
            for address in addresses:
                client = await call(address, port)
                await ask(client, address.encode())
                await hang_up(client)

    aio.run(main(), sockets=True)


@pytest.mark.slow
def test_without_that_clients_take_the_answers_for_a_strangers(monkeypatch):
    monkeypatch.setattr("moqvox.transport.aioquic.endpoint.listens_everywhere", lambda sock: False)

    async def main() -> None:
        async with echoing("::") as listener:
            with pytest.raises(ConnectFailed):
                await call("127.0.0.2", listener.addresses[0][1], timeout=1.0)

    aio.run(main(), sockets=True)


def test_who_is_answered_as_the_system_would_anyhow_costs_nothing_more():
    async def main() -> None:
        async with echoing("::") as listener:
            port = listener.addresses[0][1]
            usual, other = await call("127.0.0.1", port), await call("127.0.0.2", port)
            for client in (usual, other):
                await ask(client, b"hello")
            ways = listener._endpoint.ways
            links = {link.asked[2] for link in listener._endpoint._alive}
            assert len(links) == 2
            assert 0 in links
            assert len(ways._named) == 2, "one for the greeting of each"
            for client in (usual, other):
                await hang_up(client)

    aio.run(main(), sockets=True)


def test_a_reset_comes_from_the_address_that_was_asked():
    async def main() -> None:
        keys = Keys.generate()
        async with asyncio.timeout(PATIENCE):
            options = {"protocols": [PROTOCOL], "certificate": identity(), "keys": keys}
            before = await listen("::", 0, **options)
            port = before.addresses[0][1]
            client = await call("127.0.0.2", port)
            server = await before.accept()
            server.write(server.open_stream(bidirectional=False), b"hello", fin=True)
            await client.until(lambda reader: reader.ended)
            kill(before)
            after = await listen("::", port, **options)
            stream = client.connection.open_stream(bidirectional=False)
            client.connection.write(stream, b"still there?")
            assert "stateless reset" in (await client.until_closed()).reason
            await after.close()

    aio.run(main(), sockets=True)


def free_port(host: str) -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((host, 0))
        return sock.getsockname()[1]


@pytest.mark.parametrize("host", ["127.0.0.1", "::"])
def test_clients_go_on_at_the_address_that_the_server_prefers(host):
    async def main() -> None:
        preferred = ("127.0.0.2", free_port("127.0.0.2"))
        async with echoing(host, preferred=[preferred]) as listener:
            client = await call("127.0.0.1", listener.addresses[0][1])
            await client.until(lambda reader: reader.connection.stats().path_changes)
            assert client.connection.remote_address == "{}:{}".format(*preferred)
            await ask(client, b"here?")
            client.connection.migrate(("127.0.0.9", 0))
            await client.until(lambda reader: reader.connection.stats().path_changes == 2)
            assert client.connection.remote_address == "{}:{}".format(*preferred)
            await ask(client, b"and here?")
            await hang_up(client)

    aio.run(main(), sockets=True)


class Stranger(QuicConnectionProtocol):
    """A plain aioquic client."""

    def __init__(self, *args: object, **options: object) -> None:
        super().__init__(*args, **options)
        self.heard = asyncio.Queue()

    def quic_event_received(self, event: object) -> None:
        if isinstance(event, StreamDataReceived) and event.end_stream:
            self.heard.put_nowait(event.data)

    async def ask(self, words: bytes) -> bytes:
        stream = self._quic.get_next_available_stream_id()
        self._quic.send_stream_data(stream, words, end_stream=True)
        self.transmit()
        return await self.heard.get()


def test_a_strangers_client_goes_there_too():
    async def main() -> None:
        preferred = ("127.0.0.2", free_port("127.0.0.2"))
        configuration = QuicConfiguration(
            is_client=True, alpn_protocols=[PROTOCOL], server_name="localhost"
        )
        configuration.load_verify_locations(cadata=certificate().ca_pem)
        async with (
            echoing("127.0.0.1", preferred=[preferred]) as listener,
            connect_plainly(
                "127.0.0.1",
                listener.addresses[0][1],
                configuration=configuration,
                create_protocol=Stranger,
            ) as client,
        ):
            while client._quic.get_peer_address()[1] != preferred[1]:
                assert await client.ask(b"on the way") == b"on the way"
            assert client._quic.get_peer_address()[0].endswith("127.0.0.2")
            assert await client.ask(b"there") == b"there"
            assert client._quic._peer_cid.sequence_number == 1, "the ID that came with the address"
            [link] = listener._endpoint._alive
            assert client._quic._peer_cid.cid in link.connection_ids
            assert link.engine.peer[1], "the server has validated the path"

    aio.run(main(), sockets=True)


def test_more_addresses_than_ways_are_refused(monkeypatch):
    monkeypatch.setattr("moqvox.transport.aioquic.serve.MAX_WAYS", 1)

    async def main() -> None:
        with pytest.raises(LocalError, match="2 addresses to listen on; at most 1"):
            await open_listener(preferred=[("127.0.0.2", free_port("127.0.0.2"))])

    aio.run(main(), sockets=True)
