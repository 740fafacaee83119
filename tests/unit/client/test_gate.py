"""The TCP gate forwards, holds up during an outage, and lets go at its end."""

import asyncio
import contextlib

import pytest
from tests import aio

from moqvox_client import gate as gates
from moqvox_client.gate import Gate

pytestmark = pytest.mark.net


async def echo(reader, writer):
    while piece := await reader.read(1000):
        writer.write(piece)
    writer.close()


@contextlib.asynccontextmanager
async def gated():
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server, Gate(server.sockets[0].getsockname()) as gate:
        yield gate


def test_bytes_and_ends_pass_both_ways():
    async def main():
        async with gated() as gate:
            reader, writer = await asyncio.open_connection(*gate.address)
            writer.write(b"hello")
            assert await reader.readexactly(5) == b"hello"
            writer.write_eof()
            assert await reader.read() == b""
            writer.close()

    aio.run(main(), virtual=False)


def test_an_outage_holds_bytes_up_and_loses_none():
    async def main():
        loop = asyncio.get_running_loop()
        async with gated() as gate:
            reader, writer = await asyncio.open_connection(*gate.address)
            writer.write(b"before")
            assert await reader.readexactly(6) == b"before"
            began = loop.time()
            gate.outage(0.2)
            writer.write(b"during")
            late = await asyncio.open_connection(*gate.address)
            late[1].write(b"too")
            assert await reader.readexactly(6) == b"during"
            assert await late[0].readexactly(3) == b"too"
            assert loop.time() - began >= 0.2
            for each in (writer, late[1]):
                each.close()

    aio.run(main(), virtual=False)


def test_leaving_the_gate_ends_what_goes_through_it():
    async def main():
        async with gated() as gate:
            reader, writer = await asyncio.open_connection(*gate.address)
            writer.write(b"x")
            await reader.readexactly(1)
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
        writer.close()

    aio.run(main(), virtual=False)


def test_more_connections_than_it_takes_are_closed(monkeypatch):
    monkeypatch.setattr(gates, "MAX_CONNECTIONS", 1)

    async def main():
        async with gated() as gate:
            first = await asyncio.open_connection(*gate.address)
            first[1].write(b"x")
            await first[0].readexactly(1)
            second = await asyncio.open_connection(*gate.address)
            assert await second[0].read() == b""
            for _, writer in (first, second):
                writer.close()

    aio.run(main(), virtual=False)


def test_a_server_that_is_not_there_closes_the_connection():
    async def main():
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        server.close()
        await server.wait_closed()
        async with Gate(address) as gate:
            reader, writer = await asyncio.open_connection(*gate.address)
            assert await reader.read() == b""
            writer.close()

    aio.run(main(), virtual=False)
