"""What a session tells the application, one Struct each, oldest first.

`request` ids are minted by the session for both directions: those of our own verbs
(`watch`, `subscribe`, `fetch`, `track_info`) and those of the peer's requests. `group` ids
are the session's stream ids of the carrying streams and are unique among live streams.
Codes are `errors.StreamCode` values (already unmapped) or application codes >= 64.
"""

import msgspec

from moqvox.frame import Frame, Subscription, TrackInfo

__all__ = [
    "Announced",
    "DatagramReceived",
    "Event",
    "FetchRequested",
    "FrameReceived",
    "GoawayReceived",
    "GroupFinished",
    "GroupOpened",
    "GroupReset",
    "GroupStopped",
    "GroupsDropped",
    "ProbeReceived",
    "ProbeRequested",
    "RequestCancelled",
    "RequestFailed",
    "SetupReceived",
    "SubscribeRequested",
    "SubscribeUpdated",
    "Subscribed",
    "SubscriptionEnded",
    "TrackInfoReceived",
    "TrackInfoRequested",
    "TrackOffered",
    "Unannounced",
    "WatchReady",
    "WatchRequested",
]


class SetupReceived(msgspec.Struct, frozen=True, gc=False):
    """The peer's SETUP arrived (never for moq-lite-03/04, which have none).

    Attributes:
        path: connection path with query, as raw-QUIC clients send it; "" when absent.
        publishes, subscribes: roles the client announced; both True when it said nothing.
        origin: the peer's hop id, 0 when unknown.
        implementation: free text, "" when absent; never trust it beyond work-arounds.
    """

    path: str = ""
    publishes: bool = True
    subscribes: bool = True
    origin: int = 0
    implementation: str = ""


class GoawayReceived(msgspec.Struct, frozen=True, gc=False):
    """The peer drains: move to `uri` ("" = the same) within `timeout_ms` (0 = unsaid)."""

    uri: str
    timeout_ms: int = 0


class ProbeRequested(msgspec.Struct, frozen=True, gc=False):
    """The peer wants bandwidth estimates from us; answer with `send_probe`."""

    request: int
    target_bps: int


class ProbeReceived(msgspec.Struct, frozen=True, gc=False):
    """The peer's estimate of what it can send to us. `rtt_ms` 0 = unsaid."""

    bitrate_bps: int
    rtt_ms: int = 0


# Discovery, our side asking


class WatchReady(msgspec.Struct, frozen=True, gc=False):
    """The peer told its initial set; later `Announced` are news."""

    request: int


class Announced(msgspec.Struct, frozen=True, gc=False):
    """A broadcast is (again) available; a second one for the same path replaces the first.

    Attributes:
        path: relative to the connection's root (prefix of the watch included).
        hops: origin ids from the source to the peer, the peer's own last.
        cost: route cost as the version carries it, 0 otherwise.
    """

    request: int
    path: str
    hops: tuple[int, ...] = ()
    cost: int = 0


class Unannounced(msgspec.Struct, frozen=True, gc=False):
    """A broadcast is gone."""

    request: int
    path: str


# Discovery, the peer asking


class WatchRequested(msgspec.Struct, frozen=True, gc=False):
    """The peer wants to know our broadcasts below `prefix`; answer with `accept_watch`.

    An IETF session also makes one of these by itself, with prefix "", when it must
    publish namespaces unasked.
    """

    request: int
    prefix: str
    exclude_hop: int = 0


# Tracks and groups, our side asking


class TrackInfoReceived(msgspec.Struct, frozen=True, gc=False):
    """Answer to `track_info`; the request is over."""

    request: int
    info: TrackInfo


class Subscribed(msgspec.Struct, frozen=True, gc=False):
    """The publisher accepted. `info` and `group_start` are None where unsaid."""

    request: int
    info: TrackInfo | None = None
    group_start: int | None = None


class SubscriptionEnded(msgspec.Struct, frozen=True, gc=False):
    """The publisher will open no more groups; those open go on. `group_end` is exclusive."""

    request: int
    group_end: int | None = None


class GroupsDropped(msgspec.Struct, frozen=True, gc=False):
    """Groups `group_start` to `group_end`, inclusive, will not come."""

    request: int
    group_start: int
    group_end: int
    code: int


class RequestFailed(msgspec.Struct, frozen=True, gc=False):
    """The peer refused or ended one of our requests; the request is over."""

    request: int
    code: int
    reason: str = ""


class TrackOffered(msgspec.Struct, frozen=True, gc=False):
    """The peer pushes a track unasked (IETF PUBLISH). `accept_offer` or `reject`."""

    request: int
    broadcast: str
    track: str
    info: TrackInfo


class GroupOpened(msgspec.Struct, frozen=True, gc=False):
    """A group of `request` (a subscription or a fetch) begins on stream `group`."""

    request: int
    group: int
    sequence: int
    frame_start: int = 0
    priority: int = 128


class FrameReceived(msgspec.Struct, frozen=True, gc=False):
    """The next whole frame of a group."""

    group: int
    frame: Frame


class GroupFinished(msgspec.Struct, frozen=True, gc=False):
    """The group is whole. Its id may be used anew."""

    group: int


class GroupReset(msgspec.Struct, frozen=True, gc=False):
    """The publisher gave the group up. Its id may be used anew."""

    group: int
    code: int


class DatagramReceived(msgspec.Struct, frozen=True, gc=False):
    """A whole group of one frame, sent unreliably."""

    request: int
    sequence: int
    frame: Frame


# Tracks and groups, the peer asking


class TrackInfoRequested(msgspec.Struct, frozen=True, gc=False):
    """The peer wants a track's facts: `accept_track` or `reject`."""

    request: int
    broadcast: str
    track: str


class SubscribeRequested(msgspec.Struct, frozen=True, gc=False):
    """The peer wants a track: `accept` or `reject`."""

    request: int
    broadcast: str
    track: str
    subscription: Subscription


class SubscribeUpdated(msgspec.Struct, frozen=True, gc=False):
    """The peer changed its wishes; they replace the former ones whole."""

    request: int
    subscription: Subscription


class FetchRequested(msgspec.Struct, frozen=True, gc=False):
    """The peer wants past frames: `accept_fetch` or `reject`. Group ends are inclusive."""

    request: int
    broadcast: str
    track: str
    priority: int
    group_start: int
    group_end: int
    frame_start: int = 0
    frame_end: int | None = None


class RequestCancelled(msgspec.Struct, frozen=True, gc=False):
    """The peer ended one of its requests; the request is over, its groups are reset."""

    request: int
    code: int


class GroupStopped(msgspec.Struct, frozen=True, gc=False):
    """The peer wants no more of a group we send; the session has reset it."""

    group: int
    code: int


Event = (
    SetupReceived
    | GoawayReceived
    | ProbeRequested
    | ProbeReceived
    | WatchReady
    | Announced
    | Unannounced
    | WatchRequested
    | TrackInfoReceived
    | Subscribed
    | SubscriptionEnded
    | GroupsDropped
    | RequestFailed
    | TrackOffered
    | GroupOpened
    | FrameReceived
    | GroupFinished
    | GroupReset
    | DatagramReceived
    | TrackInfoRequested
    | SubscribeRequested
    | SubscribeUpdated
    | FetchRequested
    | RequestCancelled
    | GroupStopped
)
