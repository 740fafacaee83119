"""What the recogniser's process is told and what it answers.

Each order is a `HEADER` (what it is, how many bytes follow) and its PCM, on stdin; each is
answered by one `Hypothesis`, a JSON line on stdout.
"""

import struct
from enum import IntEnum
from typing import Final

import msgspec

__all__ = ["HEADER", "MAX_PCM_BYTES", "SAMPLE_RATE", "Hypothesis", "Order"]

SAMPLE_RATE: Final = 16_000
"""Of all audio here: s16le, mono."""

MAX_PCM_BYTES: Final = 64_000
"""Most audio in one order: two seconds."""

HEADER: Final = struct.Struct("<BI")


class Order(IntEnum):
    """What the process shall do."""

    BEGIN = 0
    AUDIO = 1
    END = 2


class Hypothesis(msgspec.Struct, frozen=True):
    """What was understood so far, or in all."""

    text: str = ""
    final: bool = False
