"""Fuzz one target under atheris: `python -m tests.fuzz.run TARGET [--seconds S]`.

Without atheris (`pip install --group fuzz`) seeded mutations of the corpus are tried instead; the
last line says which it was. The first input that brings up anything but a meant error is written
to a file and ends the run.
"""

import argparse
import importlib.util
import os
import random
import sys
import tempfile
import time
from pathlib import Path

NAMES = ("datagrams", "frames", "http3", "webtransport", "capsules")


def under_atheris(name: str, seconds: float) -> None:
    """Let coverage lead. Ends the process, at a find or when the time is over."""
    import atheris

    with atheris.instrument_imports(include=["moqvox", "aioquic"]):
        from tests.fuzz import targets
    target = targets.TARGETS[name]
    tried, until = 0, time.monotonic() + seconds
    corpus = tempfile.TemporaryDirectory()

    def one(data: bytes) -> None:
        nonlocal tried
        target(data)
        tried += 1
        if time.monotonic() >= until:
            corpus.cleanup()
            finish(name, tried, "atheris, guided by coverage")

    for number, seed in enumerate(targets.seeds(name)):
        Path(corpus.name, str(number)).write_bytes(seed)
    # The target ends the run itself: libFuzzer's own end would say nothing of ours.
    options = [f"-max_total_time={int(seconds) + 30}", "-max_len=1200", "-rss_limit_mb=1024"]
    atheris.Setup([sys.argv[0], *options, corpus.name], one)
    atheris.Fuzz()


def finish(name: str, tried: int, how: str) -> None:
    """Say what was done, and end at once: libFuzzer would take an exception for a find."""
    sys.stdout.write(f"{name}: {tried} inputs, nothing uncaught ({how})\n")
    sys.stdout.flush()
    os._exit(0)


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
    parser.add_argument("--guided", action="store_true", help="fail where atheris is not installed")
    args = parser.parse_args()
    has_atheris = importlib.util.find_spec("atheris") is not None
    if has_atheris and not args.plain:
        under_atheris(args.target, args.seconds)
    if args.guided and not has_atheris:
        parser.error("atheris is not installed: pip install --group fuzz")
    tried = by_mutation(args.target, args.seconds, args.seed)
    why = "as was asked" if args.plain else "atheris is not installed"
    finish(args.target, tried, f"seeded mutations, not guided: {why}")


if __name__ == "__main__":
    main()
