"""moq-lite messages of the session itself: SETUP, GOAWAY, PROBE.

draft-lcurley-moq-lite, sections SETUP, GOAWAY and PROBE.
"""

from enum import IntEnum
from typing import Final, Self

import msgspec

from moqvox.errors import LocalError
from moqvox.wire.cursor import Reader, Writer, violation
from moqvox.wire.varint import encode_varint
from moqvox.wire.version import LiteVersion

__all__ = ["MAX_URI_BYTES", "Goaway", "Probe", "ProbeLevel", "Role", "Setup"]

MAX_URI_BYTES: Final = 8192

_MAX_PARAMETERS: Final = 64


class Parameter(IntEnum):
    """Ids of SETUP's parameters."""

    PROBE = 0x1
    PATH = 0x2
    ROLE = 0x3
    COST = 0x4
    ORIGIN = 0x5


class ProbeLevel(IntEnum):
    """What an endpoint does on a Probe stream; each level includes the one below."""

    NONE = 0
    REPORT = 1
    INCREASE = 2


class Role(IntEnum):
    """Which way a client means to use the session."""

    BOTH = 0
    PUBLISHER = 1
    SUBSCRIBER = 2


class Setup(msgspec.Struct, frozen=True, gc=False):
    """SETUP: what the sender can do. Unknown parameters are skipped.

    Attributes:
        path: path and query, from clients on transports without a URL; None = not sent.
        role: from clients only; None = not sent.
        cost: what pulling from the sender costs; None = not sent, meaning 1.
        origin: the sender's hop id; 0 = none.
    """

    probe: ProbeLevel = ProbeLevel.NONE
    path: str | None = None
    role: Role | None = None
    cost: int | None = None
    origin: int = 0

    def write(self, out: Writer, version: LiteVersion) -> None:
        """Append the parameters that are set, by rising id."""
        parameters = [
            (Parameter.PROBE, encode_varint(self.probe) if self.probe else None),
            (Parameter.PATH, _utf8(self.path)),
            (Parameter.ROLE, None if self.role is None else encode_varint(self.role)),
            (Parameter.COST, None if self.cost is None else encode_varint(self.cost)),
            (Parameter.ORIGIN, encode_varint(self.origin) if self.origin else None),
        ]
        present = [(key, value) for key, value in parameters if value is not None]
        out.varint(len(present))
        for key, value in present:
            out.varint(key)
            out.blob(value)

    @classmethod
    def read(cls, body: Reader, version: LiteVersion) -> Self:
        """Take the parameters, in any order."""
        values = _parameters(body)
        path = values.get(Parameter.PATH)
        role = _number(values, Parameter.ROLE)
        return cls(
            ProbeLevel(min(_number(values, Parameter.PROBE) or 0, ProbeLevel.INCREASE)),
            None if path is None else _text(path),
            None if role is None else Role(role) if role <= Role.SUBSCRIBER else Role.BOTH,
            _number(values, Parameter.COST),
            _number(values, Parameter.ORIGIN) or 0,
        )


class Goaway(msgspec.Struct, frozen=True, gc=False):
    """GOAWAY: move to `uri`; "" = nowhere in particular."""

    uri: str = ""

    def write(self, out: Writer, version: LiteVersion) -> None:
        """Append the fields."""
        if len(self.uri.encode("utf-8", "surrogatepass")) > MAX_URI_BYTES:
            raise LocalError(f"a GOAWAY URI longer than {MAX_URI_BYTES} bytes")
        out.text(self.uri)

    @classmethod
    def read(cls, body: Reader, version: LiteVersion) -> Self:
        """Take the fields."""
        size = body.remaining
        uri = body.text()
        if size - body.remaining > MAX_URI_BYTES + 2:
            raise violation(f"a GOAWAY URI longer than {MAX_URI_BYTES} bytes")
        return cls(uri)


class Probe(msgspec.Struct, frozen=True, gc=False):
    """PROBE: a target from the subscriber, an estimate from the publisher; 0 = unknown."""

    bitrate_bps: int = 0
    rtt_ms: int = 0

    def write(self, out: Writer, version: LiteVersion) -> None:
        """Append the fields."""
        out.varint(self.bitrate_bps)
        if version.probe_rtt:
            out.varint(self.rtt_ms)

    @classmethod
    def read(cls, body: Reader, version: LiteVersion) -> Self:
        """Take the fields."""
        return cls(body.varint(), body.varint() if version.probe_rtt else 0)


def _utf8(text: str | None) -> bytes | None:
    if text is None:
        return None
    try:
        return text.encode()
    except UnicodeEncodeError as exc:
        raise LocalError("a path with lone surrogates") from exc


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as exc:
        raise violation("a SETUP path that is not UTF-8") from exc


def _parameters(body: Reader) -> dict[int, bytes]:
    count = body.varint()
    if count > _MAX_PARAMETERS:
        raise violation(f"{count} SETUP parameters, {_MAX_PARAMETERS} are allowed")
    values: dict[int, bytes] = {}
    for _ in range(count):
        key = body.varint()
        if key in values:
            raise violation(f"SETUP parameter {key:#x} twice")
        values[key] = body.blob()
    return values


def _number(values: dict[int, bytes], key: Parameter) -> int | None:
    value = values.get(key)
    if value is None:
        return None
    reader = Reader(value)
    number = reader.varint()
    reader.finish()
    return number
