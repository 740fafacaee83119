"""Who may do what: tokens into grants. Pure verification; the clock is an argument.

Tokens are JWTs in the URL's `?jwt=`, with moq-relay's claims: `root` (path prefix), `put`
and `get` (suffixes below it that may be published and subscribed to; "" is everything,
absent is nothing), `exp` (holds for the whole session). Suffixes are whole path segments:
`foo` allows `foo` and `foo/bar`, not `foobar`.
"""

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import jwt
import msgspec

from moqvox import path as paths
from moqvox.errors import LocalError, Unauthorized

__all__ = ["Authority", "Claims", "Grants", "new_key", "sign"]

ALGORITHMS: Final = {
    "oct": ("HS256", "HS384", "HS512"),
    "RSA": ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    "EC": ("ES256", "ES384"),
    "OKP": ("EdDSA",),
}
"""What a key of each type may verify, so that a token can't choose (algorithm confusion).
A key that names its `alg` verifies nothing else."""

MAX_TOKEN: Final = 8 * 1024
MIN_SECRET_BYTES: Final = 32

Text = str | list[str]


class Key(msgspec.Struct, frozen=True):
    """One key, and the algorithms it may be used with."""

    jwk: jwt.PyJWK
    algorithms: tuple[str, ...]


class Claims(msgspec.Struct, frozen=True, omit_defaults=True):
    """A token's payload, as moq-relay reads it too."""

    root: str = ""
    put: Text | None = None
    get: Text | None = None
    exp: float | None = None
    iat: float | None = None


class Grants(msgspec.Struct, frozen=True):
    """What one session may do.

    Attributes:
        root: where its names are below; the connection path.
        publish, subscribe: prefixes relative to `root`; "" is everything, none is nothing.
        expires: wall-clock seconds when the session must end, None for never.
    """

    root: str
    publish: tuple[str, ...] = ()
    subscribe: tuple[str, ...] = ()
    expires: float | None = None


class Authority:
    """Verifies tokens with a set of keys, and knows the public prefixes."""

    def __init__(self, keys: Sequence[Key] = (), public: Sequence[str] = ()) -> None:
        self._keys = list(keys)
        self._public = [paths.normalise(prefix) for prefix in public]

    @classmethod
    def load(cls, key_file: Path | None, public: Sequence[str] | None) -> "Authority":
        """Read the key file, a JWK or a JWK set.

        Raises:
            LocalError: unreadable, not a JWK, or a secret shorter than 32 bytes.
        """
        keys = [] if key_file is None else _load_keys(key_file)
        return cls(keys, public or ())

    def grant(self, path: str, token: str, now: float) -> Grants:
        """Decide what a client that connects to `path` with `token` may do.

        Args:
            path: the connection path, without outer slashes; may lie above or below the
                token's root.
            token: "" for none.
            now: wall-clock seconds.

        Raises:
            Unauthorized: the reason is fit to be shown to the client.
        """
        try:
            path = paths.normalise(path)
        except LocalError as exc:
            raise Unauthorized(str(exc)) from exc
        if not token:
            open_here = _below(path, "", self._public)
            if not open_here:
                raise Unauthorized("a token is needed here")
            return Grants(path, open_here, open_here)
        claims = self._verify(token, now)
        try:
            root = paths.normalise(claims.root)
            publish = _below(path, root, claims.put)
            subscribe = _below(path, root, claims.get)
        except LocalError as exc:
            raise Unauthorized(f"bad token: {exc}") from exc
        if not publish and not subscribe:
            raise Unauthorized("the token grants nothing on this path")
        return Grants(path, publish, subscribe, claims.exp)

    def _verify(self, token: str, now: float) -> Claims:
        if len(token) > MAX_TOKEN:
            raise Unauthorized("the token is too long")
        try:
            header = jwt.get_unverified_header(token)
        except jwt.PyJWTError as exc:
            raise Unauthorized("the token is no JWT") from exc
        kid = header.get("kid")
        for key in self._keys:
            if kid is not None and key.jwk.key_id is not None and kid != key.jwk.key_id:
                continue
            try:
                payload = jwt.decode(
                    token,
                    key.jwk.key,
                    algorithms=list(key.algorithms),
                    options={"verify_exp": False, "verify_iat": False, "verify_aud": False},
                )
                claims = msgspec.convert(payload, Claims)
            except (jwt.PyJWTError, msgspec.ValidationError, ValueError):
                continue
            if claims.exp is not None and not claims.exp > now:
                raise Unauthorized("the token has expired")
            return claims
        raise Unauthorized("the token is not valid here")


def sign(claims: Claims, key_file: Path) -> str:
    """Make a token with the first key of a file.

    Raises:
        LocalError: the key can't be read, or can't sign.
    """
    key = _load_keys(key_file)[0]
    headers = {"kid": key.jwk.key_id} if key.jwk.key_id else None
    try:
        return jwt.encode(
            msgspec.to_builtins(claims),
            key.jwk.key,
            algorithm=key.algorithms[0],
            headers=headers,
        )
    except (jwt.PyJWTError, TypeError, ValueError, AttributeError) as exc:
        raise LocalError(f"{key_file}: this key can't sign: {exc}") from exc


def _below(path: str, root: str, suffixes: str | Sequence[str] | None) -> tuple[str, ...]:
    """Translate a token's suffixes into prefixes relative to the connection path."""
    if suffixes is None:
        return ()
    found = []
    for suffix in [suffixes] if isinstance(suffixes, str) else suffixes:
        allowed = paths.join(root, paths.normalise(suffix))
        inside = paths.relative(path, allowed)
        if inside is not None:
            found.append(inside)
        elif paths.contains(allowed, path):
            found.append("")
    return tuple(dict.fromkeys(found))


def _load_keys(key_file: Path) -> list[Key]:
    try:
        data = json.loads(key_file.read_text())
    except OSError as exc:
        raise LocalError(f"{key_file}: {exc.strerror}") from exc
    except ValueError as exc:
        raise LocalError(f"{key_file}: not a JWK (JSON): {exc}") from exc
    rows = data.get("keys", [data]) if isinstance(data, dict) else []
    if not isinstance(rows, list) or not rows:
        raise LocalError(f"{key_file}: holds no key")
    return [_load_key(key_file, row) for row in rows]


def _load_key(key_file: Path, row: object) -> Key:
    if not isinstance(row, dict):
        raise LocalError(f"{key_file}: not a usable JWK: {type(row).__name__} instead of an object")
    kind = row.get("kty")
    known = ALGORITHMS.get(kind) if isinstance(kind, str) else None
    if known is None:
        raise LocalError(
            f"{key_file}: key type {kind!r} is not known; known are {', '.join(ALGORITHMS)}"
        )
    if "alg" in row and row["alg"] not in known:
        raise LocalError(f"{key_file}: algorithm {row['alg']!r} is none of {', '.join(known)}")
    try:
        jwk = jwt.PyJWK(row)
    except (jwt.PyJWTError, KeyError, TypeError, AttributeError, ValueError) as exc:
        raise LocalError(f"{key_file}: not a usable JWK: {exc}") from exc
    if jwk.key_type == "oct" and len(bytes(jwk.key)) < MIN_SECRET_BYTES:
        raise LocalError(f"{key_file}: the secret is shorter than {MIN_SECRET_BYTES} bytes")
    return Key(jwk, (row["alg"],) if "alg" in row else known)


def new_key(secret: bytes, *, kid: str) -> dict[str, str]:
    """Describe a symmetric key as a JWK.

    Raises:
        LocalError: the secret is shorter than 32 bytes.
    """
    if len(secret) < MIN_SECRET_BYTES:
        raise LocalError(f"a secret has at least {MIN_SECRET_BYTES} bytes")
    encoded = base64.urlsafe_b64encode(secret).rstrip(b"=").decode()
    return {"kty": "oct", "alg": "HS256", "kid": kid, "k": encoded}
