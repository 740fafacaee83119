"""Protocol versions as rows of named capabilities.

Code asks a row what it can do; only this file knows versions by number.
"""

from typing import Final

import msgspec

from moqvox.errors import LocalError

__all__ = ["LITE_ALPNS", "LITE_VERSIONS", "LiteVersion", "lite_version"]


class LiteVersion(msgspec.Struct, frozen=True, gc=False):
    """What one moq-lite version has on its wire.

    Attributes:
        alpn: its name in TLS ALPN and in WebTransport's protocol headers.
        setup: each side opens a SETUP stream.
        announce_ok: an announce stream begins with ANNOUNCE_OK, which carries the sender's
            hop id, so the announcements leave it out.
        announce_typed: START, END and UPDATE refer to announcements by number.
        announce_replaces: a second announcement of a live path replaces the first.
        hop_lists: announcements list hop ids; else only how many there are.
        exclude_hop: an announce request names a hop whose routes are not wanted; else the
            peer's SETUP does, where there is one.
        route_cost: announcements carry a route's cost.
        track_stream: a track's facts are asked for on a stream of their own.
        end_message: a subscription is answered by START and END; else by OK.
        ordered_field: order of groups is a byte of its own; else it follows from the age.
        start_is_floor: a subscription's first group is a plain floor, 0 for none; else it is
            moved up by one, and 0 asks for the latest.
        frame_ranges: subscriptions, fetches and groups can begin inside a group.
        timestamps: frames carry timestamps.
        datagrams: groups of one frame may travel as datagrams.
        probe_level: a Probe stream is opened only to a peer that offers it; else always.
        probe_rtt: PROBE carries a round-trip time.
        goaway: there is a GOAWAY stream.
    """

    alpn: str
    setup: bool = True
    announce_ok: bool = True
    announce_typed: bool = True
    announce_replaces: bool = True
    hop_lists: bool = True
    exclude_hop: bool = False
    route_cost: bool = True
    track_stream: bool = True
    end_message: bool = True
    ordered_field: bool = False
    start_is_floor: bool = True
    frame_ranges: bool = True
    timestamps: bool = True
    datagrams: bool = True
    probe_level: bool = True
    probe_rtt: bool = True
    goaway: bool = True


_06: Final = LiteVersion("moq-lite-06")
_05: Final = msgspec.structs.replace(
    _06,
    alpn="moq-lite-05",
    announce_typed=False,
    exclude_hop=True,
    route_cost=False,
    ordered_field=True,
    start_is_floor=False,
    frame_ranges=False,
)
_04: Final = msgspec.structs.replace(
    _05,
    alpn="moq-lite-04",
    setup=False,
    announce_ok=False,
    announce_replaces=False,
    track_stream=False,
    end_message=False,
    timestamps=False,
    datagrams=False,
    probe_level=False,
)
_03: Final = msgspec.structs.replace(
    _04, alpn="moq-lite-03", hop_lists=False, exclude_hop=False, probe_rtt=False, goaway=False
)

LITE_VERSIONS: Final = (_06, _05, _04, _03)
"""All of them, the one to prefer first."""

LITE_ALPNS: Final = tuple(version.alpn for version in LITE_VERSIONS)

_BY_ALPN: Final = {version.alpn: version for version in LITE_VERSIONS}


def lite_version(alpn: str) -> LiteVersion:
    """Look a version up by its ALPN name.

    Raises:
        LocalError: it is none of `LITE_ALPNS`.
    """
    version = _BY_ALPN.get(alpn)
    if version is None:
        raise LocalError(f"unknown moq-lite version {alpn!r}; known: {', '.join(LITE_ALPNS)}")
    return version
