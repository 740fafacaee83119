"""`relay` as a command: what it says when it is up, and when it can't be."""

import json
import os
import signal
import socket
import subprocess
import sys

import pytest

net = pytest.mark.net

START = ("relay", "--bind", "127.0.0.1:0", "--tls-generate", "localhost")

REFUSED = {
    ("relay", "--bind", "127.0.0.1:0", "--public", ""): "no certificate",
    START: "nobody could get in: give --auth-key FILE for tokens, or --public ''",
    (*START, "--public", "", "--tls-cert", "c.pem"): "go together",
    (*START, "--public", "", "--versions", "moq-9"): "moq-lite-06",
    (*START, "--public", "", "--upstream", "ftp://x"): "ftp",
    (*START, "--public", "", "--max-sessions", "0"): "1",
    (*START, "--auth-key", "none.jwk"): "none.jwk",
    (*START, "--public", "", "--upstreem", "x"): "did you mean",
}


@pytest.mark.parametrize("words", list(REFUSED))
def test_settings_that_can_not_work_are_one_clear_line(command, words):
    said = command(*words, "--json")
    assert said.code in (1, 2)
    assert REFUSED[words] in said.err
    assert "a bug" not in said.err
    assert said.done["ok"] is False


@net
def test_port_that_is_taken_is_one_clear_line(command):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        said = command(
            *("relay", "--bind", f"127.0.0.1:{port}", "--tls-generate", "localhost"),
            *("--public", "", "--json"),
        )
    assert said.code == 1
    assert str(port) in said.err
    assert "a bug" not in said.err
    assert said.done["ok"] is False


@net
def test_relay_tells_where_it_is_and_ends_on_a_signal():
    script = "import sys; from moqvox_client.__main__ import main; sys.exit(main(sys.argv[1:]))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    words = [*START, "--public", "", "--json"]
    with subprocess.Popen(
        [sys.executable, "-c", script, *words], stdout=subprocess.PIPE, env=environment
    ) as relay:
        ready = json.loads(relay.stdout.readline())
        relay.send_signal(signal.SIGTERM)
        rest = [json.loads(line) for line in relay.stdout.read().splitlines()]
        assert relay.wait(10) == 143
    assert ready["event"] == "ready"
    assert ready["address"] == f"127.0.0.1:{ready['port']}"
    assert len(bytes.fromhex(ready["fingerprint"].replace(":", ""))) == 32
    assert rest == [{"event": "done", "ok": True, "sessions": 0}]
