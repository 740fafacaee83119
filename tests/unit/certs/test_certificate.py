import datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa

from moqvox_certs import CertificateError, create_authority, generate, issue, load, pin_obstacles
from moqvox_certs.certificate import parse

NOW = datetime.datetime(2026, 11, 21, 10, 30, tzinfo=datetime.UTC)


@pytest.fixture(scope="module")
def good():
    return generate(["localhost"], NOW)


@pytest.fixture
def files(tmp_path, good):
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    cert.write_bytes(good.cert_pem)
    key.write_bytes(good.key_pem)
    return cert, key


def test_what_was_written_loads_back(files, good):
    loaded = load(*files, now=NOW)
    assert loaded.fingerprint_hex == good.fingerprint_hex
    assert loaded.not_after == good.not_after
    assert loaded.ca_pem == b""


def test_chain_with_its_ca_behind_the_leaf_loads(files, good):
    files[0].write_bytes(good.cert_pem + good.ca_pem)
    assert load(*files, now=NOW).fingerprint_hex == good.fingerprint_hex


def test_chain_in_the_wrong_order_is_named_as_such(files, good):
    files[0].write_bytes(good.ca_pem + good.cert_pem)
    with pytest.raises(CertificateError, match="wrong order: the leaf comes first"):
        load(*files, now=NOW)


@pytest.mark.parametrize(("index", "what"), [(0, "certificate"), (1, "private key")])
def test_missing_empty_unreadable_and_huge_files_are_named(files, index, what):
    file = files[index]
    file.write_bytes(b"")
    with pytest.raises(CertificateError, match=rf"the {what} .*\.pem is empty"):
        load(*files, now=NOW)
    file.write_bytes(b"x" * ((1 << 20) + 1))
    with pytest.raises(CertificateError, match="too large"):
        load(*files, now=NOW)
    file.unlink()
    with pytest.raises(CertificateError, match=rf"no {what} at .*{file.name}"):
        load(*files, now=NOW)
    file.mkdir()
    with pytest.raises(CertificateError, match=rf"cannot read the {what} .*: is a directory"):
        load(*files, now=NOW)


def test_swapped_files_are_noticed(files):
    cert, key = files
    with pytest.raises(CertificateError, match=r"holds a private key.*swapped"):
        load(key, cert, now=NOW)
    with pytest.raises(CertificateError, match=r"holds a certificate, not a private key.*swapped"):
        load(cert, cert, now=NOW)


def test_garbage_is_not_pem(files):
    cert, key = files
    cert.write_bytes(b"hello")
    with pytest.raises(CertificateError, match=r"cert\.pem is not a PEM certificate"):
        load(cert, key, now=NOW)


def test_damaged_key_is_named_and_never_quoted(files):
    cert, key = files
    damaged = key.read_bytes().replace(b"M", b"A", 3)
    key.write_bytes(damaged)
    with pytest.raises(CertificateError, match=r"key\.pem is not a PEM private key") as caught:
        load(cert, key, now=NOW)
    assert damaged.splitlines()[1].decode() not in str(caught.value)


def test_key_of_another_certificate_is_refused(files):
    cert, key = files
    key.write_bytes(generate(["localhost"], NOW).key_pem)
    with pytest.raises(CertificateError, match=r"key\.pem does not belong to .*cert\.pem"):
        load(cert, key, now=NOW)


def test_encrypted_key_is_refused_with_the_reason(files, good):
    cert, key = files
    plain = serialization.load_pem_private_key(good.key_pem, password=None)
    key.write_bytes(
        plain.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    with pytest.raises(CertificateError, match="is encrypted; decrypt it first"):
        load(cert, key, now=NOW)


@pytest.mark.parametrize(
    ("at", "message"),
    [
        (NOW + datetime.timedelta(days=14), "cert.pem expired on 2026-12-04 09:30 UTC"),
        (NOW - datetime.timedelta(days=1), "not valid before .* is this clock right"),
    ],
)
def test_certificate_out_of_its_time_is_refused(files, at, message):
    with pytest.raises(CertificateError, match=message):
        load(*files, now=at)


def _private_pem(key) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def test_keys_that_tls_13_cannot_use_are_refused(good):
    with pytest.raises(CertificateError, match="neither an ECDSA, RSA nor Ed25519 key"):
        parse(good.cert_pem, _private_pem(dsa.generate_private_key(1024)))
    with pytest.raises(CertificateError, match="RSA key of 1024 bits, 2048 is the least"):
        parse(good.cert_pem, _private_pem(rsa.generate_private_key(65537, 1024)))


def _self_signed(key, days: int, *, ca: bool | None) -> bytes:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "other")])
    builder = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(NOW)
        .not_valid_after(NOW + datetime.timedelta(days=days))
    )
    if ca is not None:
        builder = builder.add_extension(x509.BasicConstraints(ca, None), critical=True)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def test_reasons_why_a_browser_would_not_pin_are_all_told():
    key = ec.generate_private_key(ec.SECP384R1())
    obstacles = pin_obstacles(parse(_self_signed(key, 90, ca=True), _private_pem(key)))
    assert obstacles == [
        "its key is not ECDSA P-256",
        "it is valid for 90 days, and at most 14 are allowed",
        "it is a CA certificate",
    ]


def test_certificate_without_extensions_has_no_hosts_and_no_ca():
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = parse(_self_signed(key, 3, ca=None), _private_pem(key))
    assert certificate.hosts == []
    assert pin_obstacles(certificate) == []


def test_ca_key_does_not_pass_for_the_leafs_key():
    authority = create_authority(NOW)
    leaf = issue(authority, ["localhost"], NOW)
    with pytest.raises(CertificateError, match="the key does not belong to the certificate"):
        parse(leaf.cert_pem, authority.key_pem)
