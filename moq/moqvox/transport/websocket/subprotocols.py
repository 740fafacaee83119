"""Names in `Sec-WebSocket-Protocol`: a QMux version, a dot, an application protocol.

`qmux-01.moq-lite-05` stands where TLS ALPN stands on QUIC (draft-lcurley-qmux-websocket,
"Subprotocol Negotiation"). Names without a protocol (`qmux-01`, `webtransport`) leave the MoQ
version to a SETUP exchange that no version spoken here has, so they are never offered and
never chosen.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

__all__ = ["VERSIONS", "QmuxVersion", "names", "parse_name"]


class QmuxVersion(msgspec.Struct, frozen=True):
    """What one version of QMux has on its wire.

    Attributes:
        name: the part in front of the dot.
        has_records: a message is a record of several frames, bounded by `max_record_size`;
            else it is one frame.
        has_pings: there is QX_PING.
        has_datagrams: there is DATAGRAM.
    """

    name: str
    has_records: bool = True
    has_pings: bool = True
    has_datagrams: bool = True


_00: Final = QmuxVersion("qmux-00", has_records=False, has_pings=False, has_datagrams=False)
_01: Final = QmuxVersion("qmux-01")
_02: Final = QmuxVersion("qmux-02")

VERSIONS: Final = (_02, _01, _00)
"""All of them, the one to prefer first."""

_PINNED: Final = {f"moqt-{draft}": (_01,) for draft in range(18, 23)}
"""moq-transport 18 to 22 are offered and taken on QMux 01 alone, by those who speak them."""


def names(protocols: Iterable[str]) -> list[str]:
    """List the subprotocols for application protocols, the preferred first.

    The application protocol matters more than the version of QMux below it.
    """
    return [
        f"{version.name}.{protocol}"
        for protocol in protocols
        for version in _PINNED.get(protocol, VERSIONS)
    ]


def parse_name(name: str) -> tuple[QmuxVersion, str]:
    """Split a subprotocol that was chosen from `names`.

    Raises:
        ValueError: it is not one of that form.
    """
    prefix, _, protocol = name.partition(".")
    for version in VERSIONS:
        if version.name == prefix and protocol:
            return version, protocol
    raise ValueError(f"{name!r} is no QMux subprotocol")
