import cProfile

import pytest
from bench.hotspots import from_cprofile, from_stacks


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
