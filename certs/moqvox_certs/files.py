"""Certificates on disk: which file is which, who may read it, what is never overwritten."""

import contextlib
import datetime
import os
import secrets
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from moqvox_certs.certificate import Certificate, CertificateError, parse, parse_key, read_pem
from moqvox_certs.issue import Authority

__all__ = ["Files", "load_authority", "write_files"]


class Files(msgspec.Struct, frozen=True):
    """Where the parts of a certificate live in one directory."""

    cert: Path
    key: Path
    ca: Path
    ca_key: Path

    @staticmethod
    def of(directory: Path) -> "Files":
        """Name the four files of a directory, whether they exist or not."""
        return Files(
            directory / "cert.pem",
            directory / "key.pem",
            directory / "ca.pem",
            directory / "ca-key.pem",
        )


def load_authority(directory: Path, *, now: datetime.datetime) -> Authority | None:
    """Read the CA that an earlier run left in `directory`; None when there is none.

    Raises:
        CertificateError: half of it is there, it is damaged, expired, or not a CA.
    """
    files = Files.of(directory)
    if not files.ca.exists() and not files.ca_key.exists():
        return None
    cert_pem = read_pem(files.ca, "CA certificate")
    key_pem = read_pem(files.ca_key, "CA key")
    ca = parse(cert_pem, key_pem, cert_name=str(files.ca), key_name=str(files.ca_key))
    if not isinstance(parse_key(key_pem, str(files.ca_key)), ec.EllipticCurvePrivateKey):
        raise CertificateError(f"{files.ca_key} is not an ECDSA key")
    if now > ca.not_after:
        raise CertificateError(f"the CA {files.ca} expired on {ca.not_after:%Y-%m-%d}; remove it")
    try:
        extensions = x509.load_pem_x509_certificate(cert_pem).extensions
        is_ca = extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        is_ca = False
    if not is_ca:
        raise CertificateError(f"{files.ca} is not a CA certificate")
    return Authority(cert_pem, key_pem, ca.not_after)


def write_files(
    certificate: Certificate,
    directory: Path,
    *,
    authority: Authority | None = None,
    force: bool = False,
) -> Files:
    """Write cert.pem, key.pem and ca.pem (with `authority`, ca-key.pem too).

    Keys are readable by their owner alone (0600). Nothing is written when a file would
    be overwritten without `force`; with it, each file is replaced in one step. A CA that
    is there already, byte for byte, is left alone.

    Raises:
        CertificateError: a file exists, or the directory can't be written.
    """
    files = Files.of(directory)
    wanted = [(files.key, certificate.key_pem, 0o600), (files.cert, certificate.cert_pem, 0o644)]
    if authority is not None:
        wanted.insert(0, (files.ca_key, authority.key_pem, 0o600))
    if certificate.ca_pem:
        wanted.insert(0, (files.ca, certificate.ca_pem, 0o644))
    wanted = [part for part in wanted if not _holds(part[0], part[1])]
    existing = [str(file) for file, _, _ in wanted if os.path.lexists(file)]
    if existing and not force:
        raise CertificateError(f"{', '.join(existing)} would be overwritten; --force allows it")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for file, data, mode in wanted:
            _write(file, data, mode, replace=force)
    except OSError as exc:
        name = exc.filename or directory
        raise CertificateError(f"cannot write {name}: {(exc.strerror or '').lower()}") from exc
    return files


def _holds(file: Path, data: bytes) -> bool:
    try:
        return file.read_bytes() == data
    except OSError:
        return False


def _write(file: Path, data: bytes, mode: int, *, replace: bool) -> None:
    """Create with the final mode from the start: a key is never readable by others."""
    target = file.with_name(f".{file.name}.{secrets.token_hex(4)}") if replace else file
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
        if replace:
            target.replace(file)
    except BaseException:
        with contextlib.suppress(OSError):
            target.unlink()
        raise
