"""Development certificates: issue, load, check, write, pin."""

from moqvox_certs.certificate import (
    EXPIRY_WARNING,
    Certificate,
    CertificateError,
    fingerprint,
    load,
    parse,
    pin_obstacles,
    read_pem,
    read_roots,
    remaining,
)
from moqvox_certs.files import Files, load_authority, write_files
from moqvox_certs.issue import MAX_DAYS, Authority, create_authority, generate, issue

__all__ = [
    "EXPIRY_WARNING",
    "MAX_DAYS",
    "Authority",
    "Certificate",
    "CertificateError",
    "Files",
    "create_authority",
    "fingerprint",
    "generate",
    "issue",
    "load",
    "load_authority",
    "parse",
    "pin_obstacles",
    "read_pem",
    "read_roots",
    "remaining",
    "write_files",
]
