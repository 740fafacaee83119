"""Names to socket addresses."""

import asyncio
import ipaddress
import itertools
import socket
from typing import cast

import msgspec

from moqvox.transport.address import Address
from moqvox.transport.failures import HostUnknown

__all__ = ["Target", "resolve"]


class Target(msgspec.Struct, frozen=True):
    """One address to bind or to dial."""

    family: int
    address: Address


async def resolve(host: str, port: int, *, passive: bool = False) -> list[Target]:
    """Look a host up; families take turns, the system's preferred one first.

    Args:
        host: a name or an address, IPv6 with or without brackets; "" is every address.
        port: UDP's or TCP's.
        passive: for binding.

    Raises:
        HostUnknown: the name has no address.
    """
    bare = host.removeprefix("[").removesuffix("]")
    flags = socket.AI_PASSIVE if passive else 0
    try:
        if _is_address(bare):  # which takes no thread to look up
            flags |= socket.AI_NUMERICHOST
            found = socket.getaddrinfo(bare, port, type=socket.SOCK_DGRAM, flags=flags)
        else:
            found = await asyncio.get_running_loop().getaddrinfo(
                bare or None, port, type=socket.SOCK_DGRAM, flags=flags
            )
    except (socket.gaierror, UnicodeError, OverflowError) as exc:
        raise HostUnknown(f"{host or 'the wildcard'!r} has no address: {exc}") from exc
    families: dict[int, list[Target]] = {}
    for family, _, _, _, address in found:
        if family in (socket.AF_INET, socket.AF_INET6):
            target = Target(family, cast("Address", address))  # the shape of these families
            families.setdefault(family, []).append(target)
    rows = itertools.zip_longest(*families.values())
    return list(dict.fromkeys(target for row in rows for target in row if target is not None))


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True
