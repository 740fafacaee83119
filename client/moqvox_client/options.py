"""Options declared once: a frozen Struct whose fields are flags, variables and TOML keys.

    class Options(Shared, frozen=True, kw_only=True):
        url: Annotated[Url, Argument("the relay to reach")]
        bind: Annotated[HostPort, Flag("address to listen on")] = HostPort("::", 4443)
        host: Annotated[tuple[str, ...], Flag("name to certify")] = ("localhost",)
        token: Annotated[str | None, Flag("proof of who you are", secret=True)] = None

A field `tls_cert` is the flag `--tls-cert`, the variable `MOQVOX_TLS_CERT` and the key
`tls-cert`. An `Argument` is positional and lives on the command line only.
"""

import enum
import logging
import types
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Final, get_args, get_origin, get_type_hints

import msgspec

from moqvox_client.kinds import BY_TYPE, Kind, choice_of

__all__ = ["Argument", "Flag", "LogLevel", "Option", "Shared", "declared"]

PREFIX: Final = "MOQVOX_"

MAX_TEXT: Final = 65536
"""Longest value: a token of a few KiB fits, a file given by mistake does not."""

MAX_VALUES: Final = 1000
"""Most values one list option takes."""


class Flag(msgspec.Struct, frozen=True):
    """Mark a field as `--name`.

    Attributes:
        help: one line, lower case, without its default (that is added).
        short: a single letter for `-x`.
        metavar: replaces the kind's own in the help.
        secret: never printed.
        at_least: smallest number allowed.
        at_most: largest number allowed.
        counted: `-v -v` counts up; an int without a value.
        local: the command line only; no variable, no key.
        split: a list flag also takes a,b, as its variable always does; only for values
            that have no commas of their own.
    """

    help: str
    short: str = ""
    metavar: str = ""
    secret: bool = False
    at_least: float | None = None
    at_most: float | None = None
    counted: bool = False
    local: bool = False
    split: bool = False


class Argument(msgspec.Struct, frozen=True):
    """Mark a field as positional, in the order of the fields; a tuple takes all the rest."""

    help: str
    metavar: str = ""


class LogLevel(enum.Enum):
    """How much is logged to stderr."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"
    DEBUG = "debug"

    @property
    def number(self) -> int:
        """Translate to the `logging` module's scale."""
        return int(logging.getLevelNamesMapping()[self.name])


class Shared(msgspec.Struct, frozen=True, kw_only=True):
    """What every verb understands."""

    json: Annotated[bool, Flag("print one JSON object a line on stdout, the last one `done`")] = (
        False
    )
    verbose: Annotated[
        int, Flag("log more; -vv logs everything and shows tracebacks", "v", counted=True)
    ] = 0
    log_level: Annotated[LogLevel, Flag("least severe message to log")] = LogLevel.WARNING
    log_json: Annotated[bool, Flag("log JSON lines instead of text")] = False
    config: Annotated[Path | None, Flag("read options from a TOML file")] = None
    print_config: Annotated[
        bool, Flag("print every option, its value and where that came from, and stop", local=True)
    ] = False

    @property
    def learns(self) -> bool:
        """Whether something of this run is remembered for the next one (memory.py)."""
        return False


class Option(msgspec.Struct, frozen=True):
    """One declared option, its type taken apart.

    Attributes:
        field: the Struct's attribute.
        name: as flags and keys spell it.
        many: the value is a tuple of `kind`.
        required: there is no default.
    """

    field: str
    kind: Kind
    mark: Flag | Argument
    many: bool
    default: object
    required: bool

    @property
    def name(self) -> str:
        """Spell it as in `--name` and in TOML."""
        return self.field.replace("_", "-")

    @property
    def variable(self) -> str:
        """Spell it as an environment variable."""
        return PREFIX + self.field.upper()

    @property
    def metavar(self) -> str:
        """Say what stands for the value in the help."""
        if self.mark.metavar:
            return self.mark.metavar
        return self.field.upper() if isinstance(self.mark, Argument) else self.kind.metavar

    @property
    def is_switch(self) -> bool:
        """Tell whether the flag takes no value."""
        return self.kind is BY_TYPE[bool]

    @property
    def is_split(self) -> bool:
        """Tell whether commas separate values on the command line."""
        return self.many and isinstance(self.mark, Flag) and self.mark.split

    @property
    def is_secret(self) -> bool:
        """Tell whether the value must not be printed."""
        return isinstance(self.mark, Flag) and self.mark.secret

    @property
    def is_portable(self) -> bool:
        """Tell whether the environment and files may set it too."""
        return isinstance(self.mark, Flag) and not self.mark.local

    def parse(self, text: str) -> object:
        """Read one value.

        Raises:
            ValueError: with a message that makes sense after the option's name.
        """
        if len(text) > MAX_TEXT:
            raise ValueError(f"a value of {len(text)} characters, at most {MAX_TEXT}")
        value = self.kind.parse(text)
        if isinstance(self.mark, Flag) and isinstance(value, int | float):
            least, most = self.mark.at_least, self.mark.at_most
            if least is not None and value < least:
                raise ValueError(f"{text!r} is below {least:g}, the least allowed")
            if most is not None and value > most:
                raise ValueError(f"{text!r} is above {most:g}, the most allowed")
        return value

    def parse_all(self, texts: list[str]) -> object:
        """Read one value, or for a list option all of them.

        Raises:
            ValueError: with a message that makes sense after the option's name.
        """
        if not self.many:
            return self.parse(texts[-1])
        if len(texts) > MAX_VALUES:
            raise ValueError(f"{len(texts)} values, at most {MAX_VALUES}")
        return tuple(self.parse(text) for text in texts)


@cache
def declared(options: type[Shared]) -> Mapping[str, Option]:
    """Take a verb's options apart: by name, in the order of their declaration.

    Raises:
        TypeError: a field has no mark, or a type that no kind stands for.
    """
    hints = get_type_hints(options, include_extras=True)
    found = {}
    for field in msgspec.structs.fields(options):
        option = _option(field, hints[field.name])
        found[option.name] = option
    return found


def _option(field: msgspec.structs.FieldInfo, hint: object) -> Option:
    marks = [mark for mark in _metadata(hint) if isinstance(mark, Flag | Argument)]
    if not marks:
        raise TypeError(f"option {field.name!r} is neither Annotated with a Flag nor an Argument")
    many, hint = _element(_plain(hint))
    default = field.default
    if field.default_factory is not msgspec.NODEFAULT:
        default = field.default_factory()
    return Option(
        field=field.name,
        kind=_kind(field.name, hint),
        mark=marks[0],
        many=many,
        default=default,
        required=field.required,
    )


def _metadata(hint: object) -> tuple[object, ...]:
    return get_args(hint)[1:] if get_origin(hint) is Annotated else ()


def _plain(hint: object) -> object:
    """Strip a mark and an `| None`, but keep a kind."""
    if get_origin(hint) is Annotated and not any(isinstance(x, Kind) for x in _metadata(hint)):
        return _plain(get_args(hint)[0])
    if isinstance(hint, types.UnionType) or str(get_origin(hint)) == "typing.Union":
        rest = [part for part in get_args(hint) if part is not type(None)]
        if len(rest) == 1:
            return _plain(rest[0])
    return hint


def _element(hint: object) -> tuple[bool, object]:
    """Tell whether the type is a tuple of any length, and of what."""
    if get_origin(hint) is tuple:
        first, *rest = get_args(hint)
        if rest == [Ellipsis]:
            return True, _plain(first)
    return False, hint


def _kind(name: str, hint: object) -> Kind:
    for mark in _metadata(hint):
        if isinstance(mark, Kind):
            return mark
    if isinstance(hint, type) and hint in BY_TYPE:
        return BY_TYPE[hint]
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return choice_of(hint)
    raise TypeError(f"option {name!r} has a type that no kind stands for: {hint}")
