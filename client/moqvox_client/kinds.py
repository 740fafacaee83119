"""The kinds of value an option can have: text in, value out, and back.

A kind is attached to a plain type, so that a verb reads `options.timeout` as a float:

    timeout: Annotated[Duration, Flag("how long to wait")] = 5.0
"""

import enum
import ipaddress
import math
import re
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final

import msgspec

__all__ = [
    "BY_TYPE",
    "ByteSize",
    "Duration",
    "HostPort",
    "Kind",
    "Percent",
    "Url",
    "choice_of",
]

MAX_SECONDS: Final = 10 * 366 * 86400

MAX_BYTES: Final = 1 << 50

SCHEMES: Final = ("https", "moqt", "moql", "wss")


class Kind(msgspec.Struct, frozen=True):
    """How a value is written.

    Attributes:
        metavar: what the help shows in its place.
        parse: from text; raises ValueError with a message that follows the option's name.
        show: back to text that `parse` accepts.
        choices: all that is accepted, when that is a closed set.
    """

    metavar: str
    parse: Callable[[str], object]
    show: Callable[[object], str] = str
    choices: tuple[str, ...] = ()


class HostPort(msgspec.Struct, frozen=True):
    """An address to listen on or to reach; host "" is not used, "::" means every address."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def _text(text: str) -> str:
    return text


def _integer(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a whole number") from None


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a number") from None
    if not math.isfinite(value):
        raise ValueError(f"{text!r} is not a finite number")
    return value


_SWITCH: Final = {
    **dict.fromkeys(("1", "true", "yes", "on"), True),
    **dict.fromkeys(("0", "false", "no", "off"), False),
}


def _switch(text: str) -> bool:
    try:
        return _SWITCH[text.lower()]
    except KeyError:
        raise ValueError(f"{text!r} is neither true nor false") from None


def _path(text: str) -> Path:
    if not text:
        raise ValueError("an empty file name")
    if "\0" in text:
        raise ValueError(f"{text!r} is not a file name")
    return Path(text).expanduser()


_UNITS_US: Final = {
    "us": 1,
    "µs": 1,
    "ms": 1000,
    "s": 1_000_000,
    "m": 60_000_000,
    "h": 3_600_000_000,
    "d": 86_400_000_000,
}
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(us|µs|ms|s|m|h|d)")


def _duration(text: str) -> float:
    if text.strip() == "0":
        return 0.0
    parts = _DURATION.findall(text)
    if not parts or _DURATION.sub("", text).strip():
        if re.fullmatch(r"\d+(\.\d+)?", text.strip()):
            raise ValueError(f"{text!r} has no unit; write {text.strip()}s or {text.strip()}ms")
        raise ValueError(f"{text!r} is not a duration like 2s, 250ms, 5m or 1m30s")
    seconds = sum(float(number) * _UNITS_US[unit] for number, unit in parts) / 1e6
    if seconds > MAX_SECONDS:
        raise ValueError(f"{text!r} is longer than ten years")
    return seconds


def _show_duration(value: object) -> str:
    microseconds = round(float(str(value)) * 1e6, 3)
    for unit in ("d", "h", "m", "s", "ms"):
        count = microseconds / _UNITS_US[unit]
        if count >= 1 and count.is_integer():
            return f"{count:.0f}{unit}"
    return f"{microseconds:.12g}us" if microseconds else "0"


_SIZES: Final[dict[str, int]] = {
    "": 1,
    "b": 1,
    **{f"{prefix}b": 1000**n for n, prefix in enumerate("kmgt", 1)},
    **{f"{prefix}ib": 1024**n for n, prefix in enumerate("kmgt", 1)},
}
_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]*)", re.IGNORECASE)


def _size(text: str) -> int:
    match = _SIZE.fullmatch(text.strip())
    if match is None or match[2].lower() not in _SIZES:
        raise ValueError(f"{text!r} is not a size like 65536, 64KiB or 4MiB")
    size = float(match[1]) * _SIZES[match[2].lower()]
    if size > MAX_BYTES:
        raise ValueError(f"{text!r} is more than 1024 TiB")
    return round(size)


def _show_size(value: object) -> str:
    count = int(str(value))
    for prefix, unit in ((1024**3, "GiB"), (1024**2, "MiB"), (1024, "KiB")):
        if count and count % prefix == 0:
            return f"{count // prefix}{unit}"
    return str(count)


def _percent(text: str) -> float:
    value = _number(text.strip().removesuffix("%").strip())
    if not 0 <= value <= 100:
        raise ValueError(f"{text!r} is not between 0 and 100 percent")
    return value


def _show_percent(value: object) -> str:
    return f"{float(str(value)):g}%"


_HOST_PORT: Final = re.compile(r"(?:\[(?P<six>[^\]]*)\]|(?P<host>[^:\[\]]*)):(?P<port>\d{1,5})")


def _host_port(text: str) -> HostPort:
    match = _HOST_PORT.fullmatch(text.strip())
    if match is None:
        hint = "write an IPv6 address in brackets, [::1]:4443" if text.count(":") > 1 else ""
        hint = hint or "it needs a host and a port, such as localhost:4443 or [::]:4443"
        raise ValueError(f"{text!r} is not an address: {hint}")
    port = int(match["port"])
    if port > 65535:
        raise ValueError(f"port {port} in {text!r} is above 65535")
    if match["six"] is None:
        host = match["host"] or "::"
        if re.search(r"\s|/|@", host):
            raise ValueError(f"{host!r} in {text!r} is not a host")
        return HostPort(host, port)
    try:
        ipaddress.IPv6Address(match["six"])
    except ValueError:
        raise ValueError(f"{match['six']!r} in {text!r} is not an IPv6 address") from None
    return HostPort(match["six"], port)


def _url(text: str) -> str:
    text = text.strip()
    wanted = "https://host:port/ (WebTransport), moqt:// or moql:// (raw QUIC), wss:// (WebSocket)"
    scheme, separator, _ = text.partition("://")
    if not separator:
        raise ValueError(f"{text!r} is not a URL; expected {wanted}")
    if scheme.lower() not in SCHEMES:
        raise ValueError(f"{text!r} has the scheme {scheme!r}; expected {wanted}")
    try:
        parts = urllib.parse.urlsplit(text)
        port = parts.port
    except ValueError as exc:
        raise ValueError(f"{text!r} is not a URL: {str(exc).lower()}") from None
    if not parts.hostname or port == 0 or re.search(r"\s", text):
        raise ValueError(f"{text!r} names no host to reach; expected {wanted}")
    if parts.username is not None:
        raise ValueError("a user name in the URL; give credentials with --token")
    if parts.fragment:
        raise ValueError(f"{text!r} has a fragment, which is never sent")
    return text


def choice_of(choices: type[enum.Enum]) -> Kind:
    """Accept the values of an enum, in any case."""
    by_name = {str(member.value).lower(): member for member in choices}

    def parse(text: str) -> enum.Enum:
        try:
            return by_name[text.lower()]
        except KeyError:
            raise ValueError(f"{text!r} is none of {', '.join(by_name)}") from None

    def show(value: object) -> str:
        return str(value.value if isinstance(value, enum.Enum) else value)

    return Kind("|".join(by_name), parse, show, tuple(by_name))


def _show_switch(value: object) -> str:
    return "true" if value else "false"


BY_TYPE: Final[dict[type, Kind]] = {
    str: Kind("TEXT", _text),
    int: Kind("N", _integer),
    float: Kind("X", _number, lambda value: f"{float(str(value)):.12g}"),
    bool: Kind("", _switch, _show_switch),
    Path: Kind("FILE", _path),
    HostPort: Kind("HOST:PORT", _host_port),
}
"""The kind of a type that carries none of its own."""

Duration = Annotated[float, Kind("TIME", _duration, _show_duration)]
"""Seconds, written with a unit: 250ms, 2s, 5m, 1m30s."""

ByteSize = Annotated[int, Kind("SIZE", _size, _show_size)]
"""Bytes, written plain or with a unit: 65536, 64KiB, 4MiB, 1MB."""

Percent = Annotated[float, Kind("PERCENT", _percent, _show_percent)]
"""0 to 100, with or without the sign."""

Url = Annotated[str, Kind("URL", _url)]
"""https://, moqt://, moql:// or wss://, with a host."""
