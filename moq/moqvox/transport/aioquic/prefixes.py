"""Handshakes by the network they come from, so that one network can't take all the places."""

import ipaddress
from typing import Final

import msgspec

from moqvox.transport.address import Address
from moqvox.transport.aioquic.bucket import Bucket
from moqvox.transport.aioquic.limits import Limits

__all__ = ["Prefixes", "prefix_of"]

MAX_PREFIXES: Final = 4096
"""Networks remembered; of more, those that have rested longest are forgotten first."""

V4_BYTES: Final = 3
V6_BYTES: Final = 7
"""A /24 and a /56: what one customer of a provider commonly has at his disposal."""


def prefix_of(address: Address) -> bytes:
    """Return the network of an address; an IPv4 address has the same one in either notation."""
    host = ipaddress.ip_address(address[0].partition("%")[0])
    if isinstance(host, ipaddress.IPv6Address):
        if host.ipv4_mapped is None:
            return host.packed[:V6_BYTES]
        host = host.ipv4_mapped
    return host.packed[:V4_BYTES]


class _Network(msgspec.Struct):
    proven: int
    unproven: int
    bucket: Bucket


class Prefixes:
    """Counts handshakes under way for each network, and how fast new ones come.

    Who has not proven an address may be somebody else: such handshakes are counted apart, so
    that spoofed packets cost the network they name a Retry and nothing more.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._networks: dict[bytes, _Network] = {}

    def __len__(self) -> int:
        return len(self._networks)

    def admits(self, prefix: bytes, now: float, *, is_proven: bool) -> bool:
        """Count a handshake that begins; False when the network has too many.

        Who has proven nothing yet may be asked for a proof then; who has must wait.
        """
        limits, network = self._limits, self._network(prefix, now)
        if is_proven:
            if network.proven >= limits.max_half_open_per_prefix or not network.bucket.take(now):
                return False
            network.proven += 1
            return True
        if network.unproven >= limits.max_unproven_per_prefix or not network.bucket.has_any(now):
            return False
        network.unproven += 1
        return True

    def release(self, prefix: bytes, now: float, *, is_proven: bool, is_complete: bool) -> None:
        """Count a handshake no longer: it is complete, or given up.

        A complete one has proven its address, and counts for its network's rate from then on.
        """
        network = self._network(prefix, now)
        if is_proven:
            network.proven = max(0, network.proven - 1)
            return
        network.unproven = max(0, network.unproven - 1)
        if is_complete:
            network.bucket.take(now)

    def _network(self, prefix: bytes, now: float) -> _Network:
        network = self._networks.pop(prefix, None)
        if network is None:
            self._make_room(now)
            limits = self._limits
            rate, burst = limits.handshakes_per_prefix, limits.handshake_burst_per_prefix
            network = _Network(0, 0, Bucket.full(rate, burst, now))
        self._networks[prefix] = network  # the latest last
        return network

    def _make_room(self, now: float) -> None:
        """Forget those who have rested; failing that, the older part of those with nothing open.

        Many at a time, so that a search is worth its while.
        """
        if len(self._networks) < MAX_PREFIXES:
            return
        idle = [
            prefix
            for prefix, network in self._networks.items()
            if not (network.proven or network.unproven)
        ]
        rested = [prefix for prefix in idle if self._networks[prefix].bucket.is_full(now)]
        for prefix in rested or idle[: MAX_PREFIXES // 4]:
            del self._networks[prefix]
