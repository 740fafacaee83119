"""What is made of the records of servers that were killed."""

from moqvox_client.lab.scenario import named
from moqvox_client.lab.servers import Fall
from moqvox_client.lab.verdict import _Caller, _return, _survived

MS = 1_000_000


def journals(folder, *frames):
    for number, known in enumerate(frames):
        text = "".join(f"{index} {at}\n" for index, at in known)
        (folder / f"journal-{number}").write_text(text)


def test_what_only_the_killed_server_had_is_lost(tmp_path):
    (scenario,) = named(["server-kill-prompt"])
    journals(tmp_path, [(0, 5), (1, 6)], [(1, 90), (2, 91)])
    times, lost = _survived(tmp_path, scenario, [(1, 90), (2, 91)])
    assert times == [(1, 6), (2, 91)]  # frame 1 was first there before the kill
    assert lost == 398


def test_a_prompt_that_was_acknowledged_before_the_kill_is_not_lost(tmp_path):
    (scenario,) = named(["server-kill-answer"])
    journals(tmp_path, [(n, n) for n in range(400)], [])
    second = [(400 + n, 9000 + n) for n in range(50)]
    assert _survived(tmp_path, scenario, second)[1] == 0
    assert _survived(tmp_path, scenario, second[:-1])[1] == 1


def test_the_way_back_begins_when_the_successor_listens():
    caller = _Caller(over_ns=640 * MS, resumed_ns=[50 * MS, 740 * MS])
    back = _return([Fall("kill", 100 * MS, 600 * MS)], caller, 0, 0)
    assert (back.away_ms, back.detected_ms, back.resumed_ms) == (500, 40, 100)


def test_without_a_successor_it_begins_with_the_kill():
    back = _return([Fall("kill", 100 * MS)], _Caller(resumed_ns=[1200 * MS]), 0, 0)
    assert (back.away_ms, back.detected_ms, back.resumed_ms) == (None, 1100, 0)


def test_a_call_that_never_came_back_has_no_such_times():
    back = _return([Fall("kill", 100 * MS)], _Caller(), 3, 0)
    assert (back.detected_ms, back.resumed_ms, back.lost) == (None, None, 3)


def test_where_nothing_befell_there_is_nothing_to_tell():
    assert _return([], _Caller(), 0, 0) is None
