"""How long a loop works between two looks at its sockets, by its thread's own CPU clock.

Whatever arrives waits for one such turn before it is read. Other processes of the machine make it
wait longer, but they don't make this figure larger.
"""

import asyncio
import json
import selectors
import signal
import sys
import time
from collections.abc import Callable


class Stopwatch(selectors.DefaultSelector):
    """A selector that knows the longest turn since it was asked last."""

    def __init__(self) -> None:
        super().__init__()
        self._began = time.thread_time()
        self._longest = 0.0
        self._turns = 0

    def select(self, timeout=None):
        self._longest = max(self._longest, time.thread_time() - self._began)
        self._turns += 1
        found = super().select(timeout)
        self._began = time.thread_time()
        return found

    def take(self) -> dict[str, float]:
        taken = {"longest_turn_s": self._longest, "turns": self._turns}
        self._longest, self._turns = 0.0, 0
        return taken


def run(main, leaving: Callable[[], int]) -> None:
    """Run a coroutine on a loop with a stopwatch; SIGUSR1 makes it print what that says.

    SIGUSR2 makes it print how many connections are over, of which something is left to be done.
    """
    stopwatch = Stopwatch()

    def tell() -> None:
        say(stopwatch.take())

    def tell_leaving() -> None:
        say({"leaving": leaving()})

    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(stopwatch)) as runner:
        runner.get_loop().add_signal_handler(signal.SIGUSR1, tell)
        runner.get_loop().add_signal_handler(signal.SIGUSR2, tell_leaving)
        runner.run(main)


def say(what: dict[str, float]) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()
