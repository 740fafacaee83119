"""Failures, and the codes they travel under.

```
MoqError
├── LocalError        the caller's bug, or a limit the caller ran into
├── RemoteError       the peer broke the protocol: closes the session
├── SessionClosed     the session ended, by either side or by the network
├── Refused           the peer (or the model) refused one request
│   ├── NotFound
│   └── Unauthorized
├── StreamEnded       one group or request ended early; the session lives on
└── MediaError        audio or metadata bytes that can't be used
```

Codes are moq-lite-06's, which the model uses for both protocols; an IETF session
translates them to and from its own tables.
"""

from enum import IntEnum

__all__ = [
    "LocalError",
    "MediaError",
    "MoqError",
    "NotFound",
    "Refused",
    "RemoteError",
    "SessionClosed",
    "SessionCode",
    "StreamCode",
    "StreamEnded",
    "Unauthorized",
]


class SessionCode(IntEnum):
    """Why a session closes (moq-lite-06, "Session errors"; moq-transport, section 3)."""

    NO_ERROR = 0x0
    INTERNAL = 0x1
    UNAUTHORIZED = 0x2
    PROTOCOL_VIOLATION = 0x3
    KEY_VALUE_FORMAT = 0x6
    EXCESSIVE_LOAD = 0x9
    GOAWAY_TIMEOUT = 0x10
    CONTROL_TIMEOUT = 0x11
    VERSION = 0x15


class StreamCode(IntEnum):
    """Why one stream is reset or stopped (moq-lite-06, "Stream errors")."""

    INTERNAL = 0x0
    CANCELLED = 0x1
    DELIVERY_TIMEOUT = 0x2
    SESSION_CLOSED = 0x3
    GOING_AWAY = 0x4
    TOO_FAR_BEHIND = 0x5
    EXCESSIVE_LOAD = 0x9
    MALFORMED_TRACK = 0x12
    UNAUTHORIZED = 0x32
    NOT_FOUND = 0x33
    UNSUPPORTED = 0x34


class MoqError(Exception):
    """Anything this library raises on purpose."""


class LocalError(MoqError):
    """The caller asked for something illegal or over a local limit; nothing was sent."""


class RemoteError(MoqError):
    """The peer broke the protocol; the driver closes the session with `code`."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class SessionClosed(MoqError):
    """The session is over. `code` 0 is a normal end; `remote` tells who ended it."""

    def __init__(self, code: int = 0, reason: str = "", *, remote: bool = False) -> None:
        super().__init__(reason or f"session closed with code {code:#x}")
        self.code = code
        self.reason = reason
        self.remote = remote


class Refused(MoqError):
    """One request was refused, with a `StreamCode` or an application code >= 64."""

    def __init__(self, code: int, reason: str = "") -> None:
        super().__init__(reason or f"refused with code {code:#x}")
        self.code = code
        self.reason = reason

    @staticmethod
    def of(code: int, reason: str = "") -> "Refused":
        """Build the most telling class for a code."""
        if code == StreamCode.NOT_FOUND:
            return NotFound(reason or "not found")
        if code == StreamCode.UNAUTHORIZED:
            return Unauthorized(reason or "unauthorized")
        return Refused(code, reason)


class NotFound(Refused):
    """Nothing of that name is here."""

    def __init__(self, reason: str = "not found") -> None:
        super().__init__(StreamCode.NOT_FOUND, reason)


class Unauthorized(Refused):
    """The token does not allow that."""

    def __init__(self, reason: str = "unauthorized") -> None:
        super().__init__(StreamCode.UNAUTHORIZED, reason)


class StreamEnded(MoqError):
    """A group or a track ended early under a `StreamCode`."""

    def __init__(self, code: int, reason: str = "") -> None:
        super().__init__(reason or f"ended early with code {code:#x}")
        self.code = code


class MediaError(MoqError, ValueError):
    """Audio, container or catalog bytes that break their format."""
