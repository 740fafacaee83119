"""What upstream makes for each connection and need not: shared, or made when it is asked for.

A half-open connection costs a server whatever its client likes to open, and an idle one costs it
for hours, so each object that is the same for all, or seldom used, is worth its few lines.
"""

import functools
from collections import deque
from collections.abc import Callable, Mapping
from typing import Final, TypeVar

from aioquic import tls
from aioquic.quic.connection import MAX_LOCAL_CHALLENGES, QuicConnection, QuicNetworkPath
from aioquic.quic.crypto import CryptoPair, NoCallback
from aioquic.tls import Epoch

__all__ = [
    "Few",
    "FrameHandlers",
    "InitialKeys",
    "Latest",
    "LeanContext",
    "hook",
    "slim",
    "slim_path",
    "thin",
]

Item = TypeVar("Item")

FRAME_HANDLERS: Final = "_QuicConnection__frame_handlers"

Handler = Callable[..., None]


class FrameHandlers:
    """What a connection does with frames by their type; the table is one for all of them.

    Upstream makes 33 pairs of a bound method and a set of epochs for each connection, 12 KiB.
    """

    __slots__ = ("_connection",)

    table: Mapping[int, tuple[str, frozenset[Epoch]]] = {}

    def __init__(self, connection: QuicConnection) -> None:
        self._connection = connection

    def __getitem__(self, frame_type: int) -> tuple[Handler, frozenset[Epoch]]:
        """Find method and epochs.

        Raises:
            KeyError: no such frame.
        """
        name, epochs = self.table[frame_type]
        return getattr(self._connection, name), epochs


def slim(connection: QuicConnection) -> None:
    """Let go of what the other connections have, too, right after upstream has made it."""
    if not FrameHandlers.table:
        made: dict[int, tuple[Handler, frozenset[Epoch]]] = getattr(connection, FRAME_HANDLERS)
        FrameHandlers.table = {
            kind: (handler.__name__, epochs) for kind, (handler, epochs) in made.items()
        }
    setattr(connection, FRAME_HANDLERS, FrameHandlers(connection))
    connection._datagrams_pending = Few()  # type: ignore[assignment]  # noqa: SLF001  # its place
    connection._events = Few()  # type: ignore[assignment]  # noqa: SLF001  # as above


OFFERS: Final = (
    "_cipher_suites",
    "_legacy_compression_methods",
    "_psk_key_exchange_modes",
    "_signature_algorithms",
    "_supported_groups",
    "_supported_versions",
)
"""What a server's handshake only reads, and upstream lists anew for each."""


class LeanContext(tls.Context):
    """A server's handshake that shares with the others what they have in common."""

    @classmethod
    def adopt(cls, context: tls.Context) -> None:
        """Make one of what upstream has just made."""
        context.__class__ = cls
        for name in OFFERS:
            offered = getattr(context, name)
            setattr(context, name, _shared(tuple(offered)))
        thin(context)


@functools.lru_cache(maxsize=64)
def _shared(offered: tuple[int, ...]) -> list[int]:
    return list(offered)


def thin(one: object) -> None:
    """Leave to the class of an object all that is nothing yet; room is for what has a value.

    A dict is as large as the most that it ever held, in steps of two: upstream's connection
    has some 110 attributes, of which every third is nothing for long, and its handshake 49.
    """
    kind, held = type(one), vars(one)
    for name, value in held.items():
        if (value is None or value is False) and name not in vars(kind):
            setattr(kind, name, value)
    shared = vars(kind)
    one.__dict__ = {
        name: value for name, value in held.items() if shared.get(name, kind) is not value
    }


class InitialKeys(dict[int, CryptoPair]):
    """The keys of the first packets, by version; other versions' are made if they are used."""

    __slots__ = ("_connection_id",)

    def __init__(self, connection_id: bytes, version: int, pair: CryptoPair) -> None:
        super().__init__({version: pair})
        self._connection_id = connection_id

    def __missing__(self, version: int) -> CryptoPair:
        """Make a server's keys for another version that the client may go on with."""
        pair = self[version] = CryptoPair()
        pair.setup_initial(cid=self._connection_id, is_client=False, version=version)
        return pair


def hook(pair: CryptoPair, on_keys: Callable[[str], None]) -> None:
    """Call when the keys of a pair change, instead of upstream's four calls that only log."""
    for context in (pair.recv, pair.send):
        context._setup_cb = on_keys  # noqa: SLF001  # no public way
        context._teardown_cb = NoCallback  # noqa: SLF001  # as above


class Few(list[Item]):
    """A queue of few, mostly of none; an empty deque has room for 64 already."""

    __slots__ = ()

    def popleft(self) -> Item:
        """Take the oldest."""
        return self.pop(0)


class Latest(Few[Item]):
    """Such a queue that forgets the oldest when there are too many."""

    __slots__ = ("_most",)

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    def append(self, one: Item) -> None:
        """Add the newest."""
        super().append(one)
        if len(self) > self._most:
            del self[0]


def slim_path(path: QuicNetworkPath) -> QuicNetworkPath:
    """Give a new path smaller queues of challenges."""
    if isinstance(path.remote_challenges, deque):
        path.remote_challenges = Few(path.remote_challenges)  # type: ignore[assignment]  # its place
        challenges: Latest[bytes] = Latest(MAX_LOCAL_CHALLENGES)
        challenges.extend(path.local_challenges)
        path.local_challenges = challenges  # type: ignore[assignment]  # as above
    return path
