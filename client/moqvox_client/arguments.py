"""The command line of one verb: help out, raw values in."""

import argparse
import re
from collections.abc import Mapping, Sequence
from typing import Final, NoReturn

import msgspec

from moqvox_client.errors import UsageError, did_you_mean
from moqvox_client.options import Argument, Option, Shared, declared

__all__ = ["Arguments", "help_text", "read_arguments"]

_NUMBER: Final = re.compile(r"-\d|-\.\d")

_FOOTER: Final = """\
Every --flag is also the variable MOQVOX_FLAG and, in the file of --config, a key of the
table [{verb}] or, for all verbs, above the tables. A flag beats a variable beats the file.
"""


class Arguments(msgspec.Struct, frozen=True):
    """What was on the command line, not yet parsed, by option name."""

    values: Mapping[str, list[str]]
    wants_help: bool


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Report through our own exit path instead of printing a usage block."""
        raise UsageError(message.replace("argument ", "", 1))


def read_arguments(verb: str, options: type[Shared], argv: Sequence[str]) -> Arguments:
    """Sort the words after the verb by option, checking names but not values.

    Raises:
        UsageError: an unknown flag, a flag without its value, a word too many.
    """
    table = declared(options)
    words, literal = list(argv), list[str]()
    if "--" in words:
        at = words.index("--")
        words, literal = words[:at], words[at + 1 :]
    found, rest = _parser(verb, table).parse_known_args(words)
    values = {
        name: [str(value)] if isinstance(value, bool | int | str) else [str(v) for v in value]
        for name, value in vars(found).items()
        if name != "help"
    }
    for word in rest:
        if word.startswith("-") and word != "-" and not _NUMBER.match(word):
            name = word.split("=", 1)[0]
            flags = ["--help", *(f"--{o.name}" for o in table.values() if _is_flag(o))]
            raise UsageError(f"unknown option {name}{did_you_mean(name, flags)}")
    values.update(_positional(table, [*rest, *literal]))
    return Arguments(values, "help" in vars(found))


def help_text(verb: str, options: type[Shared], summary: str, examples: str) -> str:
    """Write what `moqvox VERB --help` prints."""
    table = declared(options)
    positional = [option for option in table.values() if not _is_flag(option)]
    parser = _parser(verb, table, positional)
    parser.usage = " ".join(["moqvox", verb, *map(_usage, positional), "[--flags]"])
    parser.description = summary[:1].upper() + summary[1:] + "."
    blocks = [_FOOTER.format(verb=verb)]
    if examples.strip():
        lines = "\n".join(f"  {line.strip()}" for line in examples.strip().splitlines())
        blocks.insert(0, f"examples:\n{lines}\n")
    parser.epilog = "\n".join(blocks)
    return parser.format_help()


def _parser(verb: str, table: Mapping[str, Option], positional: Sequence[Option] = ()) -> _Parser:
    """Build the parser; positional arguments only for the help, they are sorted elsewhere."""
    parser = _Parser(
        prog=f"moqvox {verb}",
        add_help=False,
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    arguments = parser.add_argument_group("arguments")
    for option in positional:
        arguments.add_argument(option.metavar, help=_help(option))
    own = parser.add_argument_group("options")
    shared = parser.add_argument_group("options of every verb")
    for option in table.values():
        if _is_flag(option):
            _add_flag(shared if option.field in Shared.__struct_fields__ else own, option)
    shared.add_argument("-h", "--help", action="store_true", help="print this and stop")
    return parser


def _add_flag(group: argparse._ArgumentGroup, option: Option) -> None:
    mark = option.mark
    if isinstance(mark, Argument):
        return
    names = [f"-{mark.short}"] if mark.short else []
    names.append(f"--{option.name}")
    text = _help(option)
    if mark.counted:
        group.add_argument(*names, dest=option.name, action="count", help=text)
    elif option.is_switch:
        _add_switch(group, names, option, text)
    else:
        metavar = option.metavar
        group.add_argument(*names, dest=option.name, action="append", metavar=metavar, help=text)


def _add_switch(
    group: argparse._ArgumentGroup, names: list[str], option: Option, text: str
) -> None:
    """Add `--name` and `--no-name`; the help shows the one that changes the default."""
    on, off = (argparse.SUPPRESS, text) if option.default else (text, argparse.SUPPRESS)
    group.add_argument(*names, dest=option.name, action="store_true", help=on)
    if option.is_portable:
        group.add_argument(f"--no-{option.name}", dest=option.name, action="store_false", help=off)


def _help(option: Option) -> str:
    text = option.mark.help
    if option.many and _is_flag(option):
        text += "; repeatable, or a,b" if option.is_split else "; repeatable"
    is_telling = not option.required and not isinstance(option.default, bool)
    if is_telling and option.default not in (None, (), 0, ""):
        text += f" (default {show(option, option.default)})"
    return text.replace("%", "%%")


def show(option: Option, value: object) -> str:
    """Write a value as the command line takes it; a list is comma-separated."""
    if isinstance(value, tuple):
        return ",".join(option.kind.show(part) for part in value)
    return option.kind.show(value)


def _usage(option: Option) -> str:
    text = f"{option.metavar}..." if option.many else option.metavar
    return text if option.required else f"[{text}]"


def _positional(table: Mapping[str, Option], words: list[str]) -> Mapping[str, list[str]]:
    values = {}
    for option in table.values():
        if _is_flag(option) or not words:
            continue
        take = len(words) if option.many else 1
        values[option.name], words = words[:take], words[take:]
    if words:
        raise UsageError(f"unexpected argument {words[0]!r}")
    return values


def _is_flag(option: Option) -> bool:
    return not isinstance(option.mark, Argument)
