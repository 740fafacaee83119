"""A NAT that can forget: rewrites the client's addresses and ports in IPv4 packets.

Until it is rebound it changes nothing. Then each of the client's ports shows as another one,
from another address if wanted, and what is sent to the old ones is dropped.
"""

from typing import Final

__all__ = ["Nat"]

TCP: Final = 6
UDP: Final = 17
CHECKSUM_AT: Final = {TCP: 16, UDP: 6}
"""Where the checksum lies in the header of a protocol."""

FIRST_PORT: Final = 20_000
PORTS: Final = 40_000
MAX_FLOWS: Final = 1024
"""Flows of one binding; more are dropped."""

Flow = tuple[int, bytes]
"""Protocol, then address and port as in the packet."""


class Nat:
    """One client's NAT."""

    def __init__(self) -> None:
        self._bindings = 0
        self._address = b""
        self._out: dict[Flow, bytes] = {}
        self._back: dict[Flow, bytes] = {}

    def rebind(self, address: str = "") -> None:
        """Show every flow as another port from now on, and the client as another address."""
        self._bindings += 1
        if address:
            self._address = bytes(map(int, address.split(".")))
        self._out.clear()
        self._back.clear()

    def out(self, packet: bytes) -> bytes | None:
        """Translate what the client sends; None drops it."""
        if not self._bindings:
            return packet
        inner = _transport(packet)
        if inner is None:
            return packet
        flow = (packet[9], packet[12:16] + packet[inner : inner + 2])
        shown = self._out.get(flow)
        if shown is None:
            if len(self._out) >= MAX_FLOWS:
                return None
            port = FIRST_PORT + (1009 * self._bindings + len(self._out)) % PORTS
            shown = (self._address or packet[12:16]) + port.to_bytes(2, "big")
            self._out[flow] = shown
            self._back[packet[9], shown] = flow[1]
        return _rewritten(packet, inner, shown, source=True)

    def back(self, packet: bytes) -> bytes | None:
        """Translate what comes for the client; None drops it."""
        if not self._bindings:
            return packet
        inner = _transport(packet)
        if inner is None:
            return packet
        known = self._back.get((packet[9], packet[16:20] + packet[inner + 2 : inner + 4]))
        return None if known is None else _rewritten(packet, inner, known, source=False)


def _transport(packet: bytes) -> int | None:
    """Find the TCP or UDP header; None for anything else."""
    inner = 4 * (packet[0] & 15)
    if packet[9] not in CHECKSUM_AT or len(packet) < inner + 8:
        return None
    return inner


def _rewritten(packet: bytes, inner: int, end: bytes, *, source: bool) -> bytes:
    """Put another address and port in, and mend both checksums (RFC 1624)."""
    address_at, port_at = (12, inner) if source else (16, inner + 2)
    old = packet[address_at : address_at + 4], packet[port_at : port_at + 2]
    made = bytearray(packet)
    made[address_at : address_at + 4] = end[:4]
    made[port_at : port_at + 2] = end[4:]
    _mend(made, 10, old[0], end[:4])
    checksum_at = inner + CHECKSUM_AT[packet[9]]
    if made[checksum_at : checksum_at + 2] != b"\0\0" or packet[9] == TCP:
        _mend(made, checksum_at, b"".join(old), end)
    return bytes(made)


def _mend(packet: bytearray, at: int, old: bytes, new: bytes) -> None:
    total = ~int.from_bytes(packet[at : at + 2], "big") & 0xFFFF
    for n in range(0, len(old), 2):
        total += ~int.from_bytes(old[n : n + 2], "big") & 0xFFFF
        total += int.from_bytes(new[n : n + 2], "big")
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    packet[at : at + 2] = (~total & 0xFFFF).to_bytes(2, "big")
