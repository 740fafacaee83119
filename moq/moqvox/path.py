"""Broadcast paths: `/`-separated names, without leading, trailing or doubled slashes.

moq-lite sends them as one string; moq-transport as a tuple of the segments.
"""

from typing import Final

from moqvox.errors import LocalError

__all__ = ["MAX_BYTES", "contains", "join", "normalise", "relative", "segments"]

MAX_BYTES: Final = 1024
"""Longest path accepted, in UTF-8 bytes. Names are kept per announcement, so they are bounded."""

MAX_SEGMENTS: Final = 32


def normalise(path: str) -> str:
    """Drop outer and doubled slashes.

    Raises:
        LocalError: longer than `MAX_BYTES`, deeper than 32 segments, or with control characters.
    """
    parts = [part for part in path.split("/") if part]
    clean = "/".join(parts)
    if len(clean.encode("utf-8", "surrogatepass")) > MAX_BYTES or len(parts) > MAX_SEGMENTS:
        raise LocalError(f"path longer than {MAX_BYTES} bytes or {MAX_SEGMENTS} segments")
    if any(not c.isprintable() for c in clean):
        raise LocalError("path holds control characters")
    return clean


def segments(path: str) -> tuple[str, ...]:
    """Split a normalised path; the root is the empty tuple."""
    return tuple(path.split("/")) if path else ()


def join(root: str, path: str) -> str:
    """Put `path` below `root`; either may be empty."""
    return f"{root}/{path}" if root and path else root or path


def contains(prefix: str, path: str) -> bool:
    """Tell whether `path` is `prefix` or below it, by segments (`foo` does not hold `foobar`)."""
    return not prefix or path == prefix or path.startswith(prefix + "/")


def relative(prefix: str, path: str) -> str | None:
    """Return `path` as seen from `prefix`, "" for itself, None when it lies elsewhere."""
    if not prefix:
        return path
    if path == prefix:
        return ""
    return path[len(prefix) + 1 :] if path.startswith(prefix + "/") else None
