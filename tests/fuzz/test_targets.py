"""Seeded fuzzing in the gate: well-formed input, what was found before, and mutations."""

import json
import random
from itertools import islice
from pathlib import Path

import pytest
from tests.fuzz.targets import TARGETS, mutated, seeds

VECTORS = Path(__file__).parents[1] / "vectors" / "fuzz.json"
FOUND = [(row["target"], bytes.fromhex(row["hex"])) for row in json.loads(VECTORS.read_text())]
SHORT = 100
LONG = {
    "datagrams": 25_000,
    "frames": 400,
    "http3": 25_000,
    "webtransport": 8_000,
    "capsules": 25_000,
}


@pytest.mark.parametrize("name", TARGETS)
def test_mutations_bring_up_nothing_but_meant_errors(name):
    for data in [*seeds(name), *islice(mutated(name, random.Random(6)), SHORT)]:
        TARGETS[name](data)


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", TARGETS)
def test_many_mutations_bring_up_nothing_but_meant_errors(name):
    for data in islice(mutated(name, random.Random(7)), LONG[name]):
        TARGETS[name](data)


@pytest.mark.parametrize(("name", "data"), FOUND)
def test_what_was_found_once_stays_found(name, data):
    TARGETS[name](data)
