"""Scenarios as they are written on a command line."""

import pytest

from moqvox_client.lab.scenario import (
    SETS,
    Event,
    Path,
    named,
    parse_burst,
    parse_event,
    parse_path,
)


@pytest.mark.parametrize(
    ("text", "event"),
    [
        ("3:switch", Event(3, "switch")),
        ("3.5:switch=500", Event(3.5, "switch", ms=500)),
        ("3:switch=-1000,keep", Event(3, "switch", ms=-1000, keep=True)),
        ("1:outage=1500", Event(1, "outage", ms=1500)),
        ("2:nat", Event(2, "nat")),
        ("3:kill", Event(3, "kill")),
        ("3:drain", Event(3, "drain")),
        ("2:nat=10.77.1.9", Event(2, "nat", address="10.77.1.9")),
    ],
)
def test_events_are_read_and_written_alike(text, event):
    assert parse_event(text) == event
    assert parse_event(str(event)) == event


@pytest.mark.parametrize(
    "text",
    [
        "",
        "switch",
        "3:",
        "3:explode",
        "3:kill=9",
        "-1:switch",
        "3:switch=soon",
        "3:switch=500,often",
        "3:outage",
        "3:outage=0",
        "3:outage=-5",
        "3:outage=5,keep",
        "3:outage=1e9",
        "9999:switch",
        "3:nat=example",
    ],
)
def test_what_is_no_event_is_refused_with_what_would_be(text):
    with pytest.raises(ValueError, match=r"."):
        parse_event(text)


def test_a_network_is_read_from_pairs():
    assert parse_path("rtt=80 loss=1") == Path(rtt_ms=80, loss=1)
    assert parse_path("burst=1500,100,.8") == Path(rtt_ms=80, burst=(1500, 100, 0.8))
    assert parse_burst("10,20") == (10, 20, 1)


@pytest.mark.parametrize("text", ["rtt", "rtt=fast", "loss=200", "rtt=-1", "color=blue", "burst=1"])
def test_what_is_no_network_is_refused(text):
    with pytest.raises(ValueError, match=r"."):
        parse_path(text)


@pytest.mark.parametrize("text", ["", "1", "a,b", "0,5", "1,2,3", "1,2,0.5,4"])
def test_what_is_no_burst_is_refused(text):
    with pytest.raises(ValueError, match="is no burst"):
        parse_burst(text)


def test_the_matrix_has_every_loss_at_every_round_trip():
    matrix = named(["matrix"])
    assert len(matrix) == 10
    assert {one.path.rtt_ms for one in matrix} == {50, 100}
    assert sum(one.path.burst is not None for one in matrix) == 2


def test_every_member_is_found_by_its_name_and_names_are_unique():
    everything = [one for make in SETS.values() for one in make()]
    assert len({one.name for one in everything}) == len(everything)
    for one in everything:
        assert named([one.name]) == [one]


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"no scenario 'matrx'.*matrix"):
        named(["matrx"])


def test_what_is_compared_with_a_change_is_watched_at_the_same_time():
    nat, switch, bursts = named(["nat-in-bursts", "switch-in-bursts", "in-bursts"])
    assert nat.change_ms == bursts.change_ms == (3000.0, 3500.0)
    assert switch.change_ms == (3000.0, 4000.0)
    assert named(["rtt50-loss0"])[0].change_ms is None
