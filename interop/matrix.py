"""Which case runs on which transport and version: `matrix.toml`, read and checked."""

import enum
import tomllib
from pathlib import Path
from typing import Final

import msgspec

__all__ = ["FILE", "MatrixError", "Row", "Transport", "Version", "read_matrix"]

FILE: Final = Path(__file__).with_name("matrix.toml")


class MatrixError(Exception):
    """The matrix asks for what does not exist; the message says where."""


class Transport(enum.Enum):
    """How a session travels; `MOQL` is raw QUIC by its other URL scheme."""

    QUIC = "quic"
    MOQL = "moql"
    WEBTRANSPORT = "webtransport"
    WEBSOCKET = "websocket"


class Version(enum.Enum):
    """A protocol version that moqvox is told to keep to."""

    LITE_06 = "moq-lite-06"
    LITE_05 = "moq-lite-05"
    LITE_04 = "moq-lite-04"
    LITE_03 = "moq-lite-03"

    @property
    def has_timestamps(self) -> bool:
        """Tell whether frames carry their timestamps on the wire, not just in their payload."""
        return self in (Version.LITE_05, Version.LITE_06)


class Row(msgspec.Struct, frozen=True):
    """One cell of the matrix: a case with all it depends on.

    Attributes:
        host: the address that servers listen on.
        limit: seconds until the case has failed.
    """

    case: str
    peer: str
    transport: Transport
    version: Version
    host: str
    limit: float

    @property
    def name(self) -> str:
        """Name the row as `--case` takes it."""
        parts = [self.case, self.transport.value, self.version.value]
        return "/".join([*parts, "ipv6"] if ":" in self.host else parts)


class _Entry(msgspec.Struct, forbid_unknown_fields=True):
    case: str
    transports: tuple[Transport, ...] = (Transport.QUIC, Transport.WEBTRANSPORT)
    versions: tuple[Version, ...] = (Version.LITE_06,)
    peer: str = "moq-rs"
    host: str = "127.0.0.1"
    limit: float = 20.0


class _Matrix(msgspec.Struct, forbid_unknown_fields=True):
    row: list[_Entry]


def read_matrix(file: Path = FILE) -> list[Row]:
    """Read all rows, in the order of the file.

    Raises:
        MatrixError: the file is malformed, or names a row twice.
    """
    try:
        entries = msgspec.convert(tomllib.loads(file.read_text()), _Matrix).row
    except (OSError, ValueError) as exc:
        raise MatrixError(f"{file.name}: {exc}") from exc
    rows = [
        Row(entry.case, entry.peer, transport, version, entry.host, entry.limit)
        for entry in entries
        for transport in entry.transports
        for version in entry.versions
    ]
    names = [row.name for row in rows]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise MatrixError(f"{file.name}: {', '.join(doubled)} twice")
    return rows
