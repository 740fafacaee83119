"""Run a server and note how long its loop's turns are: `python -m bench.turns MODULE [ARG...]`.

A turn is the server's own CPU time between two looks at its sockets; who says something meanwhile
waits so long, on a machine with a core to spare. On SIGUSR1 the longest one since the last signal
is told as a JSON event, and how much of it the collector took.
"""

import gc
import json
import os
import runpy
import selectors
import signal
import sys
import time
from collections.abc import Mapping

__all__ = ["main"]

Keys = list[tuple[selectors.SelectorKey, int]]


class Turns:
    """The longest turn of the loop, and the longest collection."""

    def __init__(self) -> None:
        self._began = time.thread_time()
        self._collection_began = 0.0
        self._longest = self._longest_collection = 0.0
        self._collections = 0

    def turned(self) -> None:
        """Note the end of a turn."""
        self._longest = max(self._longest, time.thread_time() - self._began)

    def begin(self) -> None:
        """Note the beginning of one."""
        self._began = time.thread_time()

    def collects(self, phase: str, info: Mapping[str, int]) -> None:
        """Note a collection."""
        if phase == "start":
            self._collection_began = time.thread_time()
            return
        took = time.thread_time() - self._collection_began
        self._longest_collection = max(self._longest_collection, took)
        self._collections += info["generation"] == 2

    def tell(self, _number: int, _frame: object) -> None:
        """Write what was noted since the last time."""
        event = {
            "event": "turns",
            "longest_ms": round(self._longest * 1000, 2),
            "collection_ms": round(self._longest_collection * 1000, 2),
            "full_collections": self._collections,
        }
        self._longest = self._longest_collection = 0.0
        self._collections = 0
        os.write(sys.stdout.fileno(), json.dumps(event).encode() + b"\n")


def _watch(turns: Turns) -> None:
    """Be told of every look at the sockets."""
    plain = selectors.DefaultSelector.select

    def select(self: selectors.BaseSelector, timeout: float | None = None) -> Keys:
        turns.turned()
        ready: Keys = plain(self, timeout)  # type: ignore[arg-type]  # one of its kind
        turns.begin()
        return ready

    selectors.DefaultSelector.select = select  # type: ignore[method-assign,assignment]


def main() -> None:
    """Become the server."""
    turns = Turns()
    _watch(turns)
    gc.callbacks.append(turns.collects)
    signal.signal(signal.SIGUSR1, turns.tell)
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
