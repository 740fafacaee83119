"""Fuzz one target under atheris: `python -m tests.fuzz.run TARGET [--seconds S]`.

Without atheris (`pip install --group fuzz`) seeded mutations of the corpus are tried instead. The
first input that brings up anything but a meant error is written to a file and ends the run.
"""

import argparse
import importlib.util
import random
import sys
import tempfile
import time
from pathlib import Path

NAMES = ("datagrams", "frames", "http3", "capsules")


def under_atheris(name: str, seconds: float) -> None:
    """Let coverage lead; does not return."""
    import atheris

    with atheris.instrument_imports(include=["moqvox", "aioquic"]):
        from tests.fuzz import targets
    target = targets.TARGETS[name]
    with tempfile.TemporaryDirectory() as folder:
        for number, seed in enumerate(targets.seeds(name)):
            Path(folder, str(number)).write_bytes(seed)
        options = [f"-max_total_time={int(seconds)}", "-max_len=1200", "-rss_limit_mb=1024"]
        atheris.Setup([sys.argv[0], *options, folder], target)
        atheris.Fuzz()


def by_mutation(name: str, seconds: float, seed: int) -> int:
    """Try mutations for so long; returns how many."""
    from tests.fuzz import targets

    target, until, tried = targets.TARGETS[name], time.monotonic() + seconds, 0
    for data in targets.mutated(name, random.Random(seed)):
        try:
            target(data)
        except Exception:
            found = Path(f"found-{name}-{seed}-{tried}")
            found.write_bytes(data)
            sys.stderr.write(f"{found} has the input\n")
            raise
        tried += 1
        if time.monotonic() >= until:
            return tried
    return tried


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", choices=NAMES)
    parser.add_argument("--seconds", type=float, default=40.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--plain", action="store_true", help="mutations only, without atheris")
    args = parser.parse_args()
    if not args.plain and importlib.util.find_spec("atheris") is not None:
        under_atheris(args.target, args.seconds)
    tried = by_mutation(args.target, args.seconds, args.seed)
    sys.stdout.write(f"{args.target}: {tried} inputs, nothing uncaught\n")


if __name__ == "__main__":
    main()
