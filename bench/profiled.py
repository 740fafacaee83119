"""Run a module under cProfile: `python -m bench.profiled FILE MODULE [ARGUMENT...]`.

SIGUSR1 has it write what it found so far to FILE and look no further, so that the profile does
not depend on how, and how fast, the program ends.
"""

import cProfile
import os
import runpy
import signal
import sys

__all__ = ["main"]


def main(arguments: list[str]) -> None:
    """Run the module to its end, in this process."""
    file, module, *rest = arguments
    profile = cProfile.Profile()

    def write(*_: object) -> None:
        profile.disable()
        profile.dump_stats(f"{file}.part")
        os.replace(f"{file}.part", file)

    signal.signal(signal.SIGUSR1, write)
    sys.argv = [module, *rest]
    profile.enable()
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1:])
