"""The connection IDs that a server hands out, and who can tell from them where they belong.

Random ones say nothing. Routable ones are those of QUIC-LB (draft-ietf-quic-load-balancers):
a load balancer that knows the layout, and the key if there is one, reads the server's ID in them
and needs no table of connections. Either kind can also be steered: one byte, modulo the number of
workers, is the worker's number, which a classic BPF program can read. That much, the logarithm of
the number of workers in bits, two IDs of one connection have in common for everybody to see.
"""

import ipaddress
import os
from collections.abc import Sequence
from typing import Final, Protocol

import msgspec
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB

from moqvox.errors import LocalError
from moqvox.transport.quic.keys import Keys

__all__ = [
    "MAX_BYTES",
    "MAX_STEERING_OFFSET",
    "MAX_WORKERS",
    "ConnectionIds",
    "Issuer",
    "Preferred",
    "RandomIds",
    "RoutableIds",
    "Routing",
    "Steering",
]

MAX_BYTES: Final = 20
"""Of a connection ID in QUIC version 1."""

RANDOM_BYTES: Final = 8

MAX_WORKERS: Final = 64

MAX_STEERING_OFFSET: Final = 7
"""A client's first packet has at least eight bytes of its own choice there (RFC 9000, 7.2)."""

KEY_BYTES: Final = 16
BLOCK_BYTES: Final = 16
MIN_NONCE_BYTES: Final = 4
UNROUTABLE: Final = 7
ROTATION_SHIFT: Final = 5


class Steering(msgspec.Struct, frozen=True):
    """Which of how many workers an ID leads to."""

    worker: int = 0
    workers: int = 1

    def check(self) -> None:
        """Refuse numbers that make no sense.

        Raises:
            LocalError: says which.
        """
        if not 1 <= self.workers <= MAX_WORKERS:
            raise LocalError(f"{self.workers} workers; 1 to {MAX_WORKERS} are possible")
        if not 0 <= self.worker < self.workers:
            raise LocalError(f"worker {self.worker} of {self.workers}: they are counted from 0")

    def leads_here(self, byte: int) -> bool:
        """Tell whether an ID with this byte is our worker's."""
        return byte % self.workers == self.worker

    def steer(self, byte: int) -> int:
        """Change a random byte into one that leads here."""
        return byte % (256 // self.workers) * self.workers + self.worker


class ConnectionIds(Protocol):
    """Makes IDs of one kind.

    Attributes:
        size: of each of them, in bytes.
        steering_offset: which byte names the worker.
    """

    size: int
    steering_offset: int

    def make(self) -> bytes:
        """Make an ID that was never made before, or only with negligible probability."""

    def owns(self, connection_id: bytes) -> bool:
        """Tell whether an ID can be one that this worker of this server has made."""


class RandomIds:
    """IDs of random bytes, all but the one that names the worker."""

    steering_offset: int = 1

    def __init__(self, steering: Steering | None = None, size: int = RANDOM_BYTES) -> None:
        self.size = size
        self._steering = steering or Steering()
        self._steering.check()

    def make(self) -> bytes:
        """Draw an ID."""
        made = bytearray(os.urandom(self.size))
        made[self.steering_offset] = self._steering.steer(made[self.steering_offset])
        return bytes(made)

    def owns(self, connection_id: bytes) -> bool:
        """Look at the length and the worker; nothing else can be known."""
        return len(connection_id) == self.size and self._steering.leads_here(
            connection_id[self.steering_offset]
        )


class Routing(msgspec.Struct, frozen=True):
    """A QUIC-LB configuration, the same at the load balancer but for the server's own ID.

    Attributes:
        server_id: what the load balancer finds this server by.
        rotation: which of its configurations this is, 0 to 6.
        nonce_bytes: how many bytes make an ID unique.
        key: 16 bytes that hide the rest; None: everybody can read the server's ID.
    """

    server_id: bytes
    rotation: int = 0
    nonce_bytes: int = 8
    key: bytes | None = None

    def __repr__(self) -> str:
        return f"Routing(server_id={self.server_id.hex()}, rotation={self.rotation})"

    def check(self) -> None:
        """Refuse what the draft rules out.

        Raises:
            LocalError: says what.
        """
        if not 0 <= self.rotation < UNROUTABLE:
            raise LocalError(f"QUIC-LB configuration {self.rotation}: 0 to 6 are possible")
        if not self.server_id:
            raise LocalError("QUIC-LB needs a server ID of at least one byte")
        if self.nonce_bytes < MIN_NONCE_BYTES:
            raise LocalError(f"a QUIC-LB nonce has at least {MIN_NONCE_BYTES} bytes")
        if len(self.server_id) + self.nonce_bytes > MAX_BYTES - 1:
            raise LocalError("QUIC-LB's server ID and nonce have at most 19 bytes together")
        if self.key is not None and len(self.key) != KEY_BYTES:
            raise LocalError(f"a QUIC-LB key has {KEY_BYTES} bytes")


class RoutableIds:
    """QUIC-LB's IDs: first octet, then server ID and nonce, encrypted if there is a key."""

    def __init__(self, routing: Routing, steering: Steering | None = None) -> None:
        routing.check()
        self.size = 1 + len(routing.server_id) + routing.nonce_bytes
        self._steering = steering or Steering()
        self._steering.check()
        self._routing = routing
        self._first = bytes((routing.rotation << ROTATION_SHIFT | self.size - 1,))
        self._cipher = _Cipher(routing.key, self.size - 1) if routing.key is not None else None
        # A ciphertext's first byte is any; in plaintext the nonce is all that is free.
        self.steering_offset = 1 if self._cipher is not None else 1 + len(routing.server_id)
        if self._steering.workers > 1 and self.steering_offset > MAX_STEERING_OFFSET:
            raise LocalError(
                f"with workers, a QUIC-LB server ID without a key has at most"
                f" {MAX_STEERING_OFFSET - 1} bytes"
            )

    def make(self) -> bytes:
        """Draw a nonce; with a key, as often as it takes to lead to our worker."""
        nonce = bytearray(os.urandom(self._routing.nonce_bytes))
        if self._cipher is None:
            nonce[0] = self._steering.steer(nonce[0])
            return self.encode(bytes(nonce))
        made = self.encode(bytes(nonce))
        while not self._steering.leads_here(made[1]):
            made = self.encode(os.urandom(self._routing.nonce_bytes))
        return made

    def encode(self, nonce: bytes) -> bytes:
        """Make the ID of this nonce, wherever it leads."""
        plain = self._routing.server_id + nonce
        return self._first + (plain if self._cipher is None else self._cipher.encrypt(plain))

    def decode(self, connection_id: bytes) -> bytes | None:
        """Read the server's ID as a load balancer does; None when it is not routable."""
        if len(connection_id) < self.size:
            return None
        if connection_id[0] >> ROTATION_SHIFT != self._routing.rotation:
            return None
        block = connection_id[1 : self.size]
        plain = block if self._cipher is None else self._cipher.decrypt(block)
        return plain[: len(self._routing.server_id)]

    def owns(self, connection_id: bytes) -> bool:
        """Decode it; look at the worker too."""
        return (
            len(connection_id) == self.size
            and self._steering.leads_here(connection_id[self.steering_offset])
            and self.decode(connection_id) == self._routing.server_id
        )


class _Cipher:
    """The draft's two ways of encrypting: one AES block, or a Feistel network of four rounds."""

    def __init__(self, key: bytes, size: int) -> None:
        cipher = Cipher(AES(key), ECB())  # noqa: S305  # the draft's; every block is unique
        self._encrypt = cipher.encryptor().update
        self._decrypt = cipher.decryptor().update
        self._size = size
        self._half_bits = 4 * size

    def encrypt(self, plain: bytes) -> bytes:
        """Encrypt server ID and nonce."""
        if self._size == BLOCK_BYTES:
            return self._encrypt(plain)
        left, right = self._split(plain)
        right ^= self._round(1, left, is_left=True)
        left ^= self._round(2, right, is_left=False)
        right ^= self._round(3, left, is_left=True)
        left ^= self._round(4, right, is_left=False)
        return self._join(left, right)

    def decrypt(self, block: bytes) -> bytes:
        """Decrypt server ID and nonce."""
        if self._size == BLOCK_BYTES:
            return self._decrypt(block)
        left, right = self._split(block)
        left ^= self._round(4, right, is_left=False)
        right ^= self._round(3, left, is_left=True)
        left ^= self._round(2, right, is_left=False)
        right ^= self._round(1, left, is_left=True)
        return self._join(left, right)

    def _split(self, data: bytes) -> tuple[int, int]:
        number = int.from_bytes(data, "big")
        return number >> self._half_bits, number & ((1 << self._half_bits) - 1)

    def _join(self, left: int, right: int) -> bytes:
        return (left << self._half_bits | right).to_bytes(self._size, "big")

    def _round(self, number: int, half: int, *, is_left: bool) -> int:
        """Expand a half, encrypt it, and cut the result to what the other half takes.

        Halves are numbers of 4 bits for each byte of the whole. With an odd number of bytes the
        draft pads a left half with four zero bits at its end, a right one at its beginning, and
        so does it with what they are combined with.
        """
        half_bytes = (self._half_bits + 7) // 8
        padding = 8 * half_bytes - self._half_bits
        expanded = (half << padding if is_left else half).to_bytes(half_bytes, "big")
        tail = bytes((self._size, number))
        block = self._encrypt(expanded.ljust(BLOCK_BYTES - 2, b"\0") + tail)
        mask = int.from_bytes(block[:half_bytes], "big")
        # The other half: a right one loses its first bits, a left one its last.
        return mask & ((1 << self._half_bits) - 1) if is_left else mask >> padding


class Preferred(msgspec.Struct, frozen=True):
    """Where a server wants its clients to go on (RFC 9000, section 9.6), by family."""

    ipv4: tuple[str, int] | None = None
    ipv6: tuple[str, int] | None = None

    @staticmethod
    def parse(addresses: Sequence[tuple[str, int]]) -> "Preferred | None":
        """Sort addresses by family; None when there are none.

        Raises:
            LocalError: no address but a name or every address, no port, or two of one family.
        """
        found: dict[int, tuple[str, int]] = {}
        for host, port in addresses:
            try:
                address = ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
            except ValueError:
                raise LocalError(f"a preferred address is no name, as {host!r} is") from None
            if address.is_unspecified or address.is_multicast or not 0 < port < 65536:
                raise LocalError(f"nobody can go on at {host} port {port}")
            if address.version in found:
                raise LocalError(f"two preferred addresses of IPv{address.version}")
            found[address.version] = (str(address), port)
        return Preferred(found.get(4), found.get(6)) if found else None

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """List them."""
        return [address for address in (self.ipv4, self.ipv6) if address is not None]


class Issuer:
    """Gives out connection IDs and the reset tokens that go with them.

    Attributes:
        keys: what the tokens are made with.
        preferred: goes to clients with an ID of its own.
    """

    def __init__(self, ids: ConnectionIds, keys: Keys, preferred: Preferred | None = None) -> None:
        self.keys = keys
        self.preferred = preferred
        self._ids = ids

    @property
    def size(self) -> int:
        """Length of every ID."""
        return self._ids.size

    def make(self) -> bytes:
        """Make a new ID."""
        return self._ids.make()

    def owns(self, connection_id: bytes) -> bool:
        """Tell whether an ID can be one of ours."""
        return self._ids.owns(connection_id)

    def reset_token(self, connection_id: bytes) -> bytes:
        """Return the token that proves that whoever knows it issued the ID."""
        return self.keys.reset_token(connection_id)
