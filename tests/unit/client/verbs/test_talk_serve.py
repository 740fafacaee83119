"""`serve` and `talk`: agents of all kinds, callers of all kinds, directly and behind a relay."""

import asyncio
import json
import re
import socket
import sys
import time
import urllib.error
import urllib.request

import pytest
from tests.unit.client.verbs.sounds import ogg_file, packets_of, pcm, wav_file

from moqvox import connect as connecting

net = pytest.mark.net

AGENT = """
import asyncio
import math
from array import array

def tone(ms):
    return array("h", (int(8000 * math.sin(n / 8)) for n in range(24 * ms))).tobytes()

async def echo(session):
    async for utterance in session.utterances():
        await utterance.wait_over()
        session.send("transcript", {"utterance": utterance.number, "text": "a tone"})
        response = session.respond(sample_rate=24_000)
        session.caption(response, "the")
        session.caption(response, "answer")
        await response.write(tone(300))
        await response.played()

async def says_goodbye(session):
    async for utterance in session.utterances():
        await utterance.wait_over()
        response = session.respond(sample_rate=24_000)
        await response.write(tone(300))
        return

async def silent(session):
    async for utterance in session.utterances():
        await utterance.wait_over()

async def hangs_up(session):
    async for utterance in session.utterances():
        return

async def broken(session):
    raise ValueError("the agent's own fault")

async def rambling(session):
    async for utterance in session.utterances():
        session.send("transcript", "not what it should be")
        session.send("other", None)
        response = session.respond()
        await response.write(tone(100))
        await response.played()

warm = False

async def warm_up():
    global warm
    warm = True

async def cold(session):
    async for utterance in session.utterances():
        session.send("transcript", {"utterance": utterance.number, "text": str(warm)})
        response = session.respond()
        await response.write(tone(100))
        await response.played()

def plain(session):
    pass

value = 5
"""


@pytest.fixture(autouse=True)
def module(tmp_path, monkeypatch):
    (tmp_path / "bot.py").write_text(AGENT)
    (tmp_path / "wrong.py").write_text("def agent(:\n")
    (tmp_path / "needy.py").write_text("import nothing_of_that_name\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    for name in ("bot", "wrong", "needy"):
        sys.modules.pop(name, None)


class Serving:
    def __init__(self, running, ready):
        self.running = running
        self.port = ready.get("port")
        self.page = ready.get("page")
        self.trust = ("--tls-fingerprint", ready.get("fingerprint"))

    def url(self, scheme="moqt"):
        return f"{scheme}://127.0.0.1:{self.port}/"

    @property
    def said(self):
        return self.running.said()


@pytest.fixture
def serve(aside, backstage):
    """Run an agent on a port of its own, or behind a relay."""

    def serve(agent, *words):
        if not words:
            words = ("--bind", "127.0.0.1:0", "--tls-generate", "localhost")
        running = aside("serve", "--agent", f"bot:{agent}", *words)

        async def ready():
            async with asyncio.timeout(10):
                while not running.said():
                    if running.done():
                        running.result()
                    await asyncio.sleep(0.01)
            return running.said()[0]

        found = backstage.call(ready())
        assert found["event"] == "ready"
        return Serving(running, found)

    return serve


@net
@pytest.mark.parametrize("scheme", ["moqt", "https"])
def test_what_is_said_arrives_intact_and_the_answer_is_heard(serve, command, tmp_path, scheme):
    agent = serve("echo")
    source, out = ogg_file(tmp_path / "in.ogg"), tmp_path / "out.ogg"
    said = command(
        *("talk", agent.url(scheme), source, "--out", out, "--fast", "--json", *agent.trust)
    )
    assert said.code == 0
    turn, done = said.lines
    assert done == {"event": "done", "ok": True, "turns": 1, "intact": True}
    assert turn["event"] == "turn"
    assert turn["source"] == str(source)
    assert (turn["frames"], turn["sent_ms"], turn["intact"]) == (15, 300.0, True)
    assert turn["transcript"] == "a tone"
    assert turn["reply"] == "the answer"
    assert turn["heard_complete"]
    assert turn["heard_ms"] == turn["response_ms"] >= 300
    assert turn["first_ack_ms"] > 0
    assert len(packets_of(out)) * 20 == turn["response_ms"]


@net
def test_talk_reads_like_a_conversation(serve, command, tmp_path):
    agent = serve("echo")
    source = wav_file(tmp_path / "in.wav")
    said = command("talk", agent.url(), source, source, "--fast", *agent.trust)
    lines = said.out.splitlines()
    assert said.code == 0
    assert lines[0].startswith(f"said    {source}: 0.3")
    assert ", intact, +" in lines[0]
    assert re.fullmatch(r" +\d+ frames, sha256 [0-9a-f]{16}, latest frame \+\d+ ms", lines[1])
    assert lines[2:4] == ["        heard as: a tone", "answer  the answer"]
    assert "s heard of" in lines[4]
    assert len(lines) == 10


@net
def test_an_agent_comes_with_the_page_to_talk_to_it_from(serve, backstage):
    agent = serve("silent")
    assert agent.page == f"http://localhost:{agent.port}/"

    def fetch(name):
        with urllib.request.urlopen(f"http://127.0.0.1:{agent.port}/{name}", timeout=10) as found:
            return found.read()

    assert b"<moqvox-talk" in fetch("")
    connection = json.loads(fetch("connection.json"))
    assert connection["url"] == f"https://127.0.0.1:{agent.port}/"
    assert connection["certificateHashes"] == [agent.trust[1]]
    assert connection["lab"] is None


@net
def test_a_page_that_is_not_wanted_is_not_served(serve):
    words = ("--bind", "127.0.0.1:0", "--tls-generate", "localhost", "--no-page")
    agent = serve("silent", *words)
    assert agent.page is None
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"http://127.0.0.1:{agent.port}/", timeout=10)


@net
@pytest.mark.parametrize("words", [(), ("--no-page",)], ids=["with the page", "without"])
def test_an_agent_tells_its_fingerprint_and_that_it_lives(serve, words):
    agent = serve("silent", "--bind", "127.0.0.1:0", "--tls-generate", "localhost", *words)
    base = f"http://127.0.0.1:{agent.port}"
    with urllib.request.urlopen(f"{base}/certificate.sha256", timeout=10) as found:
        assert found.read().decode() == agent.trust[1]
        assert found.headers["Access-Control-Allow-Origin"] == "*"
    with urllib.request.urlopen(f"{base}/health", timeout=10) as found:
        assert found.read() == b"ok\n"


@net
def test_the_next_run_knows_that_udp_gets_nowhere(serve, command, tmp_path, monkeypatch):
    agent = serve("echo")
    original, source = connecting.connect_quic, ogg_file(tmp_path / "a.ogg")
    talking = ("talk", agent.url("https"), source, "--fast", "--json", *agent.trust)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as hole:
        hole.bind(("127.0.0.1", 0))

        async def into_the_void(host, _port, **options):
            return await original(host, hole.getsockname()[1], **options)

        monkeypatch.setattr(connecting, "connect_quic", into_the_void)
        monkeypatch.setattr(connecting, "HEAD_START", 0.1)
        monkeypatch.setattr(connecting, "_without_udp", {})
        assert command(*talking).code == 0
        monkeypatch.setattr(connecting, "_without_udp", {})
        # Longer than anybody would wait: the second call does not.
        monkeypatch.setattr(connecting, "HEAD_START", 60.0)
        assert command(*talking).code == 0


@net
def test_an_agent_is_warm_before_its_first_call(serve, command, tmp_path):
    agent = serve("cold")
    said = command(
        "talk", agent.url(), ogg_file(tmp_path / "a.ogg"), "--fast", "--json", *agent.trust
    )
    assert said.lines[0]["transcript"] == "True"


@net
def test_agent_behind_a_relay_answers(relay, serve, command, tmp_path):
    serve("echo", "--url", relay.url("room"), *relay.trust)
    said = command(
        "talk", relay.url("room"), ogg_file(tmp_path / "a.ogg"), "--fast", "--json", *relay.trust
    )
    assert said.code == 0
    assert said.lines[0]["heard_complete"]


@net
def test_trace_of_a_turn_tells_all_four_moments(serve, command, tmp_path):
    agent = serve("echo")
    trace = tmp_path / "t.jsonl"
    source = ogg_file(tmp_path / "a.ogg")
    command("talk", agent.url(), source, "--fast", "--trace", trace, *agent.trust)
    moments = [json.loads(line)["event"] for line in trace.read_text().splitlines()]
    assert moments.count("captured") == moments.count("written") == 15
    assert moments.count("received") == moments.count("played") >= 15


@net
def test_answer_of_an_agent_that_leaves_is_heard_to_its_end(serve, command, tmp_path):
    agent = serve("says_goodbye")
    source = ogg_file(tmp_path / "a.ogg")
    said = command("talk", agent.url(), source, "--fast", "--json", *agent.trust)
    assert said.code == 0
    assert said.lines[0]["heard_complete"]
    assert "hung_up" in [line["event"] for line in agent.said]


@net
def test_agent_that_says_nothing_is_waited_for_only_so_long(serve, command, tmp_path):
    agent = serve("silent")
    source = ogg_file(tmp_path / "a.ogg")
    said = command("talk", agent.url(), source, "--fast", "--patience", "100ms", *agent.trust)
    assert said.code == 0
    assert said.out.splitlines()[-1] == "        no answer came"


@net
def test_agent_that_hangs_up_is_not_waited_for(serve, command, tmp_path):
    agent = serve("hangs_up")
    source = ogg_file(tmp_path / "a.ogg", 0.6)
    said = command("talk", agent.url(), source, "--json", *agent.trust)
    assert said.code == 1
    assert "the agent hung up" in said.done["error"]


@net
def test_agent_that_fails_ends_its_own_call_only(serve, command, tmp_path):
    agent = serve("broken")
    source = ogg_file(tmp_path / "a.ogg", 0.6)
    for count in (1, 2):
        said = command("talk", agent.url(), source, "--json", *agent.trust)
        assert said.code == 1
        failed = [line for line in agent.said if line["event"] == "agent_failed"]
        assert [line["error"] for line in failed] == ["the agent's own fault"] * count
    assert not agent.running.done()


@net
def test_transcript_that_makes_no_sense_is_left_out(serve, command, tmp_path):
    agent = serve("rambling")
    source = ogg_file(tmp_path / "a.ogg")
    said = command("talk", agent.url(), source, "--fast", "--json", *agent.trust)
    assert said.code == 0
    assert said.lines[0]["transcript"] == ""


@net
def test_speaker_plays_the_answer(serve, command, tmp_path, sound):
    agent = serve("echo")
    source = ogg_file(tmp_path / "a.ogg")
    said = command("talk", agent.url(), source, "--fast", "--speaker", *agent.trust)
    assert said.code == 0
    assert len(b"".join(sound.written).replace(b"\0\0", b"")) > 2 * 24_000 * 0.25


@net
def test_stdin_is_an_utterance(serve, command, stdin):
    agent = serve("echo")
    with stdin(pcm(0.2)):
        said = command("talk", agent.url(), "-", "--fast", "--json", *agent.trust)
    assert said.code == 0
    assert said.lines[0]["sent_ms"] >= 200


@net
def test_relay_that_goes_ends_its_agent_with_the_reason(relay, serve, backstage):
    agent = serve("echo", "--url", relay.url(), *relay.trust)
    backstage.call(relay.end_sessions(0x99, "closing time"))
    with pytest.raises(Exception, match="closing time"):
        agent.running.result(10)


@net
def test_caller_of_a_relay_without_an_agent_is_told(relay, command, tmp_path, backstage):
    source = ogg_file(tmp_path / "a.ogg")
    ending = backstage.start(relay.end_sessions(0x99, "closing time"))
    said = command("talk", relay.url(), source, "--fast", "--json", *relay.trust)
    ending.result(5)
    assert said.code == 1
    assert "closing time" in said.done["error"]


FAILURES = {
    ("talk", "moqt://127.0.0.1:1", "none.wav"): (1, "none.wav: no such file or directory"),
    ("talk", "moqt://127.0.0.1:1"): (2, "say something"),
    ("talk", "moqt://127.0.0.1:1", "bot.py", "--mic"): (1, "needs a terminal"),
    ("talk", "moqt://127.0.0.1:1", "bot.py", "--out", "x.mp3"): (1, "unknown ending"),
    ("serve", "--agent", "bot"): (2, "is not MODULE:FUNCTION"),
    ("serve", "--agent", "bot:"): (2, "is not MODULE:FUNCTION"),
    ("serve", "--agent", "nobot:agent"): (2, "nobot"),
    ("serve", "--agent", "bot:nothing"): (2, "no coroutine function"),
    ("serve", "--agent", "bot:plain"): (2, "no coroutine function"),
    ("serve", "--agent", "bot:value"): (2, "no coroutine function"),
    ("serve", "--agent", "wrong:agent"): (2, "SyntaxError"),
    ("serve", "--agent", "needy:agent"): (2, "nothing_of_that_name"),
    ("serve", "--agent", "bot:echo"): (2, "a server needs --tls-cert and --tls-key"),
}


@pytest.mark.parametrize("words", list(FAILURES))
def test_what_can_not_work_is_told_at_once(command, words):
    code, message = FAILURES[words]
    said = command(*words)
    assert said.code == code
    assert message in said.err
    assert "a bug" not in said.err


@net
@pytest.mark.parametrize("verb", ["talk", "serve"])
def test_unreachable_server_is_one_clear_line(command, tmp_path, verb):
    ogg_file(tmp_path / "a.ogg")
    words = {
        "talk": ("talk", "moqt://127.0.0.1:1", "a.ogg"),
        "serve": ("serve", "--agent", "bot:echo", "--url", "moqt://127.0.0.1:1"),
    }[verb]
    said = command(*words, "--timeout", "100ms", "--json")
    assert said.code == 1
    assert said.done["ok"] is False
    assert "127.0.0.1" in said.done["error"]
    assert len(said.err.splitlines()) == 1


@net
def test_stopped_agent_says_how_many_calls_it_took(serve, command, tmp_path):
    agent = serve("echo")
    command("talk", agent.url(), ogg_file(tmp_path / "a.ogg"), "--fast", *agent.trust)
    agent.running.cancel()
    deadline = time.monotonic() + 5
    while agent.said[-1]["event"] != "done" and time.monotonic() < deadline:
        time.sleep(0.01)
    assert agent.said[-1] == {"event": "done", "ok": True, "calls": 1}
