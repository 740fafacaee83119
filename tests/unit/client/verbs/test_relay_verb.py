"""`relay` as a command: what it says when it is up, and when it can't be."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

net = pytest.mark.net

START = ("relay", "--bind", "127.0.0.1:0", "--tls-generate", "localhost")
EDGE = (*START, "--public", "", "--upstream", "moqt://127.0.0.1:9/")

REFUSED = {
    ("relay", "--bind", "127.0.0.1:0", "--public", ""): "no certificate",
    START: "nobody could get in: give --auth-key FILE for tokens, or --public ''",
    (*START, "--public", "", "--tls-cert", "c.pem"): "go together",
    (*START, "--public", "", "--versions", "moq-9"): "moq-lite-06",
    (*START, "--public", "", "--upstream", "ftp://x"): "ftp",
    (*START, "--public", "", "--max-sessions", "0"): "1",
    (*START, "--auth-key", "none.jwk"): "none.jwk",
    (*START, "--public", "", "--workers", "65"): "64",
    (*START, "--public", "", "--secret", "hush"): "not written in hex",
    (*START, "--public", "", "--secret-file", "none"): "none: no such file",
    (*START, "--public", "", "--lb-key", "00" * 16): "--lb-key without --lb-server-id",
    (*START, "--public", "", "--lb-server-id", "x"): "--lb-server-id is not written in hex",
    (*START, "--public", "", "--lb-server-id", "01", "--lb-key", "00"): "16 bytes",
    (*START, "--public", "", "--upstreem", "x"): "did you mean",
    (*EDGE, "--upstream-root", __file__): "holds no PEM certificate that could be trusted",
    (*EDGE, "--upstream-root", "none.pem"): "no CA certificate at none.pem",
    (*EDGE, "--upstream-root", "a", "--upstream-insecure"): "contradict each other",
    (*START, "--public", "", "--upstream-also", "moqt://x/"): "--upstream-also without --upstream",
    (*START, "--public", "", "--upstream-insecure"): "--upstream-insecure without --upstream",
    ("token", "none.jwk", "--get", "", "--ttl", "0s"): "has expired already",
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


@net
@pytest.mark.slow
def test_relay_of_two_workers_says_so_and_leaves_nothing_behind():
    script = "import sys; from moqvox_client.__main__ import main; sys.exit(main(sys.argv[1:]))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    words = [*START, "--public", "", "--workers", "2", "--json"]
    with subprocess.Popen(
        [sys.executable, "-c", script, *words], stdout=subprocess.PIPE, env=environment
    ) as relay:
        ready = json.loads(relay.stdout.readline())
        with urllib.request.urlopen(f"http://{ready['address']}/metrics", timeout=10) as answer:
            rows = answer.read().decode().splitlines()
        relay.send_signal(signal.SIGTERM)
        assert relay.wait(timeout=20) == 143
    assert len(ready["workers"]) == 2
    for worker in range(2):
        assert f'moqvox_relay_sessions{{worker="{worker}"}} 0' in rows
        assert f'moqvox_quic_misdirected_packets{{worker="{worker}"}} 0' in rows
    assert "moqvox_relay_worker_restarts_total 0" in rows
    for pid in ready["workers"]:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


@net
@pytest.mark.slow
def test_workers_end_with_a_supervisor_that_is_killed():
    script = "import sys; from moqvox_client.__main__ import main; sys.exit(main(sys.argv[1:]))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    words = [*START, "--public", "", "--workers", "2", "--json"]
    with subprocess.Popen(
        [sys.executable, "-c", script, *words], stdout=subprocess.PIPE, env=environment
    ) as relay:
        ready = json.loads(relay.stdout.readline())
        relay.kill()
    deadline = time.monotonic() + 20
    while any(_is_alive(pid) for pid in ready["workers"]):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _is_alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
