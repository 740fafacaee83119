import datetime
import ipaddress
import ssl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from moqvox_certs import (
    CertificateError,
    create_authority,
    generate,
    issue,
    pin_obstacles,
    remaining,
)

NOW = datetime.datetime(2026, 11, 21, 10, 30, 15, 999_999, tzinfo=datetime.UTC)


@pytest.fixture(scope="module")
def leaf():
    certificate = generate(["localhost", "*.Voice.example", "127.0.0.1", "[::1]"], NOW)
    return x509.load_pem_x509_certificate(certificate.cert_pem)


def test_leaf_is_no_ca_and_may_only_sign_handshakes(leaf):
    extensions = leaf.extensions
    assert not extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    usage = extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.digital_signature
    assert not usage.key_cert_sign


def test_leaf_names_hosts_and_addresses(leaf):
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost", "*.voice.example"]
    assert names.get_values_for_type(x509.IPAddress) == [
        ipaddress.ip_address("127.0.0.1"),
        ipaddress.ip_address("::1"),
    ]


def test_whole_validity_is_thirteen_days_and_began_an_hour_ago(leaf):
    assert leaf.not_valid_after_utc - leaf.not_valid_before_utc == datetime.timedelta(days=13)
    assert leaf.not_valid_before_utc == datetime.datetime(
        2026, 11, 21, 9, 30, 15, tzinfo=datetime.UTC
    )


def test_key_is_p256_and_a_browser_would_pin_it():
    certificate = generate(["localhost"], NOW)
    leaf = x509.load_pem_x509_certificate(certificate.cert_pem)
    assert isinstance(leaf.public_key().curve, ec.SECP256R1)
    assert pin_obstacles(certificate) == []


def test_fingerprint_is_the_digest_of_the_der():
    certificate = generate(["localhost"], NOW)
    leaf = x509.load_pem_x509_certificate(certificate.cert_pem)
    assert bytes.fromhex(certificate.fingerprint_hex) == leaf.fingerprint(hashes.SHA256())
    assert certificate.fingerprint_hex == certificate.fingerprint_hex.lower()


def test_repr_shows_no_key():
    authority = create_authority(NOW)
    certificate = issue(authority, ["localhost"], NOW)
    for text in (repr(certificate), repr(authority), f"{certificate}"):
        assert "PRIVATE" not in text
    assert certificate.fingerprint_hex in repr(certificate)


def test_hosts_are_read_back_from_the_leaf():
    hosts = ["localhost", "::1", "b.example", "10.0.0.1", "localhost"]
    assert generate(hosts, NOW).hosts == ["localhost", "b.example", "::1", "10.0.0.1"]


def test_unicode_names_become_a_labels():
    assert generate(["bücher.example"], NOW).hosts == ["xn--bcher-kva.example"]


@pytest.mark.parametrize(
    ("hosts", "message"),
    [
        ([], "no host"),
        (["a b"], "'a b' is neither a host name nor an IP address"),
        ([""], "neither a host name"),
        (["-x.example"], "neither a host name"),
        (["a..b"], "not a host name"),
        (["x" * 64], "not a host name"),
        (["300.1.1.1"], "looks like an IP address"),
        (["localhost:4443"], "neither a host name nor an IP address"),
        ([f"h{n}" for n in range(101)], "101 hosts in one certificate, at most 100"),
    ],
)
def test_bad_hosts_are_refused(hosts, message):
    with pytest.raises(CertificateError, match=message):
        generate(hosts, NOW)


@pytest.mark.parametrize("days", [0, -1, 13.5, 14, 365])
def test_validity_out_of_range_is_refused(days):
    with pytest.raises(CertificateError, match="at most 13 are allowed"):
        generate(["localhost"], NOW, days)


def test_leaf_never_outlives_its_ca():
    authority = create_authority(NOW)
    late = authority.not_after - datetime.timedelta(days=5)
    with pytest.raises(CertificateError, match="the CA expires"):
        issue(authority, ["localhost"], late)
    assert issue(authority, ["localhost"], late, days=4).not_after < authority.not_after


def test_remaining_counts_down_and_ends():
    certificate = generate(["localhost"], NOW, days=1)
    assert remaining(certificate, now=NOW) < datetime.timedelta(days=1)
    with pytest.raises(CertificateError, match="expired on 2026-11-22"):
        remaining(certificate, now=NOW + datetime.timedelta(days=1))
    with pytest.raises(CertificateError, match="not valid before"):
        remaining(certificate, now=NOW - datetime.timedelta(hours=2))


def _handshake(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> None:
    """Run a TLS handshake in memory to its end."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname=name),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    for _ in range(8):
        for end in list(ends):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            ends.remove(end)
    assert ends == []


@pytest.fixture
def server(tmp_path):
    def build(certificate):
        (tmp_path / "c.pem").write_bytes(certificate.cert_pem)
        (tmp_path / "k.pem").write_bytes(certificate.key_pem)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tmp_path / "c.pem", tmp_path / "k.pem")
        return context

    return build


def test_client_that_trusts_the_ca_accepts_the_leaf_for_its_names_only(server):
    certificate = generate(["localhost", "127.0.0.1"], datetime.datetime.now(datetime.UTC))
    client = ssl.create_default_context(cadata=certificate.ca_pem.decode())
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    for name in ("localhost", "127.0.0.1"):
        _handshake(server(certificate), client, name)
    with pytest.raises(ssl.SSLCertVerificationError):
        _handshake(server(certificate), client, "other.example")


def test_client_that_trusts_another_ca_refuses_the_leaf(server):
    now = datetime.datetime.now(datetime.UTC)
    client = ssl.create_default_context(cadata=create_authority(now).cert_pem.decode())
    with pytest.raises(ssl.SSLCertVerificationError):
        _handshake(server(generate(["localhost"], now)), client, "localhost")
