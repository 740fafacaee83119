"""Become another program, on one core: `pinned.py CORE FOLDER PROGRAM [ARGUMENT...]`.

The core is set before the program starts its threads, and its process ID is told first, as a
JSON event. A core of -1 leaves the choice to the kernel.
"""

import json
import os
import sys


def main(arguments: list[str]) -> None:
    """Pin, report, replace this process; the program starts in `folder`."""
    core, folder, *argv = arguments
    os.chdir(folder)
    if int(core) >= 0:
        os.sched_setaffinity(0, {int(core)})
    print(json.dumps({"event": "pinned", "pid": os.getpid(), "core": int(core)}), flush=True)
    os.execvp(argv[0], argv)


if __name__ == "__main__":
    main(sys.argv[1:])
