"""An honest caller: `python -m tests.attack.caller HOST PORT`; 100 bytes there and back each 5 ms.

Prints a line `sent_at latency` for each, in seconds of the machine's monotonic clock: from the
call that sends a datagram to the kernel's stamp on the one that answers it, so that neither its
own work nor its wait for a core counts.
"""

import socket
import struct
import sys
import time

from tests.attack.attacker import Attacker

MESSAGE = b"voice".ljust(100, b".")
INTERVAL = 0.005
SO_TIMESTAMPNS = 35
TIMESPEC = struct.Struct("@ll")


class Stamped(Attacker):
    """An attacker that means well, and knows when the kernel got a datagram."""

    def __init__(self, address) -> None:
        super().__init__(address)
        self.socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self.arrived_at = self.left_at = 0.0

    def send(self, data: bytes) -> None:
        self.left_at = time.monotonic()
        super().send(data)

    def _read(self) -> None:
        ahead = time.time() - time.monotonic()  # noqa: TID251  # the stamps are wall clock
        for _ in range(64):
            try:
                data, ancillary, _, _ = self.socket.recvmsg(65536, 64)
            except OSError:
                return
            seconds, nanoseconds = TIMESPEC.unpack(ancillary[0][2])
            self.arrived_at = seconds + nanoseconds / 1e9 - ahead
            self.received_bytes += len(data)
            self.quic.receive_datagram(data, self.address, time.monotonic())
            self._note()


class Caller:
    def __init__(self, host: str, port: int) -> None:
        self.client = Stamped((host, port)).connect()
        self.stream = self.client.quic.get_next_available_stream_id()
        self.sent_at: list[float] = []
        self.done = 0
        self.client.on_data = self.on_data

    def on_data(self, stream: int) -> None:
        arrived_at = self.client.arrived_at
        echoed = len(self.client.data[stream]) // len(MESSAGE)
        for sent_at in self.sent_at[self.done : echoed]:
            sys.stdout.write(f"{sent_at:.6f} {arrived_at - sent_at:.6f}\n")
        sys.stdout.flush()
        self.done = echoed

    def run(self) -> None:
        due = time.monotonic()
        while self.client.closed is None:
            self.client.quic.send_stream_data(self.stream, MESSAGE)
            self.client.flush()
            self.sent_at.append(self.client.left_at)
            due = max(due + INTERVAL, time.monotonic())
            self.client.pump(due - time.monotonic(), lambda: self.client.closed)


if __name__ == "__main__":
    Caller(sys.argv[1], int(sys.argv[2])).run()
