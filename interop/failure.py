"""Why a case did not pass."""

__all__ = ["Failure", "Skipped"]


class Failure(Exception):
    """Something was seen that must not be, or not seen that must; the message is the verdict."""


class Skipped(Exception):
    """The case can't be tried here; the message says what is missing."""
