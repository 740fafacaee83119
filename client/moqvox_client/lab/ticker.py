"""A process that only sleeps: how late it wakes tells whether the machine kept up.

It has no part in what is measured, so a system that keeps itself busy does not hide behind it.
"""

import contextlib
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Final

__all__ = ["FILE", "FOREMOST", "TICK_S"]

FILE: Final = "ticker.json"
TICK_S: Final = 0.01
KEPT: Final = 100_000
FOREMOST: Final = -10
"""The niceness of what is measured, and of the process that only sleeps."""


def main(folder: Path) -> None:
    """Sleep and wake until SIGTERM, then write each waking: when (ns), and how late (ms)."""
    wakings: list[tuple[int, float]] = []
    with contextlib.suppress(OSError, AttributeError):  # only root may
        os.setpriority(os.PRIO_PROCESS, 0, FOREMOST)

    def finish(*_: object) -> None:
        (folder / FILE).write_text(json.dumps({"wakings": wakings}))
        sys.exit(0)

    signal.signal(signal.SIGTERM, finish)
    while True:
        due_ns = time.monotonic_ns() + int(TICK_S * 1e9)
        time.sleep(TICK_S)
        if len(wakings) < KEPT:
            now_ns = time.monotonic_ns()
            wakings.append((now_ns, round((now_ns - due_ns) / 1e6, 3)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
