"""What `bench.attack` runs."""

import pytest
from bench.attack import MANY, VICTIMS, Case, attack, cases
from tests.attack.rows import ATTACKS, CROWD


def test_the_whole_table_has_each_attack_and_thousands_that_close_at_once():
    chosen = cases(None, None, is_quick=False)
    assert [case.row for case in chosen[:-1]] == list(ATTACKS)
    assert chosen[-1].row == "T20 mass close"
    assert chosen[-1].scale * CROWD == pytest.approx(MANY)
    assert chosen[-1].victims == ("ours",)
    assert len({case.name for case in chosen}) == len(chosen)


def test_a_row_is_all_attacks_of_that_number_and_no_other():
    assert [case.row for case in cases("T1", None, is_quick=False)] == ["T1 initial flood"]
    assert {case.row.split()[0] for case in cases("T9", None, is_quick=False)} == {"T9"}
    assert not cases("T99", None, is_quick=False)


def test_a_count_is_of_connections_that_close_at_once():
    (case,) = cases("T20", 1500, is_quick=False)
    assert case.scale * CROWD == pytest.approx(1500)


def test_in_a_hurry_there_is_a_quarter_of_each_attack_and_nothing_of_thousands():
    chosen = cases(None, None, is_quick=True)
    assert [case.row for case in chosen] == list(ATTACKS)
    assert {case.scale for case in chosen} == {0.25}


def test_an_attacker_that_gives_up_is_told_in_a_line_and_the_table_goes_on(monkeypatch, capsys):
    class Victim:
        def __init__(self, what, *, is_apart):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *exc):
            pass

    def measure(*_):
        raise RuntimeError(
            "the attacker gave up: Traceback\n  File x\nTimeoutError: no handshake\n"
        )

    monkeypatch.setattr("bench.attack.Victim", Victim)
    monkeypatch.setattr("bench.attack.measure", measure)
    assert attack(Case("T1 initial flood", "T1 initial flood", 1.0), VICTIMS[1], 3) == []
    (told,) = capsys.readouterr().out.splitlines()
    assert told.endswith("naive    not measured: TimeoutError: no handshake")
