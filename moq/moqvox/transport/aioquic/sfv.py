"""Lists of strings in HTTP fields. RFC 8941, sections 3.1 and 3.3.3."""

import re
from collections.abc import Sequence
from typing import Final

__all__ = ["MAX_STRINGS", "parse_string", "parse_strings", "write_strings"]

MAX_STRINGS: Final = 64
"""More in one list are not read: no peer offers so many protocols."""

_STRING: Final = r'"((?:[ !#-\[\]-~]|\\["\\])*)"'
_PARAMETERS: Final = r"(?:;[ ]*[a-z*][a-z0-9_.*-]*(?:=(?:" + _STRING + r"|[^\s\",;]*))?)*"
_MEMBER: Final = re.compile(_STRING + _PARAMETERS)
_COMMA: Final = re.compile(r"[ \t]*,[ \t]*")


def parse_strings(text: str) -> list[str]:
    """Read a list of strings, parameters ignored; empty when any part is malformed.

    A field that does not parse is to be ignored as a whole (RFC 8941, section 4.2).
    """
    found: list[str] = []
    text = text.strip(" \t")
    offset = 0
    while text:
        member = _MEMBER.match(text, offset)
        if member is None or len(found) == MAX_STRINGS:
            return []
        found.append(re.sub(r"\\(.)", r"\1", member[1]))
        offset = member.end()
        if offset == len(text):
            break
        comma = _COMMA.match(text, offset)
        if comma is None:
            return []
        offset = comma.end()
    return found


def parse_string(text: str) -> str | None:
    """Read one string; None when it is malformed."""
    found = parse_strings(text)
    return found[0] if len(found) == 1 else None


def write_strings(strings: Sequence[str]) -> str:
    """Write a list of printable ASCII strings."""
    return ", ".join('"' + re.sub(r'(["\\])', r"\\\1", string) + '"' for string in strings)
