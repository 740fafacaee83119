"""An honest caller: `python -m tests.attack.caller HOST PORT`; 100 bytes there and back each 20 ms.

Prints a line `sent_at latency` for each, in seconds of the machine's monotonic clock.
"""

import sys
import time

from tests.attack.attacker import Attacker

MESSAGE = b"voice".ljust(100, b".")
INTERVAL = 0.02


class Caller:
    def __init__(self, host: str, port: int) -> None:
        self.client = Attacker((host, port)).connect()
        self.stream = self.client.quic.get_next_available_stream_id()
        self.sent_at: list[float] = []
        self.done = 0
        self.client.on_data = self.on_data

    def on_data(self, stream: int) -> None:
        now = time.monotonic()
        echoed = len(self.client.data[stream]) // len(MESSAGE)
        for sent_at in self.sent_at[self.done : echoed]:
            sys.stdout.write(f"{sent_at:.6f} {now - sent_at:.6f}\n")
        sys.stdout.flush()
        self.done = echoed

    def run(self) -> None:
        due = time.monotonic()
        while self.client.closed is None:
            self.sent_at.append(time.monotonic())
            self.client.quic.send_stream_data(self.stream, MESSAGE)
            due = max(due + INTERVAL, time.monotonic())
            self.client.pump(due - time.monotonic(), lambda: self.client.closed)


if __name__ == "__main__":
    Caller(sys.argv[1], int(sys.argv[2])).run()
