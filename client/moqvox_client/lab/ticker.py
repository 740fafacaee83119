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

__all__ = ["FILE", "TICK_S"]

FILE: Final = "ticker.json"
TICK_S: Final = 0.01
KEPT: Final = 100_000


def main(folder: Path) -> None:
    """Sleep and wake until SIGTERM, then write how late the wakings were, in ms."""
    late: list[float] = []
    with contextlib.suppress(OSError, AttributeError):  # as high as what is measured
        os.setpriority(os.PRIO_PROCESS, 0, 0)

    def finish(*_: object) -> None:
        late.sort()
        worst = {"p99_ms": late[int(0.99 * (len(late) - 1))], "max_ms": late[-1]} if late else {}
        (folder / FILE).write_text(json.dumps(worst))
        sys.exit(0)

    signal.signal(signal.SIGTERM, finish)
    while True:
        due = time.monotonic() + TICK_S
        time.sleep(TICK_S)
        if len(late) < KEPT:
            late.append(1000 * (time.monotonic() - due))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
