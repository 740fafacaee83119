"""Speech through bursts of loss, with and without a NAT rebinding in its middle."""

import bisect
import itertools
import random
import statistics
import sys
from collections.abc import Iterator

from tests.unit.transport.aioquic.speech import Talk

OTHER = ("192.0.2.7", 7)
SPELL, SHARE = 0.4, 0.8
"""Mean seconds of good and of bad spells, and the share lost in the bad ones."""

BEFORE, AFTER = 150, 250
SEEDS = 150
AFTERMATH = 0.5


def spells(rng: random.Random) -> list[float]:
    """When good and bad spells begin, one after the other."""

    def moments() -> Iterator[float]:
        yield 0.0
        while True:
            yield rng.expovariate(1 / SPELL)

    return list(itertools.accumulate(itertools.islice(moments(), 200)))


def pauses(seed: int, *, rebinds: bool, draw: int = 0) -> tuple[float, float]:
    """Speak 8 s at RTT 30; returns the longest pause at the change, and of all."""
    talk = Talk(delay=0.015)
    began_at = talk.now
    changes = {up: spells(random.Random(f"{seed}/{up}")) for up in (True, False)}
    draws = {up: random.Random(f"{seed}/{up}/{draw}") for up in (True, False)}

    def lose() -> bool:
        is_bad = bisect.bisect(changes[talk.is_up], talk.now - began_at) % 2 == 0
        return is_bad and draws[talk.is_up].random() < SHARE

    talk.lose = lose
    talk.speak(BEFORE)
    changed_at = talk.now
    if rebinds:
        talk.client_address = OTHER
    talk.speak(AFTER)
    talk.run(5.0)
    assert len(talk.heard_at) == len(talk.spoken_at)
    at_change = max(
        after - before
        for before, after in itertools.pairwise(talk.heard_at)
        if before <= changed_at + AFTERMATH and after >= changed_at
    )
    return at_change, talk.gap(0.0)


def main() -> None:
    """Print what a rebinding adds to the same bursts, and what other draws of them add."""
    usual = [pauses(seed, rebinds=False) for seed in range(SEEDS)]
    for name, options in {"a rebinding": (True, 0), "other draws": (False, 1)}.items():
        rebinds, draw = options
        others = [pauses(seed, rebinds=rebinds, draw=draw) for seed in range(SEEDS)]
        for place, what in enumerate(("at the change", "of all")):
            more = sorted(
                1000 * (one[place] - other[place]) for one, other in zip(others, usual, strict=True)
            )
            error = statistics.stdev(more) / len(more) ** 0.5
            sys.stdout.write(
                f"{name}, longest pause {what}: {statistics.mean(more):+.0f} +- {error:.0f} ms, "
                f"median {statistics.median(more):+.0f}, "
                f"10 and 90 %: {more[SEEDS // 10]:+.0f} {more[-SEEDS // 10]:+.0f}\n"
            )


if __name__ == "__main__":
    main()
