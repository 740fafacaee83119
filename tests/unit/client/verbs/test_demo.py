"""The main job as the command does it: relays, link, agent and caller over real sockets."""

import importlib.util
import re

import pytest
from tests.unit.client.verbs.sounds import packets_of

from moqvox_client.speech import agent as room
from moqvox_client.speech.recordings import main_recording
from moqvox_client.speech.wer import compare

pytestmark = [pytest.mark.net, pytest.mark.slow, pytest.mark.timeout(90)]


@pytest.fixture(autouse=True)
def demo_extra():
    for module in ("pocketsphinx", "espeakng_loader"):
        if importlib.util.find_spec(module) is None:
            pytest.fail(f"{module} is missing: pip install -e '.[demo]'")


@pytest.fixture
def recorded():
    return main_recording()


def test_recorded_sentence_arrives_whole_is_understood_and_answered(command, recorded, tmp_path):
    out = tmp_path / "new" / "folder"
    said = command("demo", "--json", "--out", out)
    assert said.code == 0
    turn, done = said.lines
    assert turn["event"] == "turn"
    assert turn["expected"] == recorded.transcript
    assert done["ok"] is done["intact"] is True
    assert done["frames"] == len(recorded.opus)
    assert packets_of(out / "prompt.ogg") == list(recorded.opus)
    assert len(packets_of(out / "answer.ogg")) * 20 == done["response_ms"] == done["heard_ms"]
    assert compare(recorded.transcript, done["transcript"]).rate < 0.35
    assert done["transcript"] in turn["reply"]
    assert 0 < done["first_ack_ms"] < 2000
    assert done["packets_lost"] == 0
    # Made faster than it sounds: most of it is in hand while it plays.
    assert done["lead_ms"] > done["response_ms"] / 2


def test_bad_path_costs_time_and_no_word(command, recorded):
    said = command("demo", "--loss", "20", "--outage", "2s", "--seed", "3")
    assert said.code == 0
    rows = dict(re.split(r" {2,}", line, maxsplit=1) for line in said.out.splitlines())
    sent = len(recorded.opus)
    assert rows["prompt"].startswith(f"intact: {sent} frames, {sent * 20 / 1000:.2f} s")
    assert compare(recorded.transcript, rows["understood"]).rate < 0.35
    latest = int(re.search(r"latest frame \+(\d+) ms", rows["cost"])[1])
    assert latest >= 1900
    assert int(rows["link"].split()[0]) > 50


def test_text_is_spoken_over_raw_quic(command):
    said = command("demo", "--quic", "--say", "stop", "--rtt", "40ms", "--json")
    assert said.code == 0
    turn, done = said.lines
    assert turn["expected"] == "stop"
    assert done["intact"] is True
    assert done["first_ack_ms"] >= 40


def test_prompt_without_an_answer_is_a_failure(command, monkeypatch):
    async def mute(session):
        async for utterance in session.utterances():
            async for _ in utterance.pcm(16_000):
                pass
            session.hang_up()

    monkeypatch.setattr(room, "agent", mute)
    said = command("demo", "--say", "stop", "--json")
    assert said.code == 1
    assert said.done["intact"] is True
    assert said.done["response_ms"] is None


def test_folder_that_cannot_be_made_is_told_before_anything_starts(command, tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    said = command("demo", "--out", file / "folder")
    assert said.code == 1
    assert said.err.strip().splitlines()[-1].endswith("Not a directory")
