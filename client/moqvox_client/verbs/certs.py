"""`moqvox certs`: development certificates on disk."""

import datetime
from pathlib import Path
from typing import Annotated, Final

import moqvox_certs
from moqvox_client.options import Argument, Flag, Shared
from moqvox_client.output import Color, Output

__all__ = ["EXAMPLES", "Options", "run"]

EXAMPLES: Final = """
moqvox certs                                  # ca.pem, ca-key.pem, cert.pem, key.pem in ./tls
moqvox certs tls --host voice.lan --host 192.168.1.20
moqvox certs tls --force                      # renew; the CA stays, so trust in it does too
moqvox relay --tls-cert tls/cert.pem --tls-key tls/key.pem
"""


class Options(Shared, frozen=True, kw_only=True):
    """Where to write, and for whom."""

    directory: Annotated[Path, Argument("where to write; made if need be", metavar="DIR")] = Path(
        "tls"
    )
    host: Annotated[
        tuple[str, ...], Flag("name or IP address of the server", metavar="HOST", split=True)
    ] = (
        "localhost",
        "127.0.0.1",
        "::1",
    )
    days: Annotated[
        float,
        Flag("validity; browsers pin no longer ones", metavar="N", at_most=moqvox_certs.MAX_DAYS),
    ] = moqvox_certs.MAX_DAYS
    force: Annotated[bool, Flag("replace the certificate and key that are there")] = False


def run(options: Options, output: Output) -> int:
    """Issue a leaf under the directory's CA, which is made on the first run."""
    now = datetime.datetime.now(datetime.UTC)
    directory = options.directory
    found = moqvox_certs.load_authority(directory, now=now)
    authority = found or moqvox_certs.create_authority(now)
    certificate = moqvox_certs.issue(authority, options.host, now, options.days)
    files = moqvox_certs.write_files(
        certificate, directory, authority=authority, force=options.force
    )
    output.event(
        "certificate",
        sha256=certificate.fingerprint_hex,
        hosts=certificate.hosts,
        not_after=certificate.not_after.isoformat(),
        cert=files.cert,
        key=files.key,
        ca=files.ca,
        ca_key=files.ca_key,
        ca_is_new=found is None,
    )
    age = "new" if found is None else "kept"
    output.table(
        [
            ("certificate", files.cert),
            ("key", f"{files.key} (readable by you only)"),
            ("CA", f"{files.ca} ({age}, until {authority.not_after:%Y-%m-%d})"),
            ("hosts", ", ".join(certificate.hosts)),
            ("valid until", f"{certificate.not_after:%Y-%m-%d %H:%M} UTC"),
            ("sha256", output.paint(certificate.fingerprint_hex, Color.STRONG)),
        ]
    )
    output.text(f"\nserve:  moqvox relay --tls-cert {files.cert} --tls-key {files.key}")
    output.text(f"trust:  --tls-root {files.ca}, or --tls-fingerprint with the sha256 above")
    output.done(certificates=1, sha256=certificate.fingerprint_hex)
    return 0
