"""The words that every room shares: a frame, a track's facts, a subscriber's wishes."""

from typing import Final

import msgspec

__all__ = ["DEFAULT_TIMESCALE", "Frame", "Subscription", "TrackInfo"]

DEFAULT_TIMESCALE: Final = 1_000_000
"""Timestamps count microseconds unless the track says otherwise."""


class Frame:
    """A payload and its timestamp; immutable once written, shared by all readers.

    Attributes:
        payload: the bytes that arrived, never copied on the way through a relay.
        timestamp: in units of the track's timescale; None where the peer's version
            carries none and nobody has stamped the frame yet.
        properties: moq-transport object properties as they arrived (delta-coded
            key-value pairs), opaque to relays; empty for moq-lite.
        headers: encoded wire headers by codec key. A session fills it, so that a
            frame for many subscribers is encoded once per version, not once for each.
    """

    __slots__ = ("headers", "payload", "properties", "timestamp")

    def __init__(
        self, payload: bytes, timestamp: int | None = None, properties: bytes = b""
    ) -> None:
        self.payload = payload
        self.timestamp = timestamp
        self.properties = properties
        self.headers: dict[object, bytes] = {}

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Frame):
            return NotImplemented
        return (self.payload, self.timestamp, self.properties) == (
            other.payload,
            other.timestamp,
            other.properties,
        )

    def __hash__(self) -> int:
        return hash((self.payload, self.timestamp))

    def __repr__(self) -> str:
        return f"Frame({len(self.payload)} bytes, timestamp={self.timestamp})"


class TrackInfo(msgspec.Struct, frozen=True, gc=False):
    """What the publisher declares of a track (moq-lite TRACK_INFO; IETF track properties).

    Attributes:
        priority: 0 to 255, higher is sent first (IETF sessions invert it).
        ordered: older groups go before newer ones; else newest first.
        max_age_ms: how long a group stays of use once a newer one exists; 0 = no promise.
        timescale: timestamp units in a second, never 0.
    """

    priority: int = 128
    ordered: bool = False
    max_age_ms: int = 0
    timescale: int = DEFAULT_TIMESCALE


class Subscription(msgspec.Struct, frozen=True, gc=False):
    """What a subscriber wishes (moq-lite SUBSCRIBE; IETF parameters and filters).

    Attributes:
        priority: 0 to 255, higher is sent first.
        ordered: older groups first. Versions without that field derive it on arrival
            (see `session/priority.py`).
        max_age_ms: groups older than the newest by more than this may be skipped or
            reset; it also asks for that much history. 0 = the latest group only.
        group_start: first group wanted; None = what `max_age_ms` says.
        group_end: last group wanted, inclusive; None = without end.
        frame_start: first frame wanted within `group_start`.
        frame_end: last frame wanted within `group_end`, inclusive; None = all.
    """

    priority: int = 128
    ordered: bool = False
    max_age_ms: int = 0
    group_start: int | None = None
    group_end: int | None = None
    frame_start: int = 0
    frame_end: int | None = None
