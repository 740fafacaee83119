"""The benches themselves, at their smallest, against real servers."""

import json
import subprocess
import sys

import pytest
from interop.environment import ROOT, built

pytestmark = [
    pytest.mark.slow,
    pytest.mark.net,
    pytest.mark.interop,
    pytest.mark.timeout(120),
    pytest.mark.skipif(built("moq-rs") is None, reason="the load generator needs moq-rs"),
]


@pytest.mark.parametrize("bench", ["fanout", "sessions"])
def test_a_quick_bench_loses_nothing_and_writes_every_sample(bench, tmp_path):
    file = tmp_path / "samples.json"
    argv = [
        sys.executable,
        "-m",
        f"bench.{bench}",
        "--quick",
        "-n",
        "4",
        "--window",
        "1",
        "--json",
        str(file),
    ]
    systems = ["--system", "moqvox", "--system", "naive"]
    done = subprocess.run(
        [*argv, *systems], cwd=ROOT, capture_output=True, text=True, check=False, timeout=100
    )
    assert done.returncode == 0, done.stderr
    document = json.loads(file.read_text())
    samples = document["samples"]
    assert {one["setting"]["system"] for one in samples} == {"moqvox", "naive"}
    for one in samples:
        assert one["failed"] == ""
        assert one["lost"] == 0
        # A second of 50 frames to four receivers, less what a disturbed machine may delay.
        assert one["deliveries"] >= 180
        assert one["server_cpu_s"] > 0
    assert document["versions"]["aioquic"]
    assert "deliv/CPU s" in done.stdout
