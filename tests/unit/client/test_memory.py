"""What one run learns for the next, and what a bad file may not do to it."""

import asyncio
import json

import pytest

from moqvox import connect as connecting
from moqvox.transport.interface import Kind
from moqvox_client import memory
from moqvox_client.verbs.serve import Options as Serving
from moqvox_client.verbs.talk import Options as Talking

WHERE = ("agent.test", 4443)
NOW = 1_800_000_000.0


@pytest.fixture(autouse=True)
def fresh(monkeypatch, tmp_path):
    """A process that knows nothing, and a home of its own."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    forget(monkeypatch)


def forget(monkeypatch):
    monkeypatch.setattr(connecting, "_without_udp", {})


def in_a_run(*kinds):
    """What is known when a run begins, in which these connections to `WHERE` are made."""

    async def main():
        now = asyncio.get_running_loop().time()
        with memory.remembering(lambda: NOW):
            known = connecting.detours(now)
            for kind in kinds:
                connecting._remember(WHERE, kind, now)
        return known

    return asyncio.run(main())


def keep(*rows):
    memory.file().parent.mkdir(parents=True, exist_ok=True)
    found = [{"host": host, "port": port, "until": until} for host, port, until in rows]
    memory.file().write_text(json.dumps({"without_udp": found}))


def test_a_server_that_udp_does_not_reach_is_known_to_the_next_run(monkeypatch):
    assert in_a_run(Kind.WEBSOCKET) == []
    forget(monkeypatch)
    [(host, port, left)] = in_a_run()
    assert (host, port) == WHERE
    assert connecting.REMEMBERED_S - 5 < left < connecting.REMEMBERED_S + 1


def test_a_server_that_udp_reaches_again_is_forgotten(monkeypatch):
    in_a_run(Kind.WEBSOCKET)
    forget(monkeypatch)
    assert in_a_run(Kind.WEBTRANSPORT) != []
    forget(monkeypatch)
    assert in_a_run() == []


def test_knowing_it_already_does_not_make_it_last_longer(monkeypatch):
    keep((*WHERE, NOW + 60))
    before = memory.file().read_bytes()
    [(_, _, left)] = in_a_run(Kind.WEBSOCKET)
    assert left < 61
    assert memory.file().read_bytes() == before


def test_what_is_too_old_or_from_the_future_does_not_count():
    keep(("old.test", 1, NOW - 1), ("future.test", 2, NOW + 10 * connecting.REMEMBERED_S))
    assert in_a_run() == []


def test_more_than_are_remembered_are_not_taken_up():
    keep(*((f"{number}.test", 443, NOW + 60) for number in range(500)))
    assert len(in_a_run()) == connecting.MAX_REMEMBERED


def test_a_run_that_learns_nothing_writes_nothing():
    in_a_run(Kind.WEBTRANSPORT)
    assert not memory.file().exists()


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\xfe", b"[]", b'{"without_udp": [{"host": 1}]}', b" " * (memory.MAX_BYTES + 1)],
    ids=["empty", "not text", "a list", "a number for a name", "too long"],
)
def test_a_file_that_makes_no_sense_is_as_good_as_none(content):
    memory.file().parent.mkdir(parents=True)
    memory.file().write_bytes(content)
    assert in_a_run(Kind.WEBSOCKET) == []
    assert json.loads(memory.file().read_bytes())["without_udp"][0]["host"] == WHERE[0]


def test_where_nothing_can_be_written_nothing_is_said(monkeypatch, tmp_path, caplog):
    (tmp_path / "taken").write_text("a file, not a folder")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "taken"))
    in_a_run(Kind.WEBSOCKET)
    assert not caplog.records or caplog.records[-1].levelname in ("DEBUG", "WARNING")
    assert "not kept" not in caplog.text


def test_a_relative_path_in_the_environment_does_not_count(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", "here")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert memory.file() == tmp_path / ".local" / "state" / "moqvox" / "network.json"


def test_without_websocket_nothing_is_learned():
    assert Talking(url="https://x/").learns
    assert not Talking(url="https://x/", websocket=False).learns
    assert not Serving(websocket=False).learns
