"""What `moqvox doctor` looks at: each check returns findings, each finding a remedy."""

import enum

import msgspec

__all__ = ["Finding", "Status", "fail", "ok", "warn"]


class Status(enum.Enum):
    """How bad it is: a warning leaves moqvox usable, a failure does not."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


class Finding(msgspec.Struct, frozen=True):
    """The outcome of one check.

    Attributes:
        name: what was looked at, a few words.
        detail: what was seen.
        remedy: what to do about it; empty when all is well.
    """

    name: str
    status: Status
    detail: str
    remedy: str = ""


def ok(name: str, detail: str) -> Finding:
    """Report that all is well."""
    return Finding(name, Status.OK, detail)


def warn(name: str, detail: str, remedy: str) -> Finding:
    """Report something that moqvox can live with."""
    return Finding(name, Status.WARN, detail, remedy)


def fail(name: str, detail: str, remedy: str) -> Finding:
    """Report something that keeps moqvox from its work."""
    return Finding(name, Status.FAIL, detail, remedy)
