"""Roots are read once; what they are asked about a certificate is checked each time."""

import datetime
import ssl
from types import SimpleNamespace

import pytest
from aioquic import tls
from aioquic.quic.events import HandshakeCompleted
from cryptography import x509
from tests.unit.transport.aioquic.wires import Wire, certificate

from moqvox.errors import LocalError
from moqvox.transport.aioquic import roots
from moqvox.transport.aioquic.roots import Roots
from moqvox_certs import generate

BAD_CERTIFICATE = 42


def made(*hosts, age=0.0):
    now = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=age)
    return generate(hosts or ["localhost"], now)


def leaf(of):
    return x509.load_pem_x509_certificate(of.cert_pem)


@pytest.mark.parametrize("name", ["localhost", "one.example.org", "192.0.2.7", "2001:db8::7"])
def test_a_certificate_of_theirs_is_good_for_each_of_its_names(name):
    theirs = made("localhost", "*.example.org", "192.0.2.7", "2001:db8::7")
    Roots(theirs.ca_pem).check(leaf(theirs), [], name)


@pytest.mark.parametrize("name", ["org", "elsewhere", "192.0.2.8"])
def test_another_name_is_refused(name):
    theirs = made("localhost", "192.0.2.7")
    with pytest.raises(tls.AlertBadCertificate, match="doesn't match"):
        Roots(theirs.ca_pem).check(leaf(theirs), [], name)


def test_dates_are_looked_at_each_time(monkeypatch):
    theirs = made()
    trusted = Roots(theirs.ca_pem)
    trusted.check(leaf(theirs), [], "localhost")
    later = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=14)
    clock = SimpleNamespace(now=lambda _zone: later)
    monkeypatch.setattr(roots, "datetime", SimpleNamespace(datetime=clock, UTC=datetime.UTC))
    with pytest.raises(tls.AlertCertificateExpired, match="no longer"):
        trusted.check(leaf(theirs), [], "localhost")
    monkeypatch.undo()
    early = made(age=-2)
    with pytest.raises(tls.AlertCertificateExpired, match="not valid yet"):
        Roots(early.ca_pem).check(leaf(early), [], "localhost")


def test_who_was_trusted_once_vouches_for_nobody_else():
    ours, theirs = made(), made()
    trusted = Roots(ours.ca_pem)
    trusted.check(leaf(ours), [], "localhost")
    with pytest.raises(tls.AlertBadCertificate, match="issuer"):
        trusted.check(leaf(theirs), [], "localhost")
    with pytest.raises(tls.AlertBadCertificate, match="self-signed"):
        trusted.check(leaf(theirs), [x509.load_pem_x509_certificate(theirs.ca_pem)], "localhost")
    with pytest.raises(tls.AlertBadCertificate, match="no certificate"):
        trusted.check(None, [], "localhost")


def test_roots_are_read_once():
    ca_pem = made().ca_pem
    first = Roots(ca_pem)
    before = roots._given.cache_info().misses
    assert Roots(bytes(ca_pem))._store() is first._store()
    assert roots._given.cache_info().misses == before
    assert roots._given.cache_info().maxsize == roots.MAX_STORES


def test_a_systems_roots_are_read_again_when_they_changed(tmp_path, monkeypatch):
    file, ours, theirs = tmp_path / "roots.pem", made(), made()
    paths = SimpleNamespace(cafile=str(file))
    monkeypatch.setattr(roots.ssl, "get_default_verify_paths", lambda: paths)
    file.write_bytes(ours.ca_pem)
    system = Roots(None)
    system.get_ready()
    before = roots._read.cache_info().misses
    system.check(leaf(ours), [], "localhost")
    assert roots._read.cache_info().misses == before
    file.write_bytes(ours.ca_pem + theirs.ca_pem)
    system.check(leaf(theirs), [], "localhost")


def test_a_system_without_roots_has_those_of_certifi(tmp_path, monkeypatch):
    paths = SimpleNamespace(cafile=str(tmp_path / "none"))
    monkeypatch.setattr(roots.ssl, "get_default_verify_paths", lambda: paths)
    ours = made()
    with pytest.raises(tls.AlertBadCertificate, match="issuer"):
        Roots(None).check(leaf(ours), [], "localhost")


@pytest.mark.parametrize("pem", [b"", b"roots", b"-----BEGIN CERTIFICATE-----\nAAAA\n"])
def test_roots_that_cannot_be_read_are_the_callers_error(pem):
    with pytest.raises(LocalError, match="can't be read"):
        Roots(pem)


def test_they_are_asked_in_upstreams_place_before_any_application_key():
    wire = Wire(roots=Roots(made().ca_pem)).handshake()
    ending = wire.client.ending()
    assert ending is not None
    assert (ending.code, ending.is_transport) == (0x100 + BAD_CERTIFICATE, True)
    assert not wire.client._cryptos[tls.Epoch.ONE_RTT].send.is_valid()
    assert not any(isinstance(e, HandshakeCompleted) for e in wire.events[wire.client])
    wire = Wire(roots=Roots(certificate().ca_pem)).handshake()
    assert wire.client.tls._verify_mode is ssl.CERT_NONE
    assert any(isinstance(e, HandshakeCompleted) for e in wire.events[wire.client])
    assert tls.Context(is_client=True, verify_mode=ssl.CERT_REQUIRED)._verify_mode is (
        ssl.CERT_REQUIRED
    )


def test_a_certificate_is_checked_once_before_its_owner_gets_a_word():
    asked = []

    class Asked(Roots):
        def check(self, leaf, chain, name):
            asked.append(name)
            super().check(leaf, chain, name)

    Wire(roots=Asked(certificate().ca_pem)).handshake()
    assert len(asked) == 1
