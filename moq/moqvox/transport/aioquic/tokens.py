"""Tokens by which a client proves its address: of Retry, and of NEW_TOKEN. RFC 9000, 8.1."""

import ipaddress
from collections.abc import Callable
from typing import Final

import msgspec

from moqvox.transport.address import Address
from moqvox.transport.aioquic.strikes import Strikes
from moqvox.transport.quic.keys import Keys, Purpose

__all__ = ["Proof", "Tokens"]

RETRY, ADDRESS = b"\x01", b"\x02"

TOKEN_ID_BYTES: Final = 16
"""The end of a token, which is the tag of what seals it, tells it from all others."""

ADDRESS_SECONDS: Final = Purpose.ADDRESS.value.lifetime


class Proof(msgspec.Struct, frozen=True):
    """What a valid token shows.

    Attributes:
        original: connection ID of the client's very first packet, when a Retry was sent;
            None: the token is of an earlier connection.
    """

    original: bytes | None


class Tokens:
    """Makes and checks tokens; keeps only which address tokens were used already.

    Workers that share `keys` take each other's. A Retry token is good for one client port and
    a connection ID; an address token for one address, and once.
    """

    def __init__(self, keys: Keys, wall_clock: Callable[[], float]) -> None:
        self._keys = keys
        self._wall_clock = wall_clock
        self._used = Strikes(ADDRESS_SECONDS)

    def for_retry(self, address: Address, original: bytes, retry_id: bytes) -> bytes:
        """Make a Retry packet's token; `retry_id` is the packet's source connection ID."""
        bound_to = _host(address) + address[1].to_bytes(2, "big") + retry_id
        now = self._wall_clock()
        return RETRY + self._keys.seal(Purpose.RETRY, original, bound_to=bound_to, now=now)

    def for_later(self, address: Address) -> bytes:
        """Make a token for the client's next connection from the same address."""
        now = self._wall_clock()
        return ADDRESS + self._keys.seal(Purpose.ADDRESS, b"", bound_to=_host(address), now=now)

    def check(self, token: bytes, address: Address, destination: bytes) -> Proof | None:
        """Check a first packet's token; None: it proves nothing.

        Args:
            token: as it came.
            address: where from.
            destination: connection ID that the packet is addressed to.
        """
        kind, sealed, now = token[:1], token[1:], self._wall_clock()
        if kind == RETRY:
            bound_to = _host(address) + address[1].to_bytes(2, "big") + destination
            original = self._keys.unseal(Purpose.RETRY, sealed, bound_to=bound_to, now=now)
            return Proof(original) if original is not None else None
        if kind == ADDRESS:
            opened = self._keys.unseal(Purpose.ADDRESS, sealed, bound_to=_host(address), now=now)
            if opened is not None and self._used.is_first(sealed[-TOKEN_ID_BYTES:], now):
                return Proof(None)
        return None


def _host(address: Address) -> bytes:
    """Encode an address without its port; an IPv4 address is the same in either notation."""
    host = ipaddress.ip_address(address[0].partition("%")[0])
    if isinstance(host, ipaddress.IPv6Address) and host.ipv4_mapped is not None:
        host = host.ipv4_mapped
    return host.packed
