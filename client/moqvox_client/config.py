"""Where a verb's options come from: flag, then environment, then file, then default."""

import enum
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final, Generic, TypeVar

import msgspec

from moqvox_client.errors import UsageError, did_you_mean
from moqvox_client.kinds import BY_TYPE
from moqvox_client.options import PREFIX, Option, Shared, declared

__all__ = ["Resolved", "Setting", "Source", "describe", "resolve"]

MAX_FILE_BYTES: Final = 1 << 20

FOREIGN: Final = frozenset({"MOQVOX_LIBOPUS"})
"""Variables that other parts of moqvox read by themselves."""

_PLAIN: Final = (BY_TYPE[bool], BY_TYPE[int], BY_TYPE[float])
"""Kinds that TOML and JSON have of their own."""

_CREDENTIAL: Final = re.compile(r"([?&](?:jwt|token)=)[^&]*", re.IGNORECASE)
"""A token carried in a URL's query, as other relays do."""

O = TypeVar("O", bound=Shared)  # noqa: E741 - the options of one verb


class Source(enum.Enum):
    """Who set an option; the earlier wins."""

    FLAG = "flag"
    ENVIRONMENT = "environment"
    FILE = "file"
    DEFAULT = "default"


class Setting(msgspec.Struct, frozen=True):
    """One option's effective value.

    Attributes:
        origin: `source` for a human: the flag, the variable, the file and its table.
    """

    option: Option
    value: object
    source: Source
    origin: str


class Resolved(msgspec.Struct, Generic[O], frozen=True):
    """Everything a verb is run with."""

    options: O
    settings: Mapping[str, Setting]


class _File(msgspec.Struct, frozen=True):
    """What a TOML file says to one verb: raw value and its place, by option name."""

    values: Mapping[str, tuple[object, str]] = {}


def resolve(
    verb: str,
    options: type[O],
    arguments: Mapping[str, list[str]],
    environment: Mapping[str, str],
    *,
    verbs: Iterable[str],
    others: Callable[[], Iterable[type[Shared]]],
) -> Resolved[O]:
    """Find every option's value and where it came from.

    Args:
        verb: the verb to be run, which names its table in the file.
        options: the verb's declaration.
        arguments: the command line, from `read_arguments`.
        environment: all variables; those without MOQVOX_ are ignored.
        verbs: the names a table may have.
        others: the other verbs' declarations, asked for only when a name is unknown to
            this verb: what one verb knows may stay set while another is run.

    Raises:
        UsageError: an unknown key or variable, a value that can't be read, a required
            option that is nowhere, a file that can't be used.
    """
    table = declared(options)
    _check_variables(table, environment, others)
    file = _File()
    config = _one(table["config"], arguments, environment, file).value
    if isinstance(config, Path):
        file = _read_file(config, verb, table, verbs, others)
    settings = {name: _one(option, arguments, environment, file) for name, option in table.items()}
    missing = [s.option for s in settings.values() if s.value is msgspec.NODEFAULT]
    if missing and not settings["print-config"].value:
        option = missing[0]
        name = f"--{option.name}" if option.is_portable else option.metavar
        raise UsageError(f"{name} is missing: {option.mark.help}")
    values = {s.option.field: None if s.option in missing else s.value for s in settings.values()}
    build: Callable[..., O] = options
    return Resolved(build(**values), settings)


def describe(resolved: Resolved[O], verb: str) -> list[str]:
    """Write the effective options as TOML, each with its origin in a comment."""
    lines = [f"[{verb}]"]
    for setting in resolved.settings.values():
        option = setting.option
        if option.name == "print-config":
            continue
        value = toml(masked(setting))
        note = setting.origin if option.is_portable else f"{setting.origin}, command line only"
        comment = "" if option.is_portable and value and option.name != "config" else "# "
        lines.append(f"{comment}{option.name} = {value or '(not set)'}  # {note}")
    return lines


def masked(setting: Setting) -> object:
    """Return a value as text, number, list or None, safe to print."""
    option, value = setting.option, setting.value
    if value is None or value is msgspec.NODEFAULT:
        return None
    if option.is_secret:
        return "***"
    if isinstance(value, tuple):
        return [option.kind.show(part) for part in value]
    if option.kind in _PLAIN:
        return value
    return _CREDENTIAL.sub(r"\1***", option.kind.show(value))


def toml(value: object) -> str:
    """Encode what `masked` returns; nothing for None."""
    if value is None:
        return ""
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return msgspec.json.encode(value).decode()


def _one(
    option: Option,
    arguments: Mapping[str, list[str]],
    environment: Mapping[str, str],
    file: _File,
) -> Setting:
    name = option.name
    if name in arguments:
        origin = f"--{name}" if option.is_portable else option.metavar or f"--{name}"
        texts = _split(arguments[name]) if option.is_split else arguments[name]
        return _parsed(option, texts, Source.FLAG, f"flag {origin}", origin)
    if option.is_portable and environment.get(option.variable):
        text = environment[option.variable]
        where = option.variable
        texts = _split([text]) if option.many else [text]
        return _parsed(option, texts, Source.ENVIRONMENT, f"environment {where}", where)
    if name in file.values:
        raw, where = file.values[name]
        texts = _texts(option, raw, where)
        return _parsed(option, texts, Source.FILE, f"file {where}", f"{name} in {where}")
    return Setting(option, option.default, Source.DEFAULT, "default")


def _parsed(option: Option, texts: list[str], source: Source, origin: str, label: str) -> Setting:
    try:
        return Setting(option, option.parse_all(texts), source, origin)
    except ValueError as exc:
        message = f"{label}: {exc}" if not option.is_secret else f"{label}: unusable value"
        raise UsageError(message) from None


def _split(texts: list[str]) -> list[str]:
    return [part.strip() for text in texts for part in text.split(",")]


def _texts(option: Option, raw: object, where: str) -> list[str]:
    """Turn a TOML value into what the command line would have had."""
    if option.many and isinstance(raw, list):
        return [text for part in raw for text in _texts(option, part, where)]
    if isinstance(raw, bool):
        if option.is_switch:
            return ["true" if raw else "false"]
    elif isinstance(raw, str | int | float) and not option.is_switch:
        return [str(raw)]
    wanted = "true or false" if option.is_switch else f"a {option.kind.metavar} value"
    wanted = f"a list of {option.kind.metavar} values" if option.many else wanted
    raise UsageError(f"{option.name} in {where}: {raw!r} is not {wanted}")


def _check_variables(
    table: Mapping[str, Option],
    environment: Mapping[str, str],
    others: Callable[[], Iterable[type[Shared]]],
) -> None:
    def names(options: Iterable[Option]) -> set[str]:
        return {option.variable for option in options if option.is_portable}

    given = {name for name in environment if name.startswith(PREFIX)} - FOREIGN
    unknown = given - names(table.values())
    if not unknown:
        return
    known = names(table.values())
    for other in others():
        known |= names(declared(other).values())
    for name in sorted(unknown - known):
        raise UsageError(f"unknown variable {name}{did_you_mean(name, known)}")


def _read_file(
    path: Path,
    verb: str,
    table: Mapping[str, Option],
    verbs: Iterable[str],
    others: Callable[[], Iterable[type[Shared]]],
) -> _File:
    content = _load(path)
    tables = set(verbs)
    shared = {key: value for key, value in content.items() if not isinstance(value, dict)}
    for name in content.keys() - shared.keys():
        if name not in tables:
            hint = did_you_mean(name, tables)
            raise UsageError(f"unknown table [{name}] in {path}{hint}")
    known = _keys(table)
    own = _normal(content.get(verb, {}), f"[{verb}] of {path}")
    for key in own:
        if key not in known:
            hint = did_you_mean(key, known)
            raise UsageError(f"unknown key {key!r} in [{verb}] of {path}{hint}")
    common = _normal(shared, str(path))
    if common.keys() - known:
        everywhere = known.union(*(_keys(declared(other)) for other in others()))
        for key in sorted(common.keys() - everywhere):
            hint = did_you_mean(key, everywhere | tables)
            raise UsageError(f"unknown key {key!r} in {path}{hint}")
    merged = {key: (value, str(path)) for key, value in common.items()}
    merged |= {key: (value, f"[{verb}] of {path}") for key, value in own.items()}
    return _File(merged)


def _keys(table: Mapping[str, Option]) -> set[str]:
    """Name the keys a file may have: a file can't name the next file."""
    return {name for name, option in table.items() if option.is_portable and name != "config"}


def _normal(values: object, where: str) -> Mapping[str, object]:
    """Spell keys with dashes; `tls_cert` is as good as `tls-cert`, both are one too many."""
    found: dict[str, object] = {}
    for key, value in values.items() if isinstance(values, dict) else ():
        name = key.replace("_", "-")
        if name in found:
            raise UsageError(f"key {name!r} is given twice in {where}")
        found[name] = value
    return found


def _load(path: Path) -> dict[str, object]:
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_FILE_BYTES + 1)
    except OSError as exc:
        raise UsageError(f"cannot read {path}: {(exc.strerror or 'unreadable').lower()}") from exc
    if len(data) > MAX_FILE_BYTES:
        raise UsageError(f"{path} is larger than 1 MiB, too large for a configuration")
    try:
        return tomllib.loads(data.decode())
    except ValueError as exc:
        raise UsageError(f"{path} is not TOML: {str(exc).lower()}") from exc
