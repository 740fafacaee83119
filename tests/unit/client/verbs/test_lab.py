"""`moqvox lab`, without a network of its own but the built-in one."""

import json

import pytest

from moqvox_client.__main__ import main
from moqvox_client.errors import Failed
from moqvox_client.lab.network import Namespaces, Userspace


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["matrx"], "no scenario 'matrx'"),
        (["--against", "websockets"], "did you mean 'websocket'"),
        (["--columns", "late_p98_ms"], "did you mean 'late_p99_ms'"),
        (["--event", "soon"], "write SECONDS:WHAT"),
        (["--cell", "rtt=often"], "is not a number"),
        (["--burst", "7"], "is no burst"),
        (["--rtt", "-3"], "between 0 and 60000"),
        (["--rtt", "slow"], "not a number of milliseconds"),
        (["--system", "websocket", "--link", "loopback"], "nothing is left to run"),
        (["--link", "netlab"], "needs --netlab FILE"),
        (["continuity", "--section", "lost"], "no section 'lost', of setup"),
        (["outage", "--report", "figures.md"], "go with: moqvox lab continuity"),
    ],
)
def test_a_wrong_command_line_is_one_clear_line(words, hint, capsys):
    assert main(["lab", *words]) == 2
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert hint in told


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["--netlab", "/nowhere/netlab.py"], "no such file"),
        (["--runs", "/nowhere/runs.jsonl"], "no such file"),
        (["relay-kill-prompt", "--link", "loopback"], "two relays need network namespaces"),
    ],
)
def test_a_missing_file_is_one_clear_line(words, hint, capsys):
    assert main(["lab", *words]) == 1
    assert hint in capsys.readouterr().err


def test_a_file_that_is_no_netlab_is_refused(tmp_path, capsys):
    file = tmp_path / "netlab.py"
    file.write_text("Laboratory = 1\n")
    assert main(["lab", "--netlab", str(file)]) == 1
    assert "netlab" in capsys.readouterr().err


def test_a_run_that_cannot_be_made_is_named_and_the_others_go_on(monkeypatch, capsys):
    """The network of the first scenario can't be had; the second one's can."""
    stand_up = Userspace.stand_up

    def choosy(self, scenario, seed, folder):
        if scenario.name == "outage0":
            raise Failed("no such network today")
        return stand_up(self, scenario, seed, folder)

    monkeypatch.setattr(Userspace, "stand_up", choosy)
    words = ["outage0", "rtt50-loss0", "--link", "loopback", "--frames", "5"]
    assert main(["lab", *words, "--answer-frames", "5"]) == 1
    told = capsys.readouterr()
    assert "outage0, moqvox, seed 1: no such network today" in told.err
    assert "rtt50-loss0" in told.out


def test_runs_that_are_none_are_refused(tmp_path, capsys):
    file = tmp_path / "runs.jsonl"
    file.write_text('{"system": 3}\n')
    assert main(["lab", "--runs", str(file)]) == 1
    assert "not what --out writes" in capsys.readouterr().err


@pytest.mark.net
@pytest.mark.slow
@pytest.mark.timeout(180)  # the lab gives up first what does not start
def test_a_prompt_and_its_answer_come_whole_over_a_lossy_link(tmp_path, capsys):
    """Three processes and real time: 0.6 s of prompt, 0.4 s of answer, the oracle's verdict."""
    kept, drawn = tmp_path / "runs.jsonl", tmp_path / "runs.svg"
    words = [
        "--link",
        "loopback",
        "--rtt",
        "20",
        "--loss",
        "10",
        "--frames",
        "30",
        "--answer-frames",
        "20",
    ]
    assert main(["lab", *words, "--json", "--out", str(kept), "--plot", str(drawn)]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    run = next(line for line in lines if line["event"] == "run")
    assert (run["up"]["frames"], run["up"]["arrived"]) == (30, 30)
    assert run["up"]["ttfa_ms"] > 30  # a frame's length and the one-way delay at least
    assert run["down"]["arrived"] == 20
    assert run["heard"]["source_ms"] == 400
    assert run["heard"]["missing_ms"] == 0
    assert (run["wrong"], run["twice"]) == (0, 0)
    assert lines[-1]["event"] == "done"
    assert lines[-1]["whole"] == 1
    assert drawn.read_text().startswith("<svg")

    assert main(["lab", "--runs", str(kept)]) == 0
    assert "rtt20-loss10" in capsys.readouterr().out
    assert main(["lab", "matrix", "--runs", str(kept)]) == 1
    assert "no such run" in capsys.readouterr().err


@pytest.mark.net
@pytest.mark.slow
@pytest.mark.timeout(180)  # the lab gives up first what does not start
def test_a_server_that_is_killed_in_mid_prompt_is_started_anew_and_has_it_whole(capsys):
    words = ["--link", "loopback", "--rtt", "20", "--frames", "80", "--answer-frames", "0"]
    assert main(["lab", *words, "--event", "0.5:kill", "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    run = next(line for line in lines if line["event"] == "run")
    assert (run["up"]["arrived"], run["twice"], run["wrong"]) == (80, 0, 0)
    assert (run["back"]["lost"], run["back"]["twice"]) == (0, 0)
    assert run["back"]["away_ms"] > 0
    assert run["up"]["gap_ms"] > run["back"]["away_ms"]  # nobody was there meanwhile


@pytest.mark.net
@pytest.mark.slow
@pytest.mark.timeout(180)  # the lab gives up first what does not start
@pytest.mark.skipif(bool(Namespaces.obstacle()), reason=Namespaces.obstacle())
def test_namespaces_carry_tcp_as_well_and_lose_and_delay_it(capsys):
    """Ours and WebSocket through the same losses and a change of network in mid-prompt."""
    words = ["--link", "namespaces", "--rtt", "40", "--loss", "5", "--frames", "60"]
    words += ["--answer-frames", "10", "--event", "0.9:switch=100", "--jobs", "2"]
    assert main(["lab", *words, "--against", "websocket", "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    runs = {line["system"]: line for line in lines if line["event"] == "run"}
    ours, theirs = runs["moqvox"], runs["websocket"]
    assert ours["up"]["arrived"] == 60
    assert ours["up"]["gap_ms"] > 100  # what the switch left without a network
    assert ours["down"]["arrived"] == 10
    assert theirs["up"]["ttfa_ms"] > 4 * 20 + 20  # TCP, TLS, the upgrade, then the frame
    assert 0 < theirs["up"]["arrived"] < 60  # TCP stays on the address that is gone
