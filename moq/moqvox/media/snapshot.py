"""A JSON object sent as a snapshot and changes to it, one group a snapshot (hang catalogs).

The first frame of a group is the whole object; each later one is a merge patch (RFC 7396). On
a track named `*.z` a group is one raw DEFLATE stream (RFC 1951) flushed after every frame, the
flush marker 00 00 ff ff left out as in RFC 7692, section 7.2.1.
"""

import zlib
from collections.abc import Iterable

import msgspec

from moqvox.errors import MediaError

__all__ = [
    "MAX_DELTAS",
    "MAX_DEPTH",
    "MAX_FRAME_BYTES",
    "MAX_GROUP_BYTES",
    "JsonObject",
    "SnapshotReader",
    "merge_patch",
    "parse_object",
]

MAX_FRAME_BYTES = 256 * 1024
"""Largest JSON text of one frame, after inflating."""

MAX_GROUP_BYTES = 1024 * 1024
"""Largest sum of JSON texts in one group, which bounds what patches can build up."""

MAX_DELTAS = 1024
"""Most changes in one group; moq-rs starts a new group after 256."""

MAX_DEPTH = 64
"""Deepest nesting, so that what walks an object by recursion can."""

_FLUSH_MARKER = b"\x00\x00\xff\xff"

JsonObject = dict[str, object]


class SnapshotReader:
    """Follows one such track. Call `start` at each group, then `push` its frames in order."""

    def __init__(self, *, compressed: bool = False) -> None:
        self._compressed = compressed
        self._value: JsonObject | None = None
        self._inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        self._bytes = 0
        self._frames = 0
        self._broken = False

    def start(self) -> None:
        """Begin a group: the next frame is a snapshot."""
        self._value = None
        self._inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        self._bytes = 0
        self._frames = 0
        self._broken = False

    def push(self, frame: bytes) -> JsonObject:
        """Apply a frame and return the object as it now is, which the caller must not change.

        Raises:
            MediaError: not JSON, not an object, damaged compression, or over a bound. The rest
                of the group cannot be read; the next group can.
        """
        if self._broken:
            raise MediaError("an earlier frame of this group was unreadable")
        self._broken = True
        text = self._inflated(frame) if self._compressed else frame
        self._bytes += len(text)
        self._frames += 1
        if len(text) > MAX_FRAME_BYTES or self._bytes > MAX_GROUP_BYTES:
            raise MediaError(
                f"json frame of {len(text)} bytes, {self._bytes} in its group:"
                f" at most {MAX_FRAME_BYTES} and {MAX_GROUP_BYTES}"
            )
        if self._frames > MAX_DELTAS + 1:
            raise MediaError(f"more than {MAX_DELTAS} changes to one json snapshot")
        decoded = parse_object(text)
        if self._value is None:
            self._value = decoded
        else:
            merge_patch(self._value, decoded)
        self._broken = False
        return self._value

    def _inflated(self, frame: bytes) -> bytes:
        try:
            text = self._inflate.decompress(frame + _FLUSH_MARKER, MAX_FRAME_BYTES + 1)
        except zlib.error as error:
            raise MediaError(f"json frame does not inflate: {error}") from error
        if len(text) > MAX_FRAME_BYTES:
            raise MediaError(f"json frame inflates to more than {MAX_FRAME_BYTES} bytes")
        if self._inflate.unconsumed_tail or self._inflate.eof:
            raise MediaError("json frame ends its compressed stream early")
        return text


def parse_object(text: bytes) -> JsonObject:
    """Read JSON that must be an object.

    Raises:
        MediaError: not JSON, not an object, or nested too deep.
    """
    try:
        value = msgspec.json.decode(text, type=JsonObject)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise MediaError(f"not a json object: {error}") from error
    level: list[object] = [value]
    for _ in range(MAX_DEPTH):
        level = [inner for outer in level for inner in _members(outer)]
        if not level:
            return value
    raise MediaError(f"json nested more than {MAX_DEPTH} deep")


def _members(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def merge_patch(target: JsonObject, patch: JsonObject) -> None:
    """Change `target` by a merge patch (RFC 7396): null removes, objects merge, all else replaces.

    The two may share parts afterwards; neither is to be changed but through here.
    """
    for key, change in patch.items():
        if change is None:
            target.pop(key, None)
        elif isinstance(change, dict):
            known = target.get(key)
            inner: JsonObject = known if isinstance(known, dict) else {}
            target[key] = inner
            merge_patch(inner, change)
        else:
            target[key] = change
