"""Names to addresses; an address needs no looking up."""

import asyncio
import socket

import pytest

from moqvox.transport.failures import HostUnknown
from moqvox.transport.resolve import Target, resolve


@pytest.mark.parametrize(
    ("host", "family", "address"),
    [
        ("192.0.2.1", socket.AF_INET, ("192.0.2.1", 443)),
        ("[2001:db8::1]", socket.AF_INET6, ("2001:db8::1", 443, 0, 0)),
        ("2001:db8::1", socket.AF_INET6, ("2001:db8::1", 443, 0, 0)),
    ],
)
def test_an_address_is_itself_without_a_thread(monkeypatch, host, family, address):
    async def main():
        loop = asyncio.get_running_loop()
        monkeypatch.setattr(loop, "getaddrinfo", None)
        assert await resolve(host, 443) == [Target(family, address)]

    asyncio.run(main())


def test_a_name_that_nobody_has_is_told(monkeypatch):
    async def main():
        with pytest.raises(HostUnknown, match="no address"):
            await resolve("nobody.invalid", 443)

    asyncio.run(main())
