"""Finds every private name of aioquic that `private` touches, and what bare aioquic has of them.

Bare is what aioquic makes by itself: names that only our classes give to its objects don't count.
"""

import ast
import inspect
import pkgutil
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import NamedTuple

from aioquic import tls
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.congestion.reno import RenoCongestionControl
from aioquic.quic.connection import QuicConnection
from aioquic.quic.crypto import CryptoPair
from aioquic.quic.recovery import QuicPacketRecovery
from aioquic.quic.stream import QuicStream, QuicStreamReceiver, QuicStreamSender

import moqvox
from moqvox.transport.aioquic import private, streams

MODULES = [
    import_module(f"{private.__name__}.{found.name}")
    for found in pkgutil.iter_modules(private.__path__)
] + [streams]
"""All that may touch private parts, and the table that takes the place of upstream's."""

RECEIVERS = {
    "aside: engine": "QuicConnection",
    "compact: connection": "QuicConnection",
    "compact: context": "CryptoContext",
    "handshake: context": "Context",
    "handshake: self.tls": "Context",
    "packets: context.aead": "AEAD",
    "packets: protection": "HeaderProtection",
    "usual: pair": "CryptoPair",
    "written: engine": "QuicConnection",
    "written: keys": "CryptoContext",
}
"""What else than `self` private names are asked of, by module; what is not here is refused."""


class Touch(NamedTuple):
    """A private name that is read, written or overridden.

    Attributes:
        where: module and line.
        owner: upstream's class that should have it.
    """

    where: str
    owner: str
    name: str


def bare() -> dict[str, object]:
    """Make one of each of upstream's objects, in the middle of an AES connection's beginning."""
    connection = QuicConnection(configuration=QuicConfiguration(is_client=True))
    connection.connect(("192.0.2.1", 4433), now=0.0)
    pair = CryptoPair()
    pair.setup_initial(cid=bytes(8), is_client=True, version=1)
    recovery = QuicPacketRecovery(
        congestion_control_algorithm="reno",
        initial_rtt=0.1,
        max_datagram_size=1200,
        peer_completed_address_validation=True,
        send_probe=lambda: None,
    )
    stream = QuicStream(stream_id=0)
    return {
        "QuicConnection": connection,
        "QuicPacketRecovery": recovery,
        "QuicStream": stream,
        "QuicStreamReceiver": stream.receiver,
        "QuicStreamSender": stream.sender,
        "RenoCongestionControl": RenoCongestionControl(max_datagram_size=1200),
        "Context": connection.tls,
        "CryptoContext": pair.send,
        "CryptoPair": pair,
        "AEAD": pair.send.aead,
        "HeaderProtection": pair.send.hp,
    }


UPSTREAM = (
    *(QuicConnection, QuicPacketRecovery, QuicStream, QuicStreamReceiver, QuicStreamSender),
    *(RenoCongestionControl, tls.Context),
)
"""What ours derive from."""


def has(one: object) -> set[str]:
    """List an object's names; one with `__slots__` has them in its class."""
    return set(dir(type(one))) | set(getattr(one, "__dict__", ()))


def base_of(kind: object) -> type | None:
    """Return the class of upstream's that one of ours derives from."""
    if not isinstance(kind, type):
        return None
    return next((base for base in kind.__mro__ if base in UPSTREAM), None)


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def touches(module: str, source: str, kinds: Mapping[str, object]) -> Iterator[Touch]:
    """Find what a module touches.

    Args:
        module: its last name.
        source: its text.
        kinds: its classes, by name.

    Raises:
        LookupError: a name is asked of something whose class is not known.
    """
    for top in ast.parse(source).body:
        base = base_of(kinds.get(top.name)) if isinstance(top, ast.ClassDef) else None
        for node in ast.walk(top):
            where = f"{module}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.FunctionDef) and is_private(node.name) and base is not None:
                yield Touch(where, base.__name__, node.name)
            if not isinstance(node, ast.Attribute) or not is_private(node.attr):
                continue
            receiver = ast.unparse(node.value)
            if receiver in ("self", "super()") and isinstance(top, ast.ClassDef):
                if base is not None:
                    yield Touch(where, base.__name__, node.attr)
            elif f"{module}: {receiver}" in RECEIVERS:
                yield Touch(where, RECEIVERS[f"{module}: {receiver}"], node.attr)
            else:
                raise LookupError(f"{where}: what is {receiver}, that it has {node.attr}?")


def all_touches() -> list[Touch]:
    found: list[Touch] = []
    for module in MODULES:
        name = module.__name__.rpartition(".")[2]
        found += touches(name, inspect.getsource(module), vars(module))
    return found


def missing(
    found: list[Touch], ours: Mapping[str, frozenset[str]], held: Mapping[str, set[str]]
) -> list[str]:
    """Say what is touched and is neither ours nor there."""
    return [
        f"{touch.where}: {touch.owner}.{touch.name}"
        for touch in found
        if touch.name not in held[touch.owner] | ours.get(touch.owner, frozenset())
    ]


def overridden() -> Iterator[tuple[type, str]]:
    """Find the methods of upstream's that classes of ours have in their place."""
    for module in MODULES:
        for kind in vars(module).values():
            base = base_of(kind)
            if base is None or kind.__module__ != module.__name__:
                continue
            for name, one in list(vars(kind).items()):
                theirs = inspect.getattr_static(base, name, None)
                is_method = inspect.isfunction(one) and callable(theirs)
                if is_method or isinstance(theirs, property):
                    yield base, name


def called(found: list[Touch]) -> Iterator[tuple[type, str]]:
    """Find the private methods of upstream's among what is touched."""
    kinds = {kind.__name__: kind for kind in (*UPSTREAM, CryptoPair)}
    for touch in found:
        kind = kinds.get(touch.owner)
        if kind is not None and inspect.isfunction(inspect.getattr_static(kind, touch.name, None)):
            yield kind, touch.name


def parameters(kind: type, name: str) -> str:
    """Write a method's parameters; a property's are its type's business."""
    method = inspect.getattr_static(kind, name)
    if isinstance(method, property):
        return "property"
    return ", ".join(inspect.signature(method).parameters)


def outsiders() -> Iterator[tuple[str, str]]:
    """Read name and text of every module of the library outside the folder."""
    inside = private.__name__
    for found in pkgutil.walk_packages(moqvox.__path__, f"{moqvox.__name__}."):
        if found.name != inside and not found.name.startswith(f"{inside}."):
            loader = found.module_finder.find_spec(found.name, None).loader
            yield found.name, loader.get_source(found.name)


def trespasses(name: str, source: str, theirs: frozenset[str]) -> Iterator[str]:
    """Find what only the folder may do: private names and modules of aioquic's.

    Args:
        name: the module's.
        source: its text.
        theirs: private names that upstream's objects have.
    """
    tree = ast.parse(source)
    knows_aioquic = False
    for node in ast.walk(tree):
        modules = [one.name for one in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and not node.level:
            modules = [f"{node.module}.{one.name}" for one in node.names]
        for module in modules:
            parts = module.split(".")
            if parts[0] == "aioquic":
                knows_aioquic = True
                if any(is_private(part) for part in parts):
                    yield f"{name}:{node.lineno}: {module}"
    if not knows_aioquic and not name.startswith(private.__name__.rpartition(".")[0]):
        return
    for top in tree.body:
        is_theirs = isinstance(top, ast.ClassDef) and any(
            ast.unparse(base).startswith(("Quic", "H3", "tls.")) for base in top.bases
        )
        for node in ast.walk(top):
            if not isinstance(node, ast.Attribute) or not is_private(node.attr):
                continue
            is_own = ast.unparse(node.value) in ("self", "cls", "super()")
            if not is_own or (is_theirs and node.attr in theirs):
                yield f"{name}:{node.lineno}: {ast.unparse(node)}"


def underscored(source: str) -> set[str]:
    """Find strings that look like private names, but for those of `__slots__`."""
    tree = ast.parse(source)
    slots = {
        id(node)
        for one in ast.walk(tree)
        if isinstance(one, ast.Assign) and ast.unparse(one.targets[0]) == "__slots__"
        for node in ast.walk(one)
    }
    return {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and id(node) not in slots
        and is_private(node.value)
        and node.value.isidentifier()
    }
