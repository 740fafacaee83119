"""What is under way, as an ACK finds it: who is passed over, and who was lost in a row."""

import itertools

from aioquic.quic.packet_builder import QuicSentPacket
from aioquic.quic.recovery import QuicPacketSpace

__all__ = ["found", "has_gap", "runs"]


def found(
    space: QuicPacketSpace, first: int, last: int
) -> tuple[QuicSentPacket | None, QuicSentPacket | None]:
    """Find the first packet that asked for an ACK, if none is missing before, and the last."""
    oldest = newest = None
    is_whole = True
    for number, packet in space.sent_packets.items():
        if number > last:
            break
        if number < first:
            is_whole = False
            continue
        newest = packet
        if oldest is None and packet.is_ack_eliciting:
            oldest = packet
    return oldest if is_whole else None, newest


def has_gap(space: QuicPacketSpace) -> bool:
    """Whether a packet that asks for an ACK was passed over by a later one's."""
    for number, packet in space.sent_packets.items():
        if number > space.largest_acked_packet:
            break
        if packet.is_ack_eliciting:
            return True
    return False


def runs(numbers: list[int]) -> list[int]:
    """Count ascending numbers that follow one another without a gap."""
    runs = [1]
    for before, number in itertools.pairwise(numbers):
        if number == before + 1:
            runs[-1] += 1
        else:
            runs.append(1)
    return runs
