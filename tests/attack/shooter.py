"""One attack in a process of its own: `python -m tests.attack.shooter ROW SCALE HOST PORT`.

Prepares, says `ready`, waits for a line, attacks, and prints what it spent and saw as JSON.
"""

import dataclasses
import json
import sys

from tests.attack.rows import aim


def main() -> None:
    row, scale, host, port = sys.argv[1:]
    shoot = aim(row, (host, int(port)), float(scale))
    say("ready")
    sys.stdin.readline()
    say(json.dumps(dataclasses.asdict(shoot())))


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
