"""Settings that contradict each other, and what to write instead."""

from pathlib import Path

import msgspec
import pytest

from moqvox.errors import LocalError
from moqvox_relay.config import Config, Upstream
from moqvox_relay.upstream import _trust

GOOD = Config(tls_generate=("localhost",), public=("",))

BAD = [
    ({"tls_generate": ()}, "no certificate: give --tls-cert and --tls-key, or --tls-generate"),
    ({"tls_cert": Path("c")}, "go together"),
    ({"tls_key": Path("k")}, "go together"),
    ({"tls_cert": Path("c"), "tls_key": Path("k")}, "exclude each other"),
    ({"versions": ()}, "unknown version"),
    ({"versions": ("moq-lite-06", "moq-9")}, "unknown version 'moq-9'; known are moq-lite-06"),
    ({"max_sessions": 0}, "must be positive"),
    ({"cache_bytes": 0}, "must be positive"),
    ({"cache_total": 0}, "must be positive"),
    ({"cache_age": 0.0}, "must be positive"),
    ({"linger": -1.0}, "not negative"),
    ({"drain": -1.0}, "not negative"),
    ({"public": None}, "nobody could get in: give --auth-key FILE"),
    ({"upstream": Upstream("ftp://x")}, "unknown scheme"),
    ({"upstream": Upstream("https://")}, "no host"),
]


def test_good_settings_pass():
    GOOD.check()


@pytest.mark.parametrize(("change", "message"), BAD)
def test_contradiction_is_refused_with_advice(change, message):
    with pytest.raises(LocalError) as refused:
        msgspec.structs.replace(GOOD, **change).check()
    assert message in str(refused.value)


def test_unknown_setting_is_refused():
    with pytest.raises(msgspec.ValidationError, match="caches"):
        msgspec.convert({"caches": 5}, Config)


def test_upstream_root_that_is_missing_is_named(tmp_path):
    with pytest.raises(LocalError, match=r"no CA certificate at .*ca\.pem"):
        _trust(Upstream("https://x", ca=tmp_path / "ca.pem"))


def test_upstream_root_that_is_no_certificate_is_named(tmp_path):
    (tmp_path / "ca.pem").write_text("not PEM")
    with pytest.raises(LocalError, match=r"ca\.pem holds no PEM certificate"):
        _trust(Upstream("https://x", ca=tmp_path / "ca.pem"))


def test_bad_upstream_fingerprint_is_refused():
    with pytest.raises(LocalError):
        _trust(Upstream("https://x", fingerprints=("zz",)))
