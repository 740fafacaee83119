"""When a caller's first frame is heard, over QUIC: each opening by its round trips.

Sockets of this machine with a wide network between them, on a clock on which computing takes no
time. So what is counted is who waits for whom, and nothing else.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from tests import aio
from tests.loopback.test_speaking_first import Purse
from tests.unit.voice.calls import packets

from moqvox import voice
from moqvox.transport.credentials import Verify

pytestmark = pytest.mark.net

ONE_WAY = 0.5
ROUND = 2 * ONE_WAY
PATIENCE = 60.0
CLOSE_ENOUGH = 0.01
"""Of a round trip, 10 ms: each turn of the loop counts as a moment; see `tests.aio`."""


class Wide(asyncio.DatagramProtocol):
    """Carries datagrams between a server and one caller at a time, each a while later."""

    def __init__(self, server: tuple[str, int]) -> None:
        self.server = server
        self.caller: tuple[str, int] | None = None

    def connection_made(self, transport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        if address == self.server:
            other = self.caller
        else:
            self.caller, other = address, self.server
        asyncio.get_running_loop().call_later(ONE_WAY, self._deliver, data, other)

    def _deliver(self, data: bytes, other: tuple[str, int]) -> None:
        if not self.transport.is_closing():
            self.transport.sendto(data, other)


@contextlib.asynccontextmanager
async def far_away(server: tuple[str, int]) -> AsyncIterator[int]:
    """Put a wide network before a server; gives the port at which it begins."""
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(
        lambda: Wide(server), local_addr=("127.0.0.1", 0)
    )
    try:
        yield transport.get_extra_info("sockname")[1]
    finally:
        transport.close()


async def rounds_until_heard(desk, url: str, wallet: Purse) -> float:
    """Call, and have something to say from the start; tell when the first of it was heard."""
    loop = asyncio.get_running_loop()
    wallet.has_ticket.clear()
    began = loop.time()
    verify = Verify.pinned([desk.fingerprint])
    async with voice.call(url, verify=verify, wallet=wallet) as call:
        speech = call.speak()
        for packet in packets(5):
            speech.write_packet(packet)
        speech.finish()
        session = await anext(aiter(desk))
        heard = [packet async for packet in (await anext(session.utterances())).opus()]
        assert [packet.opus for packet in heard] == list(packets(5))
        assert speech.intact(await speech.receipt())
        await call.connected()
        await wallet.has_ticket.wait()
    return (heard[0].arrived - began) / ROUND


@pytest.mark.parametrize(
    ("scheme", "calls"),
    [("moqt", [1.5, 0.5]), ("https", [2.5])],
    ids=["raw, cold and resumed", "webtransport"],
)
def test_the_first_frame_is_heard_as_early_as_the_protocol_lets_it(scheme, calls):
    async def main():
        wallet = Purse()
        async with (
            asyncio.timeout(PATIENCE),
            voice.serve("127.0.0.1:0") as desk,
            far_away(("127.0.0.1", desk.addresses[0][1])) as port,
        ):
            url = f"{scheme}://127.0.0.1:{port}/"
            return [await rounds_until_heard(desk, url, wallet) for _ in calls]

    found = aio.run(main(), sockets=True)
    assert found == pytest.approx(calls, abs=CLOSE_ENOUGH)
