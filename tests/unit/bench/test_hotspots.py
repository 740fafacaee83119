import cProfile
import os
import signal
import subprocess
import sys

import pytest
from bench.hotspots import from_cprofile, from_stacks
from interop.environment import ROOT


def test_stacks_add_up_by_function_whatever_the_line():
    spots = from_stacks(
        [
            "main (a/x.py:1);work (a/x.py:7) 30",
            "main (a/x.py:2);work (a/x.py:9) 30",
            "main (a/x.py:2) 40",
        ]
    )
    assert [spot.name for spot in spots] == ["work (a/x.py)", "main (a/x.py)"]
    assert spots[0].self_percent == pytest.approx(60.0)
    assert spots[1].self_percent == pytest.approx(40.0)
    assert spots[1].total_percent == pytest.approx(100.0)


def test_a_recursive_function_counts_once_in_each_stack():
    spots = from_stacks(["walk (x.py:1);walk (x.py:2);walk (x.py:2) 10"])
    assert spots[0].total_percent == pytest.approx(100.0)


def test_a_cprofile_file_gives_the_hottest_first(tmp_path):
    def busy():
        return sum(range(200_000))

    profile = cProfile.Profile()
    profile.runcall(busy)
    profile.dump_stats(str(tmp_path / "profile"))
    spots = from_cprofile(tmp_path / "profile")
    assert "sum" in spots[0].name
    assert sum(spot.self_percent for spot in spots) == pytest.approx(100.0)


def test_a_profile_is_written_while_the_program_still_runs(tmp_path):
    (tmp_path / "busy.py").write_text(
        "import os, signal, time\n"
        "def work():\n"
        "    return sum(range(100_000))\n"
        "work()\n"
        "os.kill(os.getpid(), signal.SIGUSR1)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    file = tmp_path / "profile"
    argv = [sys.executable, "-m", "bench.profiled", str(file), "busy"]
    path = os.pathsep.join([str(ROOT), str(tmp_path)])
    done = subprocess.run(argv, env={"PYTHONPATH": path}, check=False, timeout=30)
    assert done.returncode == -signal.SIGKILL
    assert any(spot.name.startswith("work (") for spot in from_cprofile(file))
