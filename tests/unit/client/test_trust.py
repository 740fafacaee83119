import datetime
import logging

import pytest

import moqvox_certs
from moqvox.transport.credentials import Verify
from moqvox_client.errors import UsageError
from moqvox_client.trust import identity, verify

NOW = datetime.datetime(2026, 11, 21, 10, 30, tzinfo=datetime.UTC)
PIN = "ab" * 32


def test_flags_say_whom_to_trust(tmp_path):
    pem = moqvox_certs.generate(["localhost"], NOW).cert_pem
    (tmp_path / "ca.pem").write_bytes(pem)
    assert verify() == Verify.system()
    assert verify([PIN]) == Verify.pinned([PIN])
    assert verify(root=tmp_path / "ca.pem").ca_pem == pem


def test_trusting_anyone_is_said_aloud(caplog):
    with caplog.at_level(logging.WARNING):
        assert verify(insecure=True) == Verify.nothing()
    assert "the server's certificate is not checked" in caplog.text


def test_contradicting_trust_is_refused(tmp_path):
    with pytest.raises(UsageError, match="--tls-fingerprint and --tls-insecure contradict"):
        verify([PIN], insecure=True)
    with pytest.raises(UsageError, match="--tls-fingerprint and --tls-root contradict"):
        verify([PIN], tmp_path)


def test_root_that_is_not_there_is_named(tmp_path):
    with pytest.raises(moqvox_certs.CertificateError, match="no CA certificate at"):
        verify(root=tmp_path / "ca.pem")


def test_root_that_is_no_certificate_is_named(tmp_path):
    (tmp_path / "ca.pem").write_bytes(b"-----BEGIN CERTIFICATE-----")
    with pytest.raises(moqvox_certs.CertificateError, match=r"ca\.pem holds no PEM certificate"):
        verify(root=tmp_path / "ca.pem")


def test_identity_is_made_for_the_hosts_asked_for():
    served, certificate = identity(None, None, ["localhost", "::1"], now=NOW)
    assert served.chain_pem == certificate.cert_pem
    assert served.key_pem == certificate.key_pem
    assert certificate.hosts == ["localhost", "::1"]


def test_identity_is_loaded_and_its_near_end_is_logged(tmp_path, caplog):
    made = moqvox_certs.generate(["localhost"], NOW, days=3)
    files = moqvox_certs.write_files(made, tmp_path)
    with caplog.at_level(logging.WARNING):
        assert identity(files.cert, files.key, (), now=NOW)[1].fingerprint_hex == (
            made.fingerprint_hex
        )
        assert caplog.text == ""
        identity(files.cert, files.key, (), now=NOW + datetime.timedelta(days=2))
    assert "cert.pem expires on 2026-11-24" in caplog.text


def test_identity_needs_a_pair_or_hosts_and_not_both(tmp_path):
    for cert, key, generate, message in [
        (None, None, (), "a server needs --tls-cert and --tls-key, or --tls-generate HOST"),
        (tmp_path, None, (), "--tls-cert and --tls-key go together"),
        (None, tmp_path, (), "--tls-cert and --tls-key go together"),
        (tmp_path, tmp_path, ["a"], "--tls-generate and --tls-cert contradict"),
    ]:
        with pytest.raises(UsageError, match=message):
            identity(cert, key, generate, now=NOW)
