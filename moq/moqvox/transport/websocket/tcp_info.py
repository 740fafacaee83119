"""What Linux knows of a TCP connection (tcp(7), `struct tcp_info`)."""

import socket
import struct
import sys
from typing import Final

import msgspec

from moqvox.transport.websocket.pipe import Pipe

__all__ = ["TcpInfo", "tcp_info"]

_LAYOUT: Final = struct.Struct("=8B 24I")
_SND_MSS: Final = 8 + 2
_UNACKED: Final = 8 + 4
_RTT: Final = 8 + 15
_SND_CWND: Final = 8 + 18
_TOTAL_RETRANS: Final = 8 + 23


class TcpInfo(msgspec.Struct, frozen=True):
    """The kernel's estimates; all 0 where it tells none."""

    rtt: float = 0.0
    congestion_window_bytes: int = 0
    unacked_bytes: int = 0
    retransmissions: int = 0


def tcp_info(pipe: Pipe) -> TcpInfo:
    """Ask the kernel about a pipe."""
    if sys.platform != "linux":
        return TcpInfo()
    raw = pipe.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _LAYOUT.size)
    if len(raw) < _LAYOUT.size:
        return TcpInfo()
    fields = _LAYOUT.unpack(raw)
    segment_bytes = fields[_SND_MSS]
    return TcpInfo(
        rtt=fields[_RTT] / 1e6,
        congestion_window_bytes=fields[_SND_CWND] * segment_bytes,
        unacked_bytes=fields[_UNACKED] * segment_bytes,
        retransmissions=fields[_TOTAL_RETRANS],
    )
