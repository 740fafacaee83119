import json

import pytest

import moqvox_client.verbs.doctor as verb
from moqvox_client.__main__ import main
from moqvox_client.checks import fail, ok, warn

GOOD = ok("one", "fine")
WORSE = warn("two", "slow", "buy another")
BAD = fail("three", "broken", "repair it")


@pytest.fixture
def doctor(monkeypatch, capsys):
    def doctor(findings, *words):
        monkeypatch.setattr(
            verb, "local_checks", lambda options: [lambda found=f: found for f in findings]
        )
        code = main(["doctor", *words])
        return code, *capsys.readouterr()

    return doctor


def test_warnings_do_not_fail_and_failures_do(doctor):
    assert doctor([GOOD, WORSE])[0] == 0
    assert doctor([GOOD, [WORSE, BAD]])[0] == 1


def test_each_finding_is_a_line_and_its_remedy_another(doctor):
    _, out, _ = doctor([GOOD, WORSE, BAD])
    assert out.splitlines() == [
        "ok    one           fine",
        "warn  two           slow",
        f"{'':<20}buy another",
        "fail  three         broken",
        f"{'':<20}repair it",
        "",
        "3 checks, 1 failed, 1 with a warning",
    ]


def test_json_has_a_line_for_each_check_and_the_totals(doctor):
    code, out, _ = doctor([GOOD, BAD], "--json")
    assert code == 1
    assert [json.loads(line) for line in out.splitlines()] == [
        {"event": "check", "name": "one", "status": "ok", "detail": "fine", "remedy": None},
        {
            "event": "check",
            "name": "three",
            "status": "fail",
            "detail": "broken",
            "remedy": "repair it",
        },
        {"event": "done", "ok": False, "checks": 2, "failures": 1, "warnings": 0},
    ]


def test_half_a_certificate_is_a_usage_error(doctor):
    code, _, err = doctor([], "--tls-cert", "cert.pem")
    assert (code, err) == (2, "moqvox: --tls-cert and --tls-key go together\n")


def test_given_certificate_is_checked(monkeypatch, capsys, tmp_path):
    main(["certs", str(tmp_path)])
    capsys.readouterr()
    main(
        [
            *("doctor", "--json", "--bind", "127.0.0.1:0"),
            *("--tls-cert", f"{tmp_path}/cert.pem", "--tls-key", f"{tmp_path}/key.pem"),
        ]
    )
    found = {e.get("name"): e for e in map(json.loads, capsys.readouterr().out.splitlines())}
    assert found["certificate"]["status"] == found["pinning"]["status"] == "ok"


@pytest.mark.net
def test_server_that_does_not_answer_fails_and_its_token_is_not_printed(doctor):
    url = "https://127.0.0.1:1/room?jwt=hunter2"
    code, out, err = doctor([], "--json", "--url", url, "--timeout", "50ms")
    check = json.loads(out.splitlines()[0])
    assert (code, check["name"], check["status"]) == (1, "server", "fail")
    assert check["detail"].startswith("https://127.0.0.1:1/room: ")
    assert "hunter2" not in out + err
