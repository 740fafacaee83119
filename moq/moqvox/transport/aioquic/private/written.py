"""A server's engine as a string of bytes, in the middle of its handshake.

All of its own objects are in it, as they are: nothing has to be thought of, so nothing is
forgotten. What the crypto library holds is written as the secrets that it was made from. What
others have, too, is named only: the configuration, and the streams, which their link goes on
using meanwhile. The string is made by `pickle`, and never leaves the process.
"""

import enum
import functools
import io
import pickle
import types
import zlib
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

import msgspec
from aioquic import tls
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.crypto import Callback, CryptoContext
from aioquic.tls import CipherSuite
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from moqvox.transport.aioquic.limits import Limits
from moqvox.transport.aioquic.private.compact import LeanContext
from moqvox.transport.aioquic.private.engine import Engine
from moqvox.transport.aioquic.streams import StreamTable
from moqvox.transport.aioquic.tickets import Tickets
from moqvox.transport.quic.connection_ids import Issuer

__all__ = ["SPENT", "Written", "read", "write"]

SPENT: Final = frozenset(
    (
        *("_alpn_protocols", "_cipher_suites", "_legacy_compression_methods"),
        *("_psk_key_exchange_modes", "_signature_algorithms", "_supported_groups"),
        *("_supported_versions", "_ec_private_keys", "_x25519_private_key", "_x448_private_key"),
        *("certificate", "certificate_chain", "certificate_private_key"),
        *("client_random", "server_random", "received_extensions"),
    )
)
"""What a handshake needs no more once the server has said all of its part."""

OURS: Final = frozenset(("aioquic", "moqvox"))

OWN_WAYS: Final = frozenset(
    ("__slots__", "__reduce__", "__reduce_ex__", "__getstate__", "__setstate__", "__getnewargs__")
)
"""Who has one of these is no plain object."""

MAX_SHAPES: Final = 256
"""About 30 kinds of objects are written, most with one shape."""

MAX_CONSTANTS: Final = 256
"""About 50 are written: classes, functions, members of enumerations."""

CONSTANT: Final = (type, enum.Enum, types.FunctionType)
"""What is neither made nor changed by a connection."""

COMPRESSION: Final = 1
"""zlib's fastest; the others save a thirtieth."""

Shape = tuple[type, tuple[str, ...]]
"""A class, and the names of an object's attributes."""

Name = int | tuple[int, int]
"""Of what is not written: its place among the others, less than 0 for what proves who the server
is, or a stream and which part of it."""

Parts = tuple[int | Shape, tuple[object, ...]]
"""An object's shape and the values of its attributes."""

Made = tuple[Callable[..., object], tuple[object, ...]]
"""What makes an object, and of what."""


class Others(NamedTuple):
    """What an engine shares with other connections, and its streams, which its link holds too."""

    configuration: QuicConfiguration
    limits: Limits
    tickets: Tickets | None
    issuer: Issuer | None
    table: StreamTable


class Written(msgspec.Struct, frozen=True):
    """An engine.

    Attributes:
        words: its own objects.
        others: what is only named in them.
        known: what both sides know, so that `words` need not say it: the certificates.
    """

    words: bytes
    others: Others
    known: bytes


def write(engine: Engine) -> Written:
    """Write an engine down. Its handshake must not be complete."""
    others = Others(
        engine._configuration,  # noqa: SLF001  # no public way
        engine._limits,  # noqa: SLF001  # the folder's own
        engine._tickets,  # noqa: SLF001  # the folder's own
        engine._issuer,  # noqa: SLF001  # the folder's own
        engine.table,
    )
    file = io.BytesIO()
    Writer(file, _named(engine, others)).dump(_parts(engine, vars(engine)))
    known = _known(others.configuration)
    press = zlib.compressobj(COMPRESSION, zdict=known)
    return Written(press.compress(file.getbuffer()) + press.flush(), others, known)


def read(written: Written, engine: Engine) -> dict[str, object]:
    """Make the attributes of an engine again, which is empty meanwhile."""
    press = zlib.decompressobj(zdict=written.known)
    file = io.BytesIO(press.decompress(written.words))
    name, values = Reader(file, _named(engine, written.others)).load()
    return dict(zip(SHAPES[name][1], values, strict=True))


def _named(engine: Engine, others: Others) -> dict[Name, object]:
    """Give names to what is not written down."""
    named: dict[Name, object] = dict(enumerate(others, 1))
    named[0] = engine
    settings = others.configuration
    named[-1], named[-2] = settings.certificate, settings.private_key
    for place, certificate in enumerate(settings.certificate_chain, 3):
        named[-place] = certificate
    for stream_id, stream in others.table.items():
        named[stream_id, 0], named[stream_id, 1] = stream, stream.sender
        named[stream_id, 2] = stream.receiver
    return named


def _known(configuration: QuicConfiguration) -> bytes:
    certificate = configuration.certificate
    return _encoded((certificate, *configuration.certificate_chain)) if certificate else b""


@functools.lru_cache(maxsize=16)
def _encoded(certificates: tuple[x509.Certificate, ...]) -> bytes:
    return b"".join(one.public_bytes(Encoding.DER) for one in certificates)


class Shapes:
    """The attributes that objects have, by number, so that their names need not be written.

    An object gets attributes in the order in which a handshake happens to set them; when there
    are too many of those, further ones are written in full.
    """

    def __init__(self) -> None:
        self._numbers: dict[Shape, int] = {}
        self._shapes: list[Shape] = []

    def __len__(self) -> int:
        return len(self._shapes)

    def __getitem__(self, name: int | Shape) -> Shape:
        return self._shapes[name] if isinstance(name, int) else name

    def name(self, kind: type, attributes: tuple[str, ...]) -> int | Shape:
        """Return what to write for a shape."""
        shape = kind, attributes
        number = self._numbers.get(shape)
        if number is None:
            if len(self._shapes) >= MAX_SHAPES:
                return shape
            number = self._numbers[shape] = len(self._shapes)
            self._shapes.append(shape)
        return number


SHAPES: Final = Shapes()


class Constants:
    """Classes, functions and members of enumerations that were written, by number.

    They live as long as the process, so that their modules' names need not be written each time;
    when there are too many, further ones are written in full. Told apart by what they are:
    members of different enumerations may be equal.
    """

    def __init__(self) -> None:
        self._numbers: dict[int, int] = {}
        self._constants: list[object] = []

    def __len__(self) -> int:
        return len(self._constants)

    def __getitem__(self, number: int) -> object:
        return self._constants[number]

    def number(self, one: object) -> int | None:
        """Return what to write for one, or None if there are too many."""
        number = self._numbers.get(id(one))
        if number is None and len(self._constants) < MAX_CONSTANTS:
            number = self._numbers[id(one)] = len(self._constants)
            self._constants.append(one)
        return number


CONSTANTS: Final = Constants()


class Writer(pickle.Pickler):
    """Writes objects down, and of others their names."""

    def __init__(self, file: io.BytesIO, named: Mapping[Name, object]) -> None:
        super().__init__(file, pickle.HIGHEST_PROTOCOL)
        self._names = {id(one): name for name, one in named.items() if one is not None}

    def reducer_override(self, one: object) -> Made:
        """Say what an object is made of; the base knows those that are no plain ones."""
        kind: type = type(one)
        name = self._names.get(id(one))
        if name is not None:
            return _other, (name,)
        if isinstance(one, CryptoContext):
            return _make_keys, _parts_of_keys(one)
        if isinstance(one, tls.KeySchedule):
            said = one.hash.copy().finalize()
            return _make_schedule, (one.cipher_suite, one.generation, one.secret, said)
        if isinstance(one, LeanContext) and one.state is tls.State.SERVER_EXPECT_FINISHED:
            held = {name: value for name, value in vars(one).items() if name not in SPENT}
            return _make, _parts(one, held)
        if _is_plain(kind):
            return _make, _parts(one, vars(one))
        if isinstance(one, CONSTANT) and _is_lasting(one):
            number = CONSTANTS.number(one)
            if number is not None:
                return _constant, (number,)
        return NotImplemented  # type: ignore[no-any-return]  # as the base wants it


class Reader(pickle.Unpickler):
    """Makes the objects again."""

    def __init__(self, file: io.BytesIO, named: Mapping[Name, object]) -> None:
        super().__init__(file)
        self._named = named

    def find_class(self, module: str, name: str) -> object:
        """Find what makes objects."""
        if name == _other.__name__:
            return self._named.__getitem__
        if name == _constant.__name__:
            return CONSTANTS.__getitem__
        return super().find_class(module, name)


def _other(name: Name) -> object:
    """Stand for what has a name; a reader has its own in the place of this."""
    raise LookupError(name)


def _constant(number: int) -> object:
    """Stand for what has a number; a reader has its own in the place of this."""
    raise LookupError(number)


def _is_lasting(one: object) -> bool:
    """Whether something belongs to a module, and is not made while it runs."""
    if isinstance(one, enum.Enum):
        one = type(one)
    return one is not _constant and one is not _other and "<" not in one.__qualname__  # type: ignore[attr-defined]  # classes and functions have it


@functools.cache
def _is_plain(kind: type) -> bool:
    """Whether all there is of an object are its attributes."""
    return all(base is object or _adds_attributes_only(base) for base in kind.__mro__)


def _adds_attributes_only(kind: type) -> bool:
    return kind.__module__.partition(".")[0] in OURS and OWN_WAYS.isdisjoint(vars(kind))


def _parts(one: object, held: Mapping[str, object]) -> Parts:
    """Take an object apart."""
    return SHAPES.name(type(one), tuple(held)), tuple(held.values())


def _make(name: int | Shape, values: tuple[object, ...]) -> object:
    kind, attributes = SHAPES[name]
    one: object = object.__new__(kind)
    one.__dict__ = dict(zip(attributes, values, strict=True))
    return one


KeyParts = tuple[CipherSuite | None, bytes | None, int | None, int, Callback, Callback]


def _parts_of_keys(keys: CryptoContext) -> KeyParts:
    on_setup, on_teardown = keys._setup_cb, keys._teardown_cb  # noqa: SLF001  # no public way
    return keys.cipher_suite, keys.secret, keys.version, keys.key_phase, on_setup, on_teardown


def _make_keys(
    cipher_suite: CipherSuite | None,
    secret: bytes | None,
    version: int | None,
    key_phase: int,
    on_setup: Callback,
    on_teardown: Callback,
) -> CryptoContext:
    """Make keys, or the place for them where there is no secret."""
    keys = CryptoContext(key_phase)
    if cipher_suite is not None and secret is not None and version is not None:
        keys.setup(cipher_suite=cipher_suite, secret=secret, version=version)
    keys.version = version
    keys._setup_cb, keys._teardown_cb = on_setup, on_teardown  # noqa: SLF001  # no public way
    return keys


class Said:
    """The hash of a handshake that nothing is added to any more: it has the client's last word."""

    __slots__ = ("_digest",)

    def __init__(self, digest: bytes) -> None:
        self._digest = digest

    def copy(self) -> "Said":
        """Return itself: nothing changes it."""
        return self

    def finalize(self) -> bytes:
        """Return the hash."""
        return self._digest


def _make_schedule(
    cipher_suite: CipherSuite, generation: int, secret: bytes, said: bytes
) -> tls.KeySchedule:
    schedule = tls.KeySchedule(cipher_suite)
    schedule.generation, schedule.secret = generation, secret
    schedule.hash = Said(said)  # type: ignore[assignment]  # its place
    return schedule
