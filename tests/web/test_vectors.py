"""Python and JavaScript agree: the vectors that the Python tests run, run by client/web."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SUITES = sorted(HERE.glob("*.test.mjs"))

NODE = shutil.which("node")


def node() -> str:
    if NODE is None:
        if os.environ.get("CI"):
            pytest.fail("node is not installed; the vectors of client/web need node 20 or later")
        pytest.skip("node is not installed: the vectors were not run in JavaScript")
    return NODE


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.name)
def test_javascript_passes(suite: Path) -> None:
    ran = subprocess.run(
        [node(), "--test", "--test-reporter=tap", str(suite)],
        capture_output=True,
        text=True,
        timeout=25,
        check=False,
    )
    failed = [line.strip() for line in ran.stdout.splitlines() if "not ok" in line]
    assert ran.returncode == 0, "\n".join([*failed, ran.stderr, ran.stdout[-3000:]])
    passed = re.search(r"^# pass (\d+)$", ran.stdout, re.MULTILINE)
    assert passed is not None
    assert int(passed[1]) > 0


def test_a_test_that_fails_in_the_middle_of_a_call_ends() -> None:
    ran = subprocess.run(
        [node(), "--test", "--test-reporter=tap", str(HERE / "failing.mjs")],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert re.findall(r"^# (pass|fail) (\d+)$", ran.stdout, re.MULTILINE) == [
        ("pass", "0"),
        ("fail", "2"),
    ]


def test_there_are_suites_for_wire_and_playout() -> None:
    assert {"wire.test.mjs", "playout.test.mjs"} <= {suite.name for suite in SUITES}
