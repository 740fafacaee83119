"""What goes over the pipe between a supervisor and its workers."""

import logging
from pathlib import Path

import pytest

from moqvox.errors import LocalError
from moqvox.transport.quic import (
    Keys,
    RandomIds,
    RoutableIds,
    Routing,
    Steering,
)
from moqvox_relay.config import Config, Upstream
from moqvox_relay.job import Job, Report, decode_job, decode_report, encode
from moqvox_relay.share import connection_ids, read_secret
from moqvox_relay.supervisor import _portion

CONFIG = Config(
    tls_generate=("localhost",),
    auth_key=Path("keys/key.jwk"),
    upstream=Upstream("moqt://x", ca=Path("ca.pem")),
    routing=Routing(b"\x01\x02", 3, 14, bytes(16)),
    workers=3,
    max_sessions=10,
    cache_total=100,
    secret_file=Path("secret"),
)
JOB = Job(
    worker=1,
    config=CONFIG,
    chain_pem=b"chain",
    key_pem=b"key",
    fingerprint="ab",
    secret=bytes(32),
    rows=((3, 4), (5, 6)),
    tcp=(7,),
    doors=(8, 9),
    addresses=(("127.0.0.1", 1), ("127.0.0.1", 2)),
    board=10,
)


def test_a_job_comes_out_as_it_went_in_on_one_line():
    line = encode(JOB)
    assert line.count(b"\n") == 1
    assert decode_job(line) == JOB


def test_a_job_shows_no_secret():
    assert repr(JOB) == "Job(worker=1)"


def test_a_report_comes_out_as_it_went_in():
    report = Report(message="worker 1: lost", logger="moqvox.relay", level=logging.ERROR)
    assert decode_report(encode(report)) == report
    assert decode_report(encode(Report(is_ready=True))) == Report(is_ready=True)


@pytest.mark.parametrize("line", [b"Segmentation fault\n", b"\xff\n", b"[1]\n", b"{" * 600])
def test_what_a_library_prints_goes_to_the_log(line):
    report = decode_report(line)
    assert report.level == logging.WARNING
    assert 0 < len(report.message) <= 500
    assert not report.is_ready


def test_what_is_bounded_for_the_relay_is_divided_among_its_workers():
    portion = _portion(CONFIG)
    assert (portion.max_sessions, portion.cache_total) == (4, 34)
    assert portion.secret_file is None


def test_ids_are_random_unless_a_balancer_is_to_read_them():
    assert isinstance(connection_ids(Config()), RandomIds)
    steered = connection_ids(CONFIG, Steering(2, 3))
    assert isinstance(steered, RoutableIds)
    made = steered.make()
    assert made[1] % 3 == 2
    assert RoutableIds(CONFIG.routing).decode(made) == b"\x01\x02"


def test_the_secret_is_read_from_where_it_is(tmp_path):
    file = tmp_path / "secret"
    file.write_text("5e" * 32)
    assert read_secret(Config()) is None
    assert read_secret(Config(secret="5e" * 32)) == bytes([0x5E]) * 32
    assert read_secret(Config(secret_file=file)) == bytes([0x5E]) * 32
    assert Keys(bytes([0x5E]) * 32).reset_token(b"x") == Keys.read(file).reset_token(b"x")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"workers": 0}, "0 workers"),
        ({"workers": 65}, "65 workers"),
        ({"routing": Routing(b"")}, "at least one byte"),
        ({"workers": 2, "routing": Routing(b"x" * 7)}, "at most 6 bytes"),
        ({"secret": "00" * 32, "secret_file": Path("x")}, "exclude each other"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(options, words):
    with pytest.raises(LocalError, match=words):
        Config(tls_generate=("localhost",), public=("",), **options).check()
