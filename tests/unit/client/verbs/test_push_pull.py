"""`push` and `pull` through a relay, and every way in which they can fail."""

import asyncio
import contextlib
import errno
import hashlib
import json
import os
import subprocess
import sys

import pytest
from tests.unit.client.verbs.sounds import ogg_file, opus_packets, packets_of, pcm, wav_file

from moqvox_client.errors import Failed
from moqvox_client.pieces import read_pieces

net = pytest.mark.net


@net
@pytest.mark.parametrize("scheme", ["moqt", "https"])
def test_ogg_crosses_untouched_and_both_sides_agree(relay, command, aside, tmp_path, scheme):
    source = ogg_file(tmp_path / "in.ogg")
    out = tmp_path / "out.ogg"
    where = relay.url("", scheme)
    pulling = aside("pull", where, "alice.hang", "--out", out, *relay.trust)
    said = command("push", where, "alice.hang", source, "--fast", "--json", *relay.trust)
    assert said.code == 0
    assert pulling.result(10) == 0
    assert packets_of(out) == packets_of(source) == opus_packets()
    assert [line["event"] for line in said.lines] == ["connected", "done"]
    assert said.lines[0] == {
        "event": "connected",
        "version": "moq-lite-06",
        "transport": "webtransport" if scheme == "https" else "quic",
        "address": f"127.0.0.1:{relay.port}",
    }
    sent = sum(map(len, opus_packets()))
    digest = hashlib.sha256(b"".join(opus_packets())).hexdigest()
    assert said.done == {
        "event": "done",
        "ok": True,
        "frames": 15,
        "bytes": sent,
        "groups": 1,
        "media_us": 300_000,
        "digest": digest,
        "path_changes": 0,
        "moves": 0,
    }
    received = pulling.said()[-1]
    assert received["digest"] == digest
    assert (received["frames"], received["lost_groups"]) == (15, 0)


@net
def test_wav_and_pieces_of_groups_arrive_in_order(relay, command, aside, tmp_path):
    out = tmp_path / "out.wav"
    pulling = aside("pull", relay.url(), "a.hang", "--out", out, *relay.trust)
    source = wav_file(tmp_path / "in.wav", 1.0, 16_000)
    said = command(
        "push", relay.url(), "a.hang", source, "--fast", "--group", "40ms", "--json", *relay.trust
    )
    assert said.done["groups"] > 20
    assert pulling.result(10) == 0
    assert pulling.said()[-1]["groups"] == said.done["groups"]
    assert out.read_bytes()[:4] == b"RIFF"
    assert len(out.read_bytes()) == 44 + said.done["frames"] * 960 * 2


@net
def test_trace_has_a_line_for_each_frame(relay, command, aside, tmp_path):
    pushed, pulled = tmp_path / "push.jsonl", tmp_path / "pull.jsonl"
    out = tmp_path / "o.ogg"
    pulling = aside("pull", relay.url(), "a.hang", "--out", out, "--trace", pulled, *relay.trust)
    tone = ("--tone", "440", "--duration", "100ms")
    command("push", relay.url(), "a.hang", *tone, "--trace", pushed, *relay.trust)
    assert pulling.result(10) == 0
    sent = [json.loads(line) for line in pushed.read_text().splitlines()]
    received = [json.loads(line) for line in pulled.read_text().splitlines()]
    assert [line["event"] for line in sent[:4]] == ["captured", "written"] * 2
    assert {tuple(line)[:4] for line in sent} == {("event", "ns", "timestamp_us", "bytes")}
    assert [line["event"] for line in received] == ["received"] * (len(sent) // 2)
    written = {line["timestamp_us"]: line for line in sent if line["event"] == "written"}
    for line in received:
        assert line["bytes"] == written[line["timestamp_us"]]["bytes"]
        assert line["ns"] > written[line["timestamp_us"]]["ns"]


@net
def test_raw_pcm_from_stdin_is_published(relay, command, aside, tmp_path, stdin):
    pulling = aside("pull", relay.url(), "a.hang", "--out", tmp_path / "o.pcm", *relay.trust)
    with stdin(pcm(0.2, 16_000) + b"\0"):
        said = command(
            *("push", relay.url(), "a.hang", "-", "--rate", "16000", "--fast", "--json"),
            *relay.trust,
        )
    assert pulling.result(10) == 0
    assert said.done["media_us"] >= 200_000
    assert (tmp_path / "o.pcm").stat().st_size == 2 * 960 * pulling.said()[-1]["frames"]


@net
def test_publishing_to_nobody_ends_well(relay, command, tmp_path):
    source = ogg_file(tmp_path / "in.ogg")
    said = command("push", relay.url(), "a.hang", source, "--fast", "--wait", "1s", *relay.trust)
    digest = hashlib.sha256(b"".join(opus_packets())).hexdigest()[:16]
    assert (said.code, said.out) == (0, f"published 0.30 s in 15 frames, sha256 {digest}\n")


@net
def test_pull_stops_after_the_duration_asked_for(relay, command, aside, tmp_path):
    tone = ("--tone", "440", "--duration", "10s")
    pushing = aside("push", relay.url(), "a.hang", *tone, "--fast", "--wait", "1s", *relay.trust)
    out = tmp_path / "o.ogg"
    said = command(
        *("pull", relay.url(), "a.hang", "--out", out, "--duration", "200ms", "--json"),
        *relay.trust,
    )
    pushing.result(10)
    assert said.code == 0
    assert said.done["media_us"] == 200_000
    assert len(packets_of(out)) == 10


@net
def test_pull_plays_by_timestamps_on_a_speaker(relay, command, aside, sound):
    tone = ("--tone", "440", "--duration", "300ms")
    pushing = aside("push", relay.url(), "a.hang", *tone, *relay.trust)
    said = command("pull", relay.url(), "a.hang", "--speaker", *relay.trust)
    pushing.result(10)
    assert said.code == 0
    audible = b"".join(sound.written)
    loud = sum(1 for n in range(0, len(audible), 2) if audible[n : n + 2] != b"\0\0")
    assert loud > 48_000 * 0.25


@net
def test_pull_to_stdout_writes_audio_and_nothing_else(relay, aside):
    tone = ("--tone", "440", "--duration", "100ms")
    pushing = aside("push", relay.url(), "a.hang", *tone, *relay.trust)
    with piped("pull", relay.url(), "a.hang", "--out", "-", *relay.trust) as pulling:
        out, err = pulling.communicate(timeout=10)
    pushing.result(10)
    assert pulling.returncode == 0
    assert out.startswith(b"OggS")
    assert b"received" not in out + err


@contextlib.contextmanager
def piped(*words):
    """Run a command in a process of its own, for its real stdout."""
    script = "import sys; from moqvox_client.__main__ import main; sys.exit(main(sys.argv[1:]))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", script, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
    ) as running:
        yield running


# What goes wrong


@pytest.fixture
def files(tmp_path):
    ogg_file(tmp_path / "good.ogg")
    whole = (tmp_path / "good.ogg").read_bytes()
    (tmp_path / "cut.ogg").write_bytes(whole[:-100])
    (tmp_path / "empty.wav").write_bytes(b"")
    (tmp_path / "text.txt").write_bytes(b"hello world, no audio here")
    (tmp_path / "text.wav").write_bytes(b"RIFF but nothing of it")
    (tmp_path / "noise.ogg").write_bytes(b"OggS" + bytes(100))
    return tmp_path


BAD_SOURCES = {
    "none.wav": "none.wav: no such file or directory",
    ".": "is a directory",
    "empty.wav": "empty.wav: empty",
    "text.txt": "text.txt: neither WAV nor Ogg-Opus (raw PCM is named .raw, .pcm or -)",
    "text.wav": "wav",
    "noise.ogg": "ogg",
    "cut.ogg": "ogg",
}


@net
@pytest.mark.parametrize("name", list(BAD_SOURCES))
def test_bad_source_is_one_clear_line(relay, command, files, name):
    said = command(
        *("push", relay.url(), "a.hang", files / name, "--fast", "--wait", "0s", "--json"),
        *relay.trust,
    )
    assert said.code == 1
    assert BAD_SOURCES[name].lower() in said.err.lower()
    assert "a bug" not in said.err
    assert said.done["ok"] is False
    assert said.done["exit_code"] == 1


def test_missing_file_is_told_before_anything_is_dialled(command, tmp_path):
    said = command("push", "moqt://127.0.0.1:1", "a.hang", tmp_path / "none.wav")
    assert said.code == 1
    assert said.err == f"moqvox: {tmp_path / 'none.wav'}: no such file or directory\n"


USAGE = {
    ("push", "moqt://127.0.0.1:1", "a"): "give one source: a file, -, --tone HZ or --mic",
    ("push", "moqt://127.0.0.1:1", "a", "-", "--tone", "440"): "give one source",
    ("push", "moqt://127.0.0.1:1"): "BROADCAST",
    ("push", "ftp://x", "a", "-"): "ftp",
    ("push", "moqt://x", "a", "-", "--bitrate", "1"): "6000",
    ("pull", "moqt://127.0.0.1:1", "a"): "say where the audio goes",
    ("pull", "moqt://127.0.0.1:1", "a", "--out", "-", "--json"): "both want stdout",
    ("pull", "moqt://127.0.0.1:1", "a", "--outt", "x"): "did you mean",
    (
        *("pull", "moqt://127.0.0.1:1", "a", "--out", "x.ogg"),
        *("--tls-insecure", "--tls-fingerprint", "00"),
    ): "contradict",
}


@pytest.mark.parametrize("words", list(USAGE))
def test_wrong_command_line_is_exit_code_two(command, words):
    said = command(*words)
    assert said.code == 2
    assert USAGE[words] in said.out + said.err


@pytest.mark.parametrize(
    ("name", "message"), [("x.mp3", "unknown ending"), ("no/x.ogg", "no such")]
)
def test_output_that_can_not_be_written_is_told_before_anything_is_dialled(
    command, tmp_path, name, message
):
    said = command("pull", "moqt://127.0.0.1:1", "a", "--out", tmp_path / name)
    assert said.code == 1
    assert message in said.err


@net
def test_file_that_is_there_survives_a_server_that_is_not(command, tmp_path):
    out = tmp_path / "precious.ogg"
    out.write_bytes(b"precious")
    said = command("pull", "moqt://127.0.0.1:1", "a", "--out", out, "--timeout", "100ms")
    assert said.code == 1
    assert "127.0.0.1" in said.err
    assert out.read_bytes() == b"precious"


@net
@pytest.mark.parametrize("verb", ["push", "pull"])
def test_wrong_fingerprint_is_one_clear_line(relay, command, tmp_path, verb):
    rest = ["--tone", "440"] if verb == "push" else ["--out", tmp_path / "o.ogg"]
    said = command(verb, relay.url(), "a", *rest, "--tls-fingerprint", "00" * 32)
    assert said.code == 1
    assert "certificate" in said.err
    assert len(said.err.splitlines()) == 1


def test_malformed_fingerprint_is_refused(command):
    said = command("push", "moqt://127.0.0.1:1", "a", "--tone", "440", "--tls-fingerprint", "zz")
    assert said.code in (1, 2)
    assert "zz" in said.err


@net
def test_unknown_version_names_the_known_ones(relay, command):
    said = command(
        "push", relay.url(), "a", "--tone", "440", "--versions", "moq-lite-99", *relay.trust
    )
    assert said.code in (1, 2)
    assert "moq-lite-06" in said.err


@net
def test_broadcast_that_nobody_publishes_is_not_found(relay, command, tmp_path):
    out = tmp_path / "o.ogg"
    said = command(
        *("pull", relay.url(), "nobody", "--out", out, "--timeout", "1s", "--json"),
        *relay.trust,
    )
    assert said.code == 1
    assert said.done["error"] == "no broadcast 'nobody' was announced in 1 s"
    assert not out.exists()


@net
def test_name_that_breaks_the_rules_is_refused(relay, command):
    said = command("push", relay.url(), "a\nb", "--tone", "440", *relay.trust)
    assert said.code == 1
    assert "a bug" not in said.err


@net
def test_broadcast_without_catalog_asks_for_a_track(relay, command, tmp_path, backstage):
    from moqvox.model import broadcast

    async def publish():
        producer = broadcast.Producer()
        relay.relay.origin.publish("bare", producer.consume())
        return producer

    kept = backstage.call(publish())
    said = command("pull", relay.url(), "bare", "--out", tmp_path / "o.ogg", *relay.trust)
    assert (said.code, said.err) == (
        1,
        "moqvox: the broadcast has no catalog.json; name a track with --track\n",
    )
    said = command(
        *("pull", relay.url(), "bare", "--out", tmp_path / "o.ogg", "--track", "x"), *relay.trust
    )
    assert said.code == 1
    assert "not found" in said.err
    assert not kept.closed


@net
def test_catalog_without_audio_is_not_the_last_word(relay, command, tmp_path, backstage):
    """Publishers announce themselves before their microphone is open."""
    from moqvox.frame import Frame
    from moqvox.media.catalog import Catalog, opus_rendition
    from moqvox.media.container import encode_legacy
    from moqvox.model import broadcast

    async def publish():
        producer = broadcast.Producer()
        catalog = producer.create_track("catalog.json")

        def describe(described):
            group = catalog.append_group()
            group.write(Frame(described.encode(), 0))
            group.finish()

        def go_on():
            if catalog.used:
                describe(Catalog(audio={"voice": opus_rendition()}))

        describe(Catalog())
        catalog.wake = go_on
        audio = producer.create_track("voice")
        group = audio.append_group()
        for at, packet in enumerate(opus_packets()):
            group.write(Frame(encode_legacy(20_000 * at, packet), 20_000 * at))
        group.finish()
        audio.finish()
        relay.relay.origin.publish("late", producer.consume())

    backstage.call(publish())
    out = tmp_path / "o.ogg"
    said = command("pull", relay.url(), "late", "--out", out, "--json", *relay.trust)
    assert said.code == 0
    assert len(packets_of(out)) == len(opus_packets())


@net
@pytest.mark.parametrize("how", ["refused", "gone", "gone after its catalog"])
def test_publisher_that_begins_anew_is_met_again(relay, command, tmp_path, backstage, how):
    """Browsers start over once they have the microphone."""
    from moqvox.errors import StreamCode
    from moqvox.frame import Frame, TrackInfo
    from moqvox.media.catalog import Catalog, opus_rendition
    from moqvox.media.container import encode_legacy
    from moqvox.model import broadcast

    origin = relay.relay.origin

    def settled():
        producer = broadcast.Producer()
        catalog = producer.create_track("catalog.json").append_group()
        catalog.write(Frame(Catalog(audio={"voice": opus_rendition()}).encode(), 0))
        catalog.finish()
        audio = producer.create_track("voice")
        group = audio.append_group()
        for at, packet in enumerate(opus_packets()):
            group.write(Frame(encode_legacy(20_000 * at, packet), 20_000 * at))
        group.finish()
        audio.finish()
        origin.publish("anew", producer.consume())

    async def publish():
        first = broadcast.Producer(dynamic=True)
        origin.publish("anew", first.consume())
        async for request in first.requests():
            if how == "gone after its catalog" and request.name == "catalog.json":
                catalog = request.accept(TrackInfo()).append_group()
                catalog.write(Frame(Catalog(audio={"voice": opus_rendition()}).encode(), 0))
                catalog.finish()
                continue
            if how == "refused":
                request.reject(StreamCode.INTERNAL)
            first.close()
            settled()
            return

    publishing = backstage.start(publish())
    out = tmp_path / "o.ogg"
    said = command("pull", relay.url(), "anew", "--out", out, "--json", *relay.trust)
    publishing.result(5)
    assert said.code == 0, said.err
    assert packets_of(out) == opus_packets()


@net
def test_catalog_that_is_nonsense_is_one_clear_line(relay, command, tmp_path, backstage):
    from moqvox.frame import Frame
    from moqvox.model import broadcast

    async def publish():
        producer = broadcast.Producer()
        group = producer.create_track("catalog.json").append_group()
        group.write(Frame(b"{]", 0))
        group.finish()
        relay.relay.origin.publish("odd", producer.consume())
        return producer

    backstage.call(publish())
    said = command("pull", relay.url(), "odd", "--out", tmp_path / "o.ogg", *relay.trust)
    assert said.code == 1
    assert "a bug" not in said.err
    assert len(said.err.splitlines()) == 1


@net
@pytest.mark.parametrize("verb", ["push", "pull"])
def test_server_that_ends_the_session_is_quoted(relay, command, tmp_path, verb, backstage):
    ending = backstage.start(relay.end_sessions(0x99, "closing time"))
    rest = ["--tone", "440"] if verb == "push" else ["--out", tmp_path / "o.ogg"]
    said = command(verb, relay.url(), "a", *rest, "--json", *relay.trust)
    ending.result(5)
    assert said.code == 1
    assert said.done["error"] == "session ended: closing time"


@net
def test_closed_pipe_ends_quietly(relay, aside, tmp_path):
    """As `| head -c 1` does."""
    tone = ("--tone", "440", "--duration", "5s")
    pushing = aside("push", relay.url(), "a", *tone, "--fast", "--wait", "3s", *relay.trust)
    with piped("pull", relay.url(), "a", "--out", "-", *relay.trust) as pulling:
        pulling.stdout.read(1)
        pulling.stdout.close()
        error = pulling.stderr.read()
        assert pulling.wait(10) == 141
    assert error == b""
    pushing.cancel()


def test_missing_microphone_extra_says_what_to_install(command, monkeypatch):
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    said = command("push", "moqt://127.0.0.1:1", "a", "--mic", "--timeout", "50ms")
    assert said.code == 1
    said = command("pull", "moqt://127.0.0.1:1", "a", "--speaker")
    assert said.code == 1
    assert "pip install 'moqvox[mic]'" in said.err


@net
def test_silent_pipe_does_not_hold_up_the_end_of_a_command(relay, command, backstage, monkeypatch):
    """Nothing ever comes on stdin, and the server goes: the command ends all the same."""
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as quiet, os.fdopen(writing, "wb"):
        monkeypatch.setattr(sys, "stdin", quiet)
        ending = backstage.start(relay.end_sessions(0x99, "closing time"))
        said = command("push", relay.url(), "a", "-", *relay.trust)
        ending.result(5)
    assert (said.code, said.err) == (1, "moqvox: session ended: closing time\n")


def test_reader_of_stdin_hears_of_its_errors(monkeypatch):
    reading, writing = os.pipe()
    os.close(writing)
    with os.fdopen(reading, "rb") as quiet:
        monkeypatch.setattr(sys, "stdin", quiet)
        monkeypatch.setattr("moqvox_client.pieces.os.read", _unreadable)
        with pytest.raises(Failed, match="stdin: Input/output error"):
            asyncio.run(_read_all())


def _unreadable(_fd, _size):
    raise OSError(errno.EIO, os.strerror(errno.EIO))


async def _read_all():
    return [piece async for piece in read_pieces("-")]
