"""What the two programs of a system are told, and the files by which they and the lab meet.

Runs in environments without moqvox, so it imports the standard library only.
"""

from dataclasses import dataclass, field
from typing import Final

__all__ = ["BEGAN", "GO", "HEARD", "JOURNAL", "KEYS", "LOADED", "READY", "Job"]

READY: Final = "ready"
LOADED: Final = "loaded"
GO: Final = "go"
BEGAN: Final = "began"
HEARD: Final = "heard"
JOURNAL: Final = "journal"
KEYS: Final = "keys.hex"
"""Files by which the two programs and the lab know of each other."""


@dataclass(frozen=True)
class Job:
    """What a program is told, as JSON.

    Attributes:
        host, port: where the server listens, and where the caller finds it.
        cert, key: the server's PEM files.
        root: what callers trust.
        prompt, answer: files of frames, see `write_frames`.
        folder: where the records go.
        control: where the caller tells that it begins: a UNIX socket's path, or `host:port`.
        limit_s: seconds after the caller began at which it stops waiting.
        pace: the answer's multiple of real time; 0 hands all of it over at once.
        answered: whether there is an answer at all.
        journal: the server writes down each frame at once, as it may be killed.
        again: frames at the end of `prompt` that are not spoken until a server that was killed
            is back.
        skipped: frames at the beginning of `prompt` that a server before this one has heard.
        urls: of the relays at which caller and agent meet.
        options: what only one system understands.
    """

    host: str
    port: int
    cert: str
    key: str
    root: str
    prompt: str
    answer: str
    folder: str
    control: str
    limit_s: float
    pace: float = 0.0
    answered: bool = True
    caller_port: int = 0
    journal: bool = False
    again: int = 0
    skipped: int = 0
    urls: list[str] = field(default_factory=list)
    options: dict[str, str] = field(default_factory=dict)
