import datetime
import json
import stat

import pytest

import moqvox_certs
from moqvox_client.__main__ import main


def lines(capsys):
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def load(directory):
    now = datetime.datetime.now(datetime.UTC)
    return moqvox_certs.load(directory / "cert.pem", directory / "key.pem", now=now)


def test_files_are_made_and_their_fingerprint_printed(tmp_path, capsys):
    assert main(["certs", str(tmp_path / "tls"), "--json"]) == 0
    event, done = lines(capsys)
    certificate = load(tmp_path / "tls")
    assert event["event"] == "certificate"
    assert event["sha256"] == done["sha256"] == certificate.fingerprint_hex
    assert event["hosts"] == ["localhost", "127.0.0.1", "::1"]
    assert event["ca_is_new"] is True
    assert done["event"] == "done"
    assert stat.S_IMODE((tmp_path / "tls" / "key.pem").stat().st_mode) == 0o600


def test_humans_see_the_fingerprint_and_what_to_do_next(tmp_path, capsys):
    assert main(["certs", str(tmp_path)]) == 0
    out, err = capsys.readouterr()
    assert load(tmp_path).fingerprint_hex in out
    assert f"--tls-cert {tmp_path}/cert.pem --tls-key {tmp_path}/key.pem" in out
    assert err == ""
    assert "PRIVATE" not in out


def test_second_run_needs_force_and_keeps_the_ca(tmp_path, capsys):
    main(["certs", str(tmp_path)])
    first, ca = load(tmp_path), (tmp_path / "ca.pem").read_bytes()
    capsys.readouterr()
    assert main(["certs", str(tmp_path)]) == 1
    assert "would be overwritten; --force allows it" in capsys.readouterr().err
    assert load(tmp_path) == first
    assert main(["certs", str(tmp_path), "--force", "--host", "voice.lan"]) == 0
    assert load(tmp_path).hosts == ["voice.lan"]
    assert (tmp_path / "ca.pem").read_bytes() == ca


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--days", "14"], 2, "--days: '14' is above 13, the most allowed"),
        (["--days", "0"], 1, "0 days of validity"),
        (["--host", "a b"], 1, "'a b' is neither a host name nor an IP address"),
    ],
)
def test_impossible_wishes_are_refused(tmp_path, capsys, words, code, message):
    assert main(["certs", str(tmp_path / "tls"), *words]) == code
    assert message in capsys.readouterr().err
    assert not (tmp_path / "tls").exists()
