"""Packets as a peer's encoder printed them."""

import base64
import json
from collections.abc import Iterable
from pathlib import Path

from interop.program import Event, text

__all__ = ["read_recipe"]


def read_recipe(events: Iterable[Event], file: Path) -> tuple[bytes, list[bytes], list[str]]:
    """Take the packets of `opus_encode`, and store its output for `opus_publish`.

    Returns:
        the OpusHead, the packets, and the packets' digests.
    """
    head, packets, digests, lines = b"", [], [], []
    for event in events:
        lines.append(json.dumps({"event": event.name, **event.fields}))
        if event.name == "head":
            head = base64.b64decode(text(event, "data"))
        elif event.name == "packet":
            packets.append(base64.b64decode(text(event, "data")))
            digests.append(text(event, "sha256"))
    file.write_text("\n".join(lines))
    return head, packets, digests
