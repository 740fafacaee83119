"""Calling a server that is known: the first words go along with the first packet."""

import asyncio

import pytest
from tests import aio
from tests.unit.voice.calls import packets

from moqvox import voice
from moqvox.connect import Wallet
from moqvox.transport.credentials import Verify
from moqvox.transport.quic import Keys

pytestmark = pytest.mark.net

KEYS = Keys(bytes(32))
PATIENCE = 20.0


class Purse(Wallet):
    """A wallet that tells when a ticket was put into it."""

    def __init__(self) -> None:
        super().__init__()
        self.has_ticket = asyncio.Event()

    def keep(self, *arguments) -> None:
        super().keep(*arguments)
        self.has_ticket.set()


async def hear(desk, heard):
    async for session in desk:
        async for utterance in session.utterances():
            heard.append([packet.opus async for packet in utterance.opus()])


async def speak(desk, wallet, *, verify: Verify, port: int = 0):
    """Call, speak before anything is connected, and tell what became of it."""
    heard = []
    wallet.has_ticket.clear()
    port = port or desk.addresses[0][1]
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
        hearing = tasks.create_task(hear(desk, heard))
        async with voice.call(f"moqt://127.0.0.1:{port}/", verify=verify, wallet=wallet) as call:
            speech = call.speak()
            for packet in packets(20):
                speech.write_packet(packet)
            speech.finish()
            receipt = await speech.receipt()
            driver = await call.connected()
            await wallet.has_ticket.wait()
            adopted = len(driver.session._publisher.anticipations._adopted)
            early = driver.connection._link.engine.tls.early_data_accepted
        hearing.cancel()
    assert speech.intact(receipt)
    assert heard == [list(packets(20))]
    return adopted, early


def test_the_second_call_speaks_first_and_nothing_is_lost_or_said_twice():
    async def main():
        wallet = Purse()
        async with voice.serve("127.0.0.1:0") as desk:
            verify = Verify.pinned([desk.fingerprint])
            assert await speak(desk, wallet, verify=verify) == (0, False)
            for _ in range(2):
                assert await speak(desk, wallet, verify=verify) == (1, True)

    aio.run(main(), sockets=True)


def test_words_that_a_restarted_server_does_not_take_early_reach_it_all_the_same():
    async def main():
        wallet = Purse()
        verify = Verify.nothing()
        async with voice.serve("127.0.0.1:0", keys=KEYS) as desk:
            await speak(desk, wallet, verify=verify)
            port = desk.addresses[0][1]
        async with voice.serve(f"127.0.0.1:{port}", keys=KEYS) as desk:
            assert await speak(desk, wallet, verify=verify) == (1, False)

    aio.run(main(), sockets=True)


def test_a_server_that_has_unlearnt_it_hears_everything(monkeypatch):
    async def main():
        wallet = Purse()
        verify = Verify.nothing()
        async with voice.serve("127.0.0.1:0") as desk:
            await speak(desk, wallet, verify=verify)
            monkeypatch.setattr("moqvox.voice.ahead.AGREED_TRACKS", {})
            assert await speak(desk, wallet, verify=verify) == (0, True)

    aio.run(main(), sockets=True)


WORDS_BYTES = 2000
"""A first packet, and more than half of what `speak` says."""


class Tap(asyncio.DatagramProtocol):
    """Stands between a caller and a server, and records what the caller says first.

    Answers wait until that is `enough` bytes.
    """

    def __init__(self, server: tuple[str, int]) -> None:
        self.server = server
        self.enough = 0
        self.first_words: list[bytes] = []
        self.caller: tuple[str, int] | None = None
        self.answers: list[bytes] = []

    def connection_made(self, transport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        if address[1] == self.server[1]:
            self.answers.append(data)
        else:
            self.caller = address
            self.transport.sendto(data, self.server)
            if sum(map(len, self.first_words)) < self.enough:
                self.first_words.append(data)
        if sum(map(len, self.first_words)) >= self.enough:
            for answer in self.answers:
                self.transport.sendto(answer, self.caller)
            self.answers.clear()


async def first_words_heard(desk, record: list[bytes]) -> voice.Session:
    """Say a record to a server, and wait for the session that comes of it."""
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(
        asyncio.DatagramProtocol, remote_addr=("127.0.0.1", desk.addresses[0][1])
    )
    try:
        for data in record:
            transport.sendto(data)
        session = await anext(aiter(desk))
        utterance = await anext(session.utterances())
        assert (await anext(utterance.opus())).opus == packets(1)[0]
        return session
    finally:
        transport.close()


def test_a_record_of_first_words_that_another_server_takes_has_no_name_there():
    """It has the same keys and a register of its own; what its agent hears is not proven."""

    async def main():
        wallet = Purse()
        verify = Verify.nothing()
        loop = asyncio.get_running_loop()
        async with (
            asyncio.timeout(PATIENCE),
            voice.serve("127.0.0.1:0", keys=KEYS) as elsewhere,
            voice.serve("127.0.0.1:0", keys=KEYS) as desk,
        ):
            server = ("127.0.0.1", desk.addresses[0][1])
            transport, tap = await loop.create_datagram_endpoint(
                lambda: Tap(server), local_addr=("127.0.0.1", 0)
            )
            tapped = transport.get_extra_info("sockname")[1]
            for expected in (False, True):
                tap.enough = WORDS_BYTES * expected
                found = await speak(desk, wallet, verify=verify, port=tapped)
                assert found == (int(expected), expected)
            transport.close()
            session = await first_words_heard(elsewhere, tap.first_words)
            assert not session.id

    aio.run(main(), sockets=True)
