"""What a session asks of the transport. Executed in order, all after every call."""

import msgspec

__all__ = [
    "Action",
    "Close",
    "OpenStream",
    "Prioritise",
    "Reset",
    "SendDatagram",
    "Stop",
    "Write",
]


class OpenStream(msgspec.Struct, frozen=True, gc=False):
    """Open a stream and remember it under `stream`, the session's own name for it.

    Attributes:
        priority: lower values are sent first, equal ones share (`session/priority.py`).
        early: all that is written to it may leave before the peer has answered, as it does no
            harm when somebody repeats it to the peer.
    """

    stream: int
    bidirectional: bool
    priority: int
    early: bool = False


class Write(msgspec.Struct, frozen=True, gc=False):
    """Append `data` to a stream; `fin` ends our side after it."""

    stream: int
    data: bytes
    fin: bool = False


class Prioritise(msgspec.Struct, frozen=True, gc=False):
    """Change a stream's place in the order of sending."""

    stream: int
    priority: int


class Reset(msgspec.Struct, frozen=True, gc=False):
    """Abandon our sending side; `code` as it goes on the wire."""

    stream: int
    code: int


class Stop(msgspec.Struct, frozen=True, gc=False):
    """Ask the peer to stop sending; `code` as it goes on the wire."""

    stream: int
    code: int


class SendDatagram(msgspec.Struct, frozen=True, gc=False):
    """Send once, unreliably. Dropped without a word when it does not fit, or may not leave yet.

    `early`: as for `OpenStream`.
    """

    data: bytes
    early: bool = False


class Close(msgspec.Struct, frozen=True, gc=False):
    """Close the connection after what was written before."""

    code: int
    reason: str


Action = OpenStream | Write | Prioritise | Reset | Stop | SendDatagram | Close
