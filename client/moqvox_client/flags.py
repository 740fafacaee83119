"""Flags that several verbs have, spelled and explained once."""

from pathlib import Path
from typing import Annotated, Final

from moqvox_client.kinds import HostPort, Url
from moqvox_client.options import Flag

__all__ = [
    "DEFAULT_BIND",
    "Also",
    "Bind",
    "TlsCert",
    "TlsFingerprint",
    "TlsGenerate",
    "TlsInsecure",
    "TlsKey",
    "TlsRoot",
    "Token",
    "TraceFile",
    "WebSocket",
]

DEFAULT_BIND: Final = HostPort("::", 4443)

Bind = Annotated[
    HostPort, Flag("address to listen on, UDP and TCP; :4443 means every address of the machine")
]
WebSocket = Annotated[
    bool, Flag("take callers over WebSocket too, on the same port over TCP, where UDP is blocked")
]
TlsCert = Annotated[Path | None, Flag("PEM chain of this server, the leaf first")]
TlsKey = Annotated[Path | None, Flag("PEM private key of that leaf")]
TlsGenerate = Annotated[
    tuple[str, ...],
    Flag("make a development certificate for this host", metavar="HOST", split=True),
]
TlsFingerprint = Annotated[
    tuple[str, ...],
    Flag("trust the server whose certificate has this SHA-256", metavar="HEX", split=True),
]
TlsRoot = Annotated[Path | None, Flag("trust servers under the CA in this PEM file")]
TlsInsecure = Annotated[bool, Flag("accept any certificate; only for tests on your own machine")]
Also = Annotated[
    tuple[Url, ...],
    Flag("another relay or server of the same, for when one asks to move", metavar="URL"),
]
Token = Annotated[str | None, Flag("token that grants what is asked for", secret=True)]
TraceFile = Annotated[
    Path | None, Flag("write a JSON line with monotonic nanoseconds for each frame")
]
