"""Connecting again: tickets, tokens, early data, and what a client sees when they are no good."""

import asyncio
import contextlib
import socket
import stat

import pytest
from tests import aio
from tests.loopback.pairs import (
    HASTY,
    PATIENCE,
    PROTOCOL,
    Reader,
    certificate,
    dial,
    open_listener,
)

from moqvox.errors import LocalError
from moqvox.transport.aioquic import Limits, Wallet
from moqvox.transport.credentials import Verify
from moqvox.transport.failures import NoAnswer
from moqvox.transport.quic import Keys
from moqvox.voice.dialling import Dialler, dialling

pytestmark = pytest.mark.net

KEYS = Keys(bytes(32))
RETRY_ALWAYS = Limits(linger=0.05, retry_above_half_open=0)


@contextlib.asynccontextmanager
async def listening(**options):
    listener = await open_listener(**{"limits": HASTY, "keys": KEYS, **options})
    try:
        yield listener
    finally:
        await listener.close()


async def leave(connection):
    connection.close()
    await connection.wait_closed()


class Purse(Wallet):
    """A wallet that tells when something was put into it."""

    def __init__(self, *arguments) -> None:
        super().__init__(*arguments)
        self.has_ticket, self.has_token = asyncio.Event(), asyncio.Event()

    def keep(self, *arguments) -> None:
        super().keep(*arguments)
        self.has_ticket.set()

    def keep_token(self, *arguments) -> None:
        super().keep_token(*arguments)
        self.has_token.set()


async def visit(listener, wallet, **options):
    """Connect, stay until a ticket and a token are there, and leave."""
    wallet.has_ticket.clear()
    wallet.has_token.clear()
    connection = await dial(listener, wallet=wallet, **options)
    accepted = await listener.accept()
    async with asyncio.timeout(PATIENCE):
        await wallet.has_ticket.wait()
        await wallet.has_token.wait()
    await leave(connection)
    return accepted


async def say(connection, data: bytes, *, early: bool = True) -> None:
    stream = connection.open_stream(bidirectional=False, early=early)
    connection.write(stream, data, fin=True)


async def heard(listener) -> bytes:
    return (await heard_early(listener))[0]


async def heard_early(listener) -> tuple[bytes, bool]:
    """Hear what is said, and tell whether the server took it ahead of the handshake."""
    reader = Reader(await listener.accept())
    await reader.until(lambda r: r.ended)
    accepted = reader.connection._link.engine.tls.early_data_accepted
    return b"".join(reader.data.values()), accepted


def test_the_second_connection_is_there_before_anybody_answers():
    async def main():
        wallet = Purse()
        async with listening() as listener:
            await visit(listener, wallet)
            connection = await dial(listener, wallet=wallet)
            engine = connection._link.engine
            assert engine.is_early
            assert connection.protocol == PROTOCOL
            await say(connection, b"early")
            assert await heard_early(listener) == (b"early", True)
            await leave(connection)

    aio.run(main(), sockets=True)


@pytest.mark.parametrize("keys", [KEYS, Keys(b"other" * 8)], ids=["same", "other"])
def test_what_was_said_early_reaches_a_restarted_server_too(keys):
    """The same keys resume without early data, since the register of uses is a new one."""

    async def main():
        wallet = Purse()
        async with listening() as listener:
            await visit(listener, wallet)
            port = listener.addresses[0][1]
        async with listening(port=port, keys=keys) as listener:
            connection = await dial(listener, wallet=wallet)
            assert connection._link.engine.is_early
            await say(connection, b"early")
            assert await heard_early(listener) == (b"early", False)
            assert connection._link.engine.tls.session_resumed is (keys is KEYS)
            await leave(connection)

    aio.run(main(), sockets=True)


def test_early_data_is_not_lost_by_a_retry():
    async def main():
        wallet = Purse()
        async with listening() as listener:
            await visit(listener, wallet)
            port = listener.addresses[0][1]
        wallet.take_token(next(iter(wallet._pockets)))
        async with listening(port=port, limits=RETRY_ALWAYS) as listener:
            connection = await dial(listener, wallet=wallet)
            await say(connection, b"early")
            assert await heard(listener) == b"early"
            assert connection._link.engine._retry_count == 1
            await leave(connection)

    aio.run(main(), sockets=True)


@pytest.mark.parametrize("webtransport", [False, True])
def test_a_token_spares_the_next_connection_the_retry_once(webtransport):
    async def main():
        wallet = Purse()
        async with listening(limits=RETRY_ALWAYS) as listener:
            retries = []
            for _ in range(3):
                accepted = await visit(listener, wallet, webtransport=webtransport)
                engine = accepted._link.engine
                retries.append(engine._retry_source_connection_id is not None)
            assert retries == [True, False, False]
            engine = (await visit(listener, Purse(), webtransport=webtransport))._link.engine
            assert engine._retry_source_connection_id is not None

    aio.run(main(), sockets=True)


def test_webtransport_is_resumed_but_never_early():
    async def main():
        wallet = Purse()
        async with listening() as listener:
            await visit(listener, wallet, webtransport=True)
            connection = await dial(listener, wallet=wallet, webtransport=True)
            engine = connection._link.engine
            assert engine.tls.session_resumed
            assert not engine.tls.early_data_accepted
            await leave(connection)

    aio.run(main(), sockets=True)


def test_a_ticket_got_without_looking_is_not_used_where_one_looks():
    async def main():
        wallet = Purse()
        async with listening() as listener:
            await visit(listener, wallet, verify=Verify.nothing())
            connection = await dial(listener, wallet=wallet)
            assert not connection._link.engine.tls.session_resumed
            await leave(connection)

    aio.run(main(), sockets=True)


def test_an_early_connection_that_nobody_answers_ends_and_says_why():
    async def main():
        wallet = Purse()
        async with listening() as listener:
            await visit(listener, wallet)
        reader = Reader(await dial(listener, wallet=wallet, timeout=0.2))
        closed = await reader.until_closed()
        assert closed.lost
        assert "nothing listens" in closed.reason or "did not answer" in closed.reason

    aio.run(main(), sockets=True)


@pytest.mark.parametrize("early", [True, False])
def test_a_ticket_that_nobody_answered_resumes_the_next_time_but_is_not_early(early):
    async def main():
        wallet = Purse()
        async with listening() as listener:
            await visit(listener, wallet)
            port = listener.addresses[0][1]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
            silent.bind(("127.0.0.1", port))
            dialled = dial(listener, wallet=wallet, timeout=0.05, early=early)
            if early:
                await (await dialled).wait_closed()
            else:
                with pytest.raises(NoAnswer):
                    await dialled
        async with listening(port=port) as listener:
            connection = await dial(listener, wallet=wallet)
            await listener.accept()
            engine = connection._link.engine
            assert engine.tls.session_resumed
            assert not engine.tls.early_data_accepted
            await leave(connection)

    aio.run(main(), sockets=True)


def test_who_will_not_be_early_has_the_answer_first_and_is_resumed():
    async def main():
        wallet = Purse()
        async with listening() as listener:
            await visit(listener, wallet)
            connection = await dial(listener, wallet=wallet, early=False)
            engine = connection._link.engine
            assert engine.tls.session_resumed
            assert not engine.is_early
            await say(connection, b"in time")
            assert await heard(listener) == b"in time"
            await leave(connection)

    aio.run(main(), sockets=True)


def test_a_call_takes_another_connection_for_there_only_once_it_is_answered():
    """Else it would give up the one it has for one into the dead network."""

    async def main():
        wallet = Purse()
        trust = Verify.authority(certificate().ca_pem)
        options = {"token": "", "versions": [PROTOCOL], "timeout": 0.2, "origin_id": 1}
        async with dialling(Dialler(verify=trust, wallet=wallet, **options)) as dial_next:
            async with listening() as listener:
                host, port = listener.addresses[0]
                url = f"moqt://{host}:{port}/"
                await dial_next(url)
                async with asyncio.timeout(PATIENCE):
                    await wallet.has_ticket.wait()
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
                silent.bind((host, port))
                with pytest.raises(NoAnswer):
                    await dial_next(url)

    aio.run(main(), sockets=True)


def test_a_call_s_first_connection_may_be_early():
    async def main():
        wallet = Purse()
        trust = Verify.authority(certificate().ca_pem)
        options = {"token": "", "versions": [PROTOCOL], "timeout": PATIENCE, "origin_id": 1}
        async with listening() as listener:
            await visit(listener, wallet)
            host, port = listener.addresses[0]
            async with dialling(Dialler(verify=trust, wallet=wallet, **options)) as dial_first:
                driver = await dial_first(f"moqt://{host}:{port}/")
                assert driver.connection._link.engine.is_early

    aio.run(main(), sockets=True)


def test_a_wallet_in_a_file_outlives_the_program_and_is_its_owners_only(tmp_path):
    async def main():
        file = tmp_path / "tickets.json"
        async with listening() as listener:
            await visit(listener, Purse(file))
            assert stat.S_IMODE(file.stat().st_mode) == 0o600
            connection = await dial(listener, wallet=Wallet(file))
            assert connection._link.engine.is_early
            assert Wallet(file).take(next(iter(Wallet(file)._pockets)), [PROTOCOL]) is None
            await leave(connection)

    aio.run(main(), sockets=True)


@pytest.mark.parametrize("content", [b"", b"[]", b'{"a": 1}', b"\xff"])
def test_a_file_that_is_no_wallet_is_told_in_one_line(tmp_path, content):
    file = tmp_path / "tickets.json"
    file.write_bytes(content)
    with pytest.raises(LocalError, match="no tickets are in it"):
        Wallet(file)
