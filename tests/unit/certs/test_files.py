import datetime
import os
import stat

import pytest

from moqvox_certs import (
    CertificateError,
    create_authority,
    generate,
    issue,
    load,
    load_authority,
    write_files,
)

NOW = datetime.datetime(2026, 11, 21, 10, 30, tzinfo=datetime.UTC)


@pytest.fixture(scope="module")
def authority():
    return create_authority(NOW)


@pytest.fixture(scope="module")
def leaf(authority):
    return issue(authority, ["localhost"], NOW)


def _mode(file) -> int:
    return stat.S_IMODE(file.stat().st_mode)


def test_keys_are_their_owners_alone_whatever_the_umask(tmp_path, leaf, authority):
    before = os.umask(0)
    try:
        files = write_files(leaf, tmp_path / "new" / "tls", authority=authority)
    finally:
        os.umask(before)
    assert _mode(files.key) == 0o600
    assert _mode(files.ca_key) == 0o600
    assert _mode(files.cert) == 0o644
    assert load(files.cert, files.key, now=NOW).fingerprint_hex == leaf.fingerprint_hex


def test_without_an_authority_its_key_is_not_written(tmp_path, leaf):
    files = write_files(leaf, tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["ca.pem", "cert.pem", "key.pem"]
    assert not files.ca_key.exists()


def test_nothing_is_written_when_one_file_would_be_overwritten(tmp_path, leaf):
    (tmp_path / "cert.pem").write_text("precious")
    with pytest.raises(CertificateError, match=r"cert\.pem would be overwritten; --force"):
        write_files(leaf, tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["cert.pem"]
    assert (tmp_path / "cert.pem").read_text() == "precious"


def test_dangling_link_is_not_followed(tmp_path, leaf):
    (tmp_path / "key.pem").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CertificateError, match="overwritten"):
        write_files(leaf, tmp_path)
    assert not (tmp_path / "elsewhere").exists()


def test_force_replaces_the_leaf_keeps_modes_and_leaves_no_scraps(tmp_path, leaf, authority):
    write_files(leaf, tmp_path, authority=authority)
    (tmp_path / "key.pem").chmod(0o644)
    renewed = issue(authority, ["localhost"], NOW)
    files = write_files(renewed, tmp_path, authority=authority, force=True)
    assert load(files.cert, files.key, now=NOW).fingerprint_hex == renewed.fingerprint_hex
    assert _mode(files.key) == 0o600
    assert len(list(tmp_path.iterdir())) == 4


def test_same_bytes_again_need_no_force(tmp_path, leaf, authority):
    write_files(leaf, tmp_path, authority=authority)
    write_files(leaf, tmp_path, authority=authority)


def test_unwritable_place_is_named(tmp_path, leaf):
    (tmp_path / "file").write_text("")
    with pytest.raises(CertificateError, match=r"cannot write .*file.*: (not a directory|file)"):
        write_files(leaf, tmp_path / "file" / "tls")


def test_authority_is_found_again(tmp_path, leaf, authority):
    assert load_authority(tmp_path, now=NOW) is None
    write_files(leaf, tmp_path, authority=authority)
    assert load_authority(tmp_path, now=NOW) == authority


def test_half_an_authority_is_refused(tmp_path, leaf):
    write_files(leaf, tmp_path)
    with pytest.raises(CertificateError, match=r"no CA key at .*ca-key\.pem"):
        load_authority(tmp_path, now=NOW)


def test_leaf_in_the_place_of_the_ca_is_refused(tmp_path, leaf):
    (tmp_path / "ca.pem").write_bytes(leaf.cert_pem)
    (tmp_path / "ca-key.pem").write_bytes(leaf.key_pem)
    with pytest.raises(CertificateError, match=r"ca\.pem is not a CA certificate"):
        load_authority(tmp_path, now=NOW)


def test_expired_authority_is_refused(tmp_path, authority):
    write_files(generate(["x"], NOW), tmp_path / "unused")
    (tmp_path / "ca.pem").write_bytes(authority.cert_pem)
    (tmp_path / "ca-key.pem").write_bytes(authority.key_pem)
    with pytest.raises(CertificateError, match=r"the CA .* expired on 2036"):
        load_authority(tmp_path, now=NOW + datetime.timedelta(days=4000))
