"""Runs summed up and drawn."""

import xml.etree.ElementTree as ElementTree

from moqvox_client.lab.metrics import Uplink
from moqvox_client.lab.plot import draw
from moqvox_client.lab.table import cells, markdown, rows
from moqvox_client.lab.verdict import Run


def run(system, scenario, seed, p99, *, doubts=(), late=()):
    up = Uplink(frames=4, arrived=4, complete_pct=100.0, late_p99_ms=p99)
    return Run(
        system=system,
        scenario=scenario,
        network="netlab",
        seed=seed,
        up=up,
        doubts=list(doubts),
        late_ms=list(late),
    )


SVG = "{http://www.w3.org/2000/svg}"

RUNS = [
    run("moqvox", "a", 1, 20.0, late=[0, 5, None, 3]),
    run("moqvox", "a", 2, 40.0),
    run("moqvox", "a", 3, 21.0),
    run("websocket", "a", 1, 200.0, late=[0, 90, 70, 50]),
]


def test_a_cell_has_the_median_and_the_spread_over_its_seeds():
    ours, theirs = cells(RUNS)
    assert ours.figures["late_p99_ms"] == (21.0, 20.0, 40.0)
    assert (ours.runs, theirs.runs) == (3, 1)


def test_runs_in_doubt_do_not_count_unless_there_are_no_others():
    doubtful = run("moqvox", "a", 4, 900.0, doubts=["the link was late"])
    (cell,) = cells([*RUNS[:3], doubtful])
    assert cell.figures["late_p99_ms"][2] == 40.0
    assert (cell.runs, cell.doubtful) == (3, 1)
    (cell,) = cells([doubtful])
    assert cell.figures["late_p99_ms"] == (900.0, 900.0, 900.0)


def test_a_table_shows_only_figures_that_some_run_has():
    header, lines = rows(cells(RUNS))
    assert "late p99" in header
    assert "at the ear" not in header
    assert rows(cells(RUNS), ["complete_pct"])[0] == ["scenario", "system", "prompt %", "runs"]
    assert lines[0][:2] == ["a", "moqvox"]
    assert "21 [20-40]" in lines[0]
    assert "200" in lines[1]


def test_markdown_has_as_many_cells_in_every_line():
    lines = markdown(*rows(cells(RUNS))).splitlines()
    assert len({line.count("|") for line in lines}) == 1


def test_a_few_scenarios_are_drawn_as_lines_with_holes_where_frames_are_missing():
    picture = draw(RUNS)
    root = ElementTree.fromstring(picture)
    paths = [node for node in root.iter() if node.tag.endswith("path")]
    assert len(paths) == 3  # ours in two pieces, theirs in one


def test_many_scenarios_are_drawn_as_a_dot_each():
    runs = [run("moqvox", f"s{n}<&>", 1, 10.0 * (n + 1)) for n in range(8)]
    root = ElementTree.fromstring(draw(runs))
    dots = [node for node in root.iter() if node.tag.endswith("circle")]
    assert len(dots) == 8
    places = [float(dot.get("cx")) for dot in dots]
    assert places == sorted(places)


def test_what_lost_part_of_the_prompt_is_not_shown_as_just_early():
    up = Uplink(frames=4, arrived=3, complete_pct=75.0, late_p99_ms=2.0)
    lossy = [Run(system="aiortc", scenario=f"s{n}", network="n", seed=1, up=up) for n in range(8)]
    assert draw(lossy).count("of the 75 % that arrived") == 8


def test_of_twenty_runs_the_nineteenth_best_is_told():
    runs = []
    for seed in range(1, 21):
        up = Uplink(frames=4, arrived=4, complete_pct=100.0, ttfa_ms=float(seed))
        runs.append(Run(system="moqvox", scenario="a", network="netlab", seed=seed, up=up))
    (cell,) = cells(runs)
    assert cell.figures["ttfa_p95_ms"] == (19.0, 19.0, 19.0)
    assert "ttfa_p95_ms" not in cells(runs[:19])[0].figures


def test_a_label_that_would_leave_the_picture_stands_on_the_other_side():
    wide = [run("moqvox", f"s{n}", 1, 20.0) for n in range(9)] + [run("aiortc", "s8", 1, 1500.0)]
    picture = ElementTree.fromstring(draw(wide))
    texts = {one.text: one.get("text-anchor") for one in picture.iter(f"{SVG}text")}
    assert (texts["20"], texts["1500"]) == ("start", "end")


def test_a_line_that_ends_early_ends_in_a_dot():
    (dot,) = ElementTree.fromstring(draw([run("grpc", "a", 1, 9.0, late=[0, 5, None, None])])).iter(
        f"{SVG}circle"
    )
    assert float(dot.get("cx")) < 880 / 2
    whole = draw([run("grpc", "a", 1, 9.0, late=[0, None, 3])])
    assert not list(ElementTree.fromstring(whole).iter(f"{SVG}circle"))
