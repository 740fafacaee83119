"""`moqvox token`: make a key, or a token signed with it."""

import secrets
from pathlib import Path
from typing import Annotated, Final

import msgspec

from moqvox_client.errors import Failed, UsageError
from moqvox_client.kinds import Duration
from moqvox_client.options import Argument, Flag, Shared
from moqvox_client.output import Output
from moqvox_relay.auth import Claims, new_key, sign
from moqvox_relay.connection import wall_clock

__all__ = ["EXAMPLES", "Options", "run"]

EXAMPLES: Final = """
moqvox token --new-key key.jwk                                # for relay --auth-key key.jwk
moqvox token key.jwk --root room --put alice --get '' --ttl 1h
moqvox token key.jwk --root room --get ''                     # may listen only
"""


class Options(Shared, frozen=True, kw_only=True):
    """What the token allows, and for how long."""

    key: Annotated[Path | None, Argument("JWK file to sign with")] = None
    new_key: Annotated[Path | None, Flag("write a fresh HS256 key here, and stop")] = None
    root: Annotated[str, Flag("path that everything is below")] = ""
    put: Annotated[tuple[str, ...], Flag("name below the root that may be published")] = ()
    get: Annotated[tuple[str, ...], Flag("name below the root that may be subscribed to")] = ()
    ttl: Annotated[Duration, Flag("how long it holds; the session ends with it")] = 600.0


def run(options: Options, output: Output) -> int:
    """Print a token on stdout."""
    if options.new_key is not None:
        key = new_key(secrets.token_bytes(32), kid=secrets.token_hex(4))
        try:
            options.new_key.touch(mode=0o600, exist_ok=False)
            options.new_key.write_bytes(msgspec.json.encode(key) + b"\n")
        except OSError as exc:
            raise Failed(f"{options.new_key}: {exc.strerror}") from exc
        output.text(f"wrote {options.new_key} (readable by you only)")
        output.done(key=options.new_key)
        return 0
    if options.key is None:
        raise UsageError("name a key to sign with, or make one with --new-key FILE")
    if not options.put and not options.get:
        raise UsageError("a token that grants nothing: give --put NAME, --get NAME, or both")
    if not options.ttl:
        raise UsageError("--ttl 0 makes a token that has expired already")
    now = wall_clock()
    claims = Claims(
        root=options.root,
        put=list(options.put) or None,
        get=list(options.get) or None,
        exp=now + options.ttl,
        iat=now,
    )
    token = sign(claims, options.key)
    output.text(token)
    output.done(token=token, expires=claims.exp)
    return 0
