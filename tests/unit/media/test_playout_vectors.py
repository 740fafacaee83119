"""The scripts of tests/vectors/playout.json, which the browser's player runs as well."""

import json
from pathlib import Path

import msgspec
import pytest

from moqvox.media.decision import Decision, Ended, Outcome, Policy, Pushed, Stats, Totals
from moqvox.media.playout import Playout

PATH = Path(__file__).parents[2] / "vectors" / "playout.json"
VECTORS = json.loads(PATH.read_text())


def run(playout: Playout, step: dict[str, object]) -> tuple[object, object]:
    """Do one step; returns what came and what was expected, both as values of ours."""
    args = {key: value for key, value in step.items() if key not in ("do", "expect")}
    verb = step["do"]
    if "at_us" in args:
        args["now_us"] = args.pop("at_us")
    kinds = {
        "push": Pushed,
        "pull": list[Decision],
        "open": Outcome,
        "end": Outcome,
        "reset": Ended | None,
        "flush": list[Ended],
        "totals": Totals | None,
        "stats": Stats,
        "room": int,
        "pause": None,
        "resume": None,
    }
    came = playout.stretch_room if verb == "room" else getattr(playout, str(verb))(**args)
    return came, msgspec.convert(step.get("expect"), kinds[str(verb)])


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["name"] for vector in VECTORS])
def test_every_step_gives_the_decisions_written_down(vector: dict[str, object]) -> None:
    playout = Playout(msgspec.convert(vector["policy"], Policy))
    for number, step in enumerate(vector["steps"]):
        came, expected = run(playout, step)
        assert came == expected, f"step {number}: {step}"


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["name"] for vector in VECTORS])
def test_the_vectors_write_defaults_by_leaving_them_out(vector: dict[str, object]) -> None:
    """So that a player in another language can compare without knowing our structs."""
    playout = Playout(msgspec.convert(vector["policy"], Policy))
    for step in vector["steps"]:
        came, _ = run(playout, step)
        if "expect" in step:
            written = msgspec.to_builtins(came)
            if step["do"] != "pull":
                assert written == step["expect"]
            else:
                assert [dict(each) for each in written] == step["expect"]


def test_there_are_enough_vectors_and_each_has_its_own_name() -> None:
    names = [vector["name"] for vector in VECTORS]
    assert len(names) == len(set(names))
    assert len(names) >= 25
