"""Tokens as moq-relay and its clients know them: JWT under a JWK, in `?jwt=`."""

import base64
import json
import secrets
from pathlib import Path

import jwt

__all__ = ["JwtAccess"]

LIFETIME_S = 600


class JwtAccess:
    """A shared secret in a file, and tokens under it. RFC 7517, RFC 7519."""

    def __init__(self, file: Path, now_s: int) -> None:
        """Write a new key.

        Args:
            file: where the relay is to read it.
            now_s: Unix time, from which tokens are valid.
        """
        self.file = file
        self._now_s = now_s
        self._secret = secrets.token_bytes(32)
        encoded = base64.urlsafe_b64encode(self._secret).rstrip(b"=").decode()
        key = {"kty": "oct", "alg": "HS256", "k": encoded, "key_ops": ["sign", "verify"]}
        file.write_text(json.dumps(key))

    def token(self, *, root: str, publish: bool, subscribe: bool) -> str:
        """Grant access below `root`."""
        claims: dict[str, object] = {"root": root}
        claims |= {"put": ""} if publish else {}
        claims |= {"get": ""} if subscribe else {}
        return self._sign(claims, self._secret, self._now_s + LIFETIME_S)

    def forged(self, *, root: str) -> str:
        """Grant everything, signed with a key that the relay does not know."""
        claims: dict[str, object] = {"root": root, "put": "", "get": ""}
        return self._sign(claims, secrets.token_bytes(32), self._now_s + LIFETIME_S)

    def expired(self, *, root: str) -> str:
        """Grant what was over an hour ago."""
        claims: dict[str, object] = {"root": root, "put": "", "get": ""}
        return self._sign(claims, self._secret, self._now_s - 3600)

    def _sign(self, claims: dict[str, object], secret: bytes, expires_s: int) -> str:
        return jwt.encode(claims | {"exp": expires_s}, secret, algorithm="HS256")
