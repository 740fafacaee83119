"""A plain aioquic client, without a line of moqvox's, put to our endpoint: what QUIC owes it.

Each check is printed as a JSON line, `ok` or with what went wrong.
"""

# ruff: noqa: SLF001 - what it wants to know of aioquic's client has no public name

import argparse
import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.packet import QuicProtocolVersion
from aioquic.tls import Epoch, SessionTicket

PATIENCE: Final = 8.0
LATE_SECONDS: Final = 2.0
"""Longer than a server waits before it puts a handshake aside."""

UNKNOWN_VERSION: Final = 0x1A2A3A4A
"""Reserved to force version negotiation (RFC 9000, section 15)."""

PAYLOAD: Final = bytes(range(256)) * 400

Check = Callable[[str], Awaitable[None]]


@asynccontextmanager
async def dialled(address: str, **options: object) -> AsyncIterator[QuicConnectionProtocol]:
    """Hold a connection."""
    tickets, tokens = options.pop("tickets", None), options.pop("tokens", None)
    waits = not options.pop("early", False)
    create_protocol = options.pop("create_protocol", QuicConnectionProtocol)
    host, _, port = address.rpartition(":")
    configuration = QuicConfiguration(
        is_client=True, alpn_protocols=["echo-1"], verify_mode=ssl.CERT_NONE, **options
    )
    async with connect(
        host,
        int(port),
        configuration=configuration,
        create_protocol=create_protocol,
        session_ticket_handler=tickets.append if isinstance(tickets, list) else None,
        token_handler=tokens.append if isinstance(tokens, list) else None,
        wait_connected=waits,
    ) as protocol:
        yield protocol


async def echo(protocol: QuicConnectionProtocol) -> None:
    """Send bytes and see them come back."""
    reader, writer = await protocol.create_stream()
    writer.write(PAYLOAD)
    writer.write_eof()
    expect(await reader.read() == PAYLOAD, "the echo differs")


def expect(holds: object, words: str) -> None:
    """Fail, in words."""
    if not holds:
        raise AssertionError(words)


async def handshake(address: str) -> None:
    async with dialled(address) as protocol:
        await echo(protocol)


async def retry(address: str) -> None:
    async with dialled(address) as protocol:
        expect(protocol._quic._retry_source_connection_id, "there was no Retry")
        await echo(protocol)


async def version_negotiation(address: str) -> None:
    versions = [UNKNOWN_VERSION, QuicProtocolVersion.VERSION_1]
    async with dialled(address, supported_versions=versions) as protocol:
        expect(protocol._quic._version == QuicProtocolVersion.VERSION_1, "it is not version 1")
        await echo(protocol)


async def key_update(address: str) -> None:
    async with dialled(address) as protocol:
        for phase in (1, 0, 1):
            await echo(protocol)
            protocol.request_key_update()
            await protocol.ping()
            crypto = protocol._quic._cryptos[Epoch.ONE_RTT]
            expect(crypto.key_phase == phase, f"the key phase is {crypto.key_phase}")
            await echo(protocol)


async def resumption(address: str) -> None:
    tickets: list[SessionTicket] = []
    async with dialled(address, tickets=tickets) as protocol:
        await echo(protocol)
        expect(not protocol._quic.tls.session_resumed, "the first connection was resumed")
    expect(tickets, "no ticket came")
    async with dialled(address, session_ticket=tickets[-1]) as protocol:
        expect(protocol._quic.tls.session_resumed, "the second was not resumed")
        await echo(protocol)


async def early_data(address: str) -> None:
    """Speak early, twice with one ticket. Not after a Retry: upstream's client loses it then."""
    tickets: list[SessionTicket] = []
    async with dialled(address, tickets=tickets) as protocol:
        await echo(protocol)
    for is_first in (True, False):
        async with dialled(address, session_ticket=tickets[-1], early=True) as protocol:
            await echo(protocol)  # written before anything has come
            tls = protocol._quic.tls
            expect(tls.session_resumed, "it was not resumed")
            expect(tls.early_data_accepted is is_first, f"accepted: {tls.early_data_accepted}")


async def address_token(address: str) -> None:
    tokens: list[bytes] = []
    async with dialled(address, tokens=tokens) as protocol:
        expect(protocol._quic._retry_source_connection_id, "there was no Retry")
        await echo(protocol)
    expect(tokens, "no NEW_TOKEN came")
    for is_first in (True, False):
        async with dialled(address, token=tokens[-1]) as protocol:
            retried = protocol._quic._retry_source_connection_id is not None
            expect(retried is not is_first, f"asked to prove its address: {retried}")
            await echo(protocol)


async def rebinding(address: str) -> None:
    loop = asyncio.get_running_loop()
    async with dialled(address) as protocol:
        await echo(protocol)
        before = protocol._transport
        await loop.create_datagram_endpoint(lambda: protocol, local_addr=("::", 0))
        expect(protocol._transport is not before, "the socket is the same")
        protocol.change_connection_id()
        await echo(protocol)
        before.close()
        await echo(protocol)


class Late(QuicConnectionProtocol):
    """A client that says nothing for a while after its first packet, and hears all the same."""

    _is_mute = _has_spoken = False

    def transmit(self) -> None:
        """Send, but for the pause."""
        if self._is_mute:
            return
        super().transmit()
        if not self._has_spoken:
            self._has_spoken = self._is_mute = True
            self._loop.call_later(LATE_SECONDS, self._speak_again)

    def _speak_again(self) -> None:
        self._is_mute = False
        self.transmit()


async def late_answer(address: str) -> None:
    async with dialled(address, create_protocol=Late) as protocol:
        await echo(protocol)


CHECKS: Final[dict[str, Check]] = {
    "handshake": handshake,
    "version negotiation": version_negotiation,
    "key update": key_update,
    "resumption": resumption,
    "0-RTT, taken once": early_data,
    "rebinding to a new port and connection ID": rebinding,
    "an answer that comes two seconds late": late_answer,
}


async def _run(address: str, careful: str) -> None:
    for name, check, where in (
        *((name, check, address) for name, check in CHECKS.items()),
        ("Retry", retry, careful),
        ("Retry, then resumption", resumption, careful),
        ("NEW_TOKEN, good once", address_token, careful),
    ):
        detail = ""
        try:
            async with asyncio.timeout(PATIENCE):
                await check(where)
        except Exception as exc:  # noqa: BLE001 - reported, whatever it is
            detail = f"{type(exc).__name__}: {exc}"
        print(json.dumps({"event": "check", "name": name, "ok": not detail, "detail": detail}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address")
    parser.add_argument("careful", help="of a server that asks everybody for proof")
    args = parser.parse_args()
    asyncio.run(_run(args.address, args.careful))
