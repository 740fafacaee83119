"""Calling a server that is known: the first words go along with the first packet."""

import asyncio

import pytest
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


async def speak(desk, wallet, *, verify: Verify):
    """Call, speak before anything is connected, and tell what became of it."""
    heard = []
    wallet.has_ticket.clear()
    port = desk.addresses[0][1]
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

    asyncio.run(main())


def test_words_that_a_restarted_server_does_not_take_early_reach_it_all_the_same():
    async def main():
        wallet = Purse()
        verify = Verify.nothing()
        async with voice.serve("127.0.0.1:0", keys=KEYS) as desk:
            await speak(desk, wallet, verify=verify)
            port = desk.addresses[0][1]
        async with voice.serve(f"127.0.0.1:{port}", keys=KEYS) as desk:
            assert await speak(desk, wallet, verify=verify) == (1, False)

    asyncio.run(main())


def test_a_server_that_has_unlearnt_it_hears_everything(monkeypatch):
    async def main():
        wallet = Purse()
        verify = Verify.nothing()
        async with voice.serve("127.0.0.1:0") as desk:
            await speak(desk, wallet, verify=verify)
            monkeypatch.setattr("moqvox.voice.ahead.AGREED_TRACKS", {})
            assert await speak(desk, wallet, verify=verify) == (0, True)

    asyncio.run(main())
