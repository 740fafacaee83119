"""Congestion control whose window leaves thin streams room when single packets are lost."""

from collections.abc import Iterable
from typing import Final

from aioquic.quic.congestion.base import QuicCongestionControl, create_congestion_control
from aioquic.quic.congestion.reno import RenoCongestionControl
from aioquic.quic.packet_builder import QuicSentPacket

__all__ = ["LEAST_PACKETS", "Reno", "congestion_control"]

LEAST_PACKETS: Final = 3
"""To how many full packets losses may shrink the window.

RFC 9002, section 7.2, recommends two. Voice with its copies is 300 bytes every 20 ms, which is
2,400 bytes in the 160 ms between a packet and its late ACK: as much as two packets, and what
is lost is found to have no room just when it is due again.
"""


class Reno(RenoCongestionControl):
    """NewReno with a larger least window; persistent congestion still leaves two packets."""

    def on_packets_lost(self, *, now: float, packets: Iterable[QuicSentPacket]) -> None:
        """Halve the window, once in a round trip, but no further than to the least."""
        before = self.congestion_window
        super().on_packets_lost(now=now, packets=packets)
        least = min(before, LEAST_PACKETS * self._max_datagram_size)
        if self.congestion_window < least:
            self.congestion_window = self.ssthresh = least


def congestion_control(name: str, max_datagram_size: int) -> QuicCongestionControl:
    """Make what a path begins with."""
    if name == "reno":
        return Reno(max_datagram_size=max_datagram_size)
    return create_congestion_control(name, max_datagram_size=max_datagram_size)
