"""What is shown between moqvox and its peers; importing this registers every case."""

from interop.cases import (
    access,
    browser,
    calling,
    catalog,
    comings,
    engine,
    opus,
    relaying,
    restarts,
    roaming,
    websocket,
)
from interop.cases.registry import CASES, Case, Direction

__all__ = [
    "CASES",
    "Case",
    "Direction",
    "access",
    "browser",
    "calling",
    "catalog",
    "comings",
    "engine",
    "opus",
    "relaying",
    "restarts",
    "roaming",
    "websocket",
]
