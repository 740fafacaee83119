"""A server's secrets, all derived from one: what its workers, and its next run, must share.

Whoever has the root secret can forge Retry and address tokens, read 0-RTT tickets and reset
connections; TLS's own keys are not among these. Rotation limits how much one derived key
protects; it is no help once the root is known, which is then to be replaced.
"""

import enum
import hmac
import os
import struct
from pathlib import Path
from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand

from moqvox.errors import LocalError

__all__ = [
    "MIN_RESET_BYTES",
    "MIN_SECRET_BYTES",
    "RESET_TOKEN_BYTES",
    "Keys",
    "Purpose",
    "parse_secret",
    "read_secret",
]

MIN_SECRET_BYTES: Final = 16
MAX_SECRET_FILE_BYTES: Final = 4096
RESET_TOKEN_BYTES: Final = 16
MIN_RESET_BYTES: Final = 5 + RESET_TOKEN_BYTES
"""A stateless reset of fewer is none (RFC 9000, section 10.3)."""

NONCE_BYTES: Final = 12
SKEW: Final = 60.0
"""Seconds that the clocks of servers with one secret may differ."""

MAX_CACHED_KEYS: Final = 16

HOUR: Final = 3600.0
DAY: Final = 24 * HOUR


class _Terms(msgspec.Struct, frozen=True):
    """How long one derived key seals, and how long what it sealed is good for, in seconds."""

    period: float
    lifetime: float


class Purpose(enum.Enum):
    """What something is sealed for; one opens nothing of another's."""

    RETRY = _Terms(period=HOUR, lifetime=30.0)
    """The token of a Retry packet, which a client brings back at once."""

    ADDRESS = _Terms(period=DAY, lifetime=DAY)
    """NEW_TOKEN: this client was at this address lately."""

    TICKET = _Terms(period=DAY, lifetime=DAY)
    """The state of a TLS session that its client may resume."""


class Keys:
    """Everything derived from one root secret. Its `repr` shows nothing of it.

    Times are wall-clock seconds, because servers on several machines may share a secret.
    """

    def __init__(self, root: bytes) -> None:
        _check(root)
        self._root = HKDF(SHA256(), 32, salt=b"moqvox server", info=b"root").derive(root)
        self._reset_key = self.derive("stateless reset")
        self._sealing: dict[tuple[str, int], AESGCM] = {}

    @staticmethod
    def generate() -> "Keys":
        """Make up a secret, for a server that shares it with nobody and forgets it."""
        return Keys(os.urandom(32))

    @staticmethod
    def parse(text: str) -> "Keys":
        """Use a secret written in hex.

        Raises:
            LocalError: see `parse_secret`.
        """
        return Keys(parse_secret(text))

    @staticmethod
    def read(path: Path) -> "Keys":
        """Use the secret in a file.

        Raises:
            LocalError: see `read_secret`.
        """
        return Keys(read_secret(path))

    def derive(self, purpose: str, size: int = 32) -> bytes:
        """Derive a key for something else; equal on all servers with this secret."""
        return HKDFExpand(SHA256(), size, purpose.encode()).derive(self._root)

    def reset_token(self, connection_id: bytes) -> bytes:
        """Return the stateless reset token of a connection ID of ours (RFC 9000, 10.3.2)."""
        return hmac.digest(self._reset_key, connection_id, "sha256")[:RESET_TOKEN_BYTES]

    def seal(self, purpose: Purpose, payload: bytes, *, bound_to: bytes = b"", now: float) -> bytes:
        """Encrypt and sign a payload; 37 bytes longer than it.

        Args:
            purpose: decides how long it can be opened.
            payload: what is to come back.
            bound_to: must be the same when it is opened; not contained.
            now: wall-clock seconds.
        """
        index = int(now // purpose.value.period)
        nonce = os.urandom(NONCE_BYTES)
        stamped = struct.pack(">Q", int(now * 1000)) + payload
        sealed = self._key(purpose, index).encrypt(nonce, stamped, bound_to)
        return bytes((index & 0xFF,)) + nonce + sealed

    def unseal(
        self, purpose: Purpose, sealed: bytes, *, bound_to: bytes = b"", now: float
    ) -> bytes | None:
        """Return what was sealed; None when it is not ours, for something else, or too old."""
        if len(sealed) < 1 + NONCE_BYTES:
            return None
        terms = purpose.value
        latest = int((now + SKEW) // terms.period)
        index = latest - ((latest - sealed[0]) & 0xFF)
        if index < 0 or (index + 1) * terms.period < now - terms.lifetime - SKEW:
            return None
        nonce, rest = sealed[1 : 1 + NONCE_BYTES], sealed[1 + NONCE_BYTES :]
        try:
            stamped = self._key(purpose, index).decrypt(nonce, rest, bound_to)
        except InvalidTag:
            return None
        age = now - struct.unpack_from(">Q", stamped)[0] / 1000
        return stamped[8:] if -SKEW <= age <= terms.lifetime else None

    def _key(self, purpose: Purpose, index: int) -> AESGCM:
        name = (purpose.name, index)
        key = self._sealing.get(name)
        if key is None:
            if len(self._sealing) >= MAX_CACHED_KEYS:
                del self._sealing[next(iter(self._sealing))]
            key = AESGCM(self.derive(f"{purpose.name.lower()} {index}", 16))
            self._sealing[name] = key
        return key


def parse_secret(text: str) -> bytes:
    """Read a secret written in hex.

    Raises:
        LocalError: not hex, or too short. The message does not show it.
    """
    try:
        secret = bytes.fromhex(text)
    except ValueError:
        raise LocalError("the secret is not written in hex digits") from None
    _check(secret)
    return secret


def read_secret(path: Path) -> bytes:
    """Read a secret from a file: hex digits, as `openssl rand -hex 32` writes them.

    Raises:
        LocalError: unreadable, not hex, or too short.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_SECRET_FILE_BYTES + 1)
    except OSError as exc:
        raise LocalError(f"{path}: {(exc.strerror or str(exc)).lower()}") from exc
    if len(data) > MAX_SECRET_FILE_BYTES:
        raise LocalError(f"{path}: larger than {MAX_SECRET_FILE_BYTES} bytes, so no secret")
    try:
        return parse_secret(data.decode("ascii"))
    except (LocalError, UnicodeDecodeError) as exc:
        reason = exc if isinstance(exc, LocalError) else "not written in hex digits"
        raise LocalError(f"{path}: {reason}") from None


def _check(secret: bytes) -> None:
    if len(secret) < MIN_SECRET_BYTES:
        raise LocalError(f"a secret of {len(secret)} bytes; at least {MIN_SECRET_BYTES} are")
