"""The session contract: everything a driver may do with one MoQ session.

Five kinds of method and no more:

| kind | names | rule |
|---|---|---|
| from the network | `accept_stream`, `receive_*` | any chunking; raises only `RemoteError` |
| from the clock | `handle_timeout`, `deadline` | seconds, monotonic, given by the caller |
| from the application | the verbs | raise only `LocalError`; return ids, never wait |
| to the application | `events()` | drained, oldest first |
| to the transport | `actions()` | drained, to be carried out in order |

What may leave before the peer has answered (early data) is the session's to say, stream by
stream: what only asks (SETUP, announcements wanted, subscriptions, facts, past groups), and
groups that the application allowed in `anticipate`. docs/decisions/0006-early-data.md.

After every call the driver takes both `events()` and `actions()`. Streams are named by
small integers which the session mints, so a session never waits for a stream limit and
runs unchanged in a simulation. A verb on a request or group that has ended meanwhile does
nothing: the event that says so is on its way to the caller.

Which IETF message each name stands for is in `docs/decisions/0002-session-contract.md`.
"""

from collections.abc import Sequence
from typing import Final, Protocol

import msgspec

from moqvox.frame import Frame, Subscription, TrackInfo
from moqvox.session.actions import Action
from moqvox.session.events import Event

__all__ = ["AGREED", "Announcement", "Limits", "Session", "is_agreed"]

AGREED: Final = range(1 << 29, 1 << 30)
"""Numbers of subscriptions that an application may agree on: each stands for one track in all
its sessions. No other subscription has one of them."""


def is_agreed(number: int) -> bool:
    """Whether a subscription's number is one that may be agreed on."""
    return number in AGREED


class Announcement(msgspec.Struct, frozen=True, gc=False):
    """One broadcast as told to a watcher.

    Attributes:
        path: relative to the connection's root (the watch's prefix included).
        hops: origin ids from the source on, without our own (the session adds it where
            the version wants it).
        cost: route cost, 0 = unsaid.
    """

    path: str
    hops: tuple[int, ...] = ()
    cost: int = 0


class Limits(msgspec.Struct, frozen=True, gc=False):
    """Bounds on what a peer may make one session hold.

    Passing `max_message_bytes` or `max_frame_bytes` resets the stream, or closes the
    session where the message belongs to the session itself; passing a count refuses the
    request with EXCESSIVE_LOAD.
    """

    max_message_bytes: int = 16 * 1024
    max_frame_bytes: int = 4 * 1024 * 1024
    max_requests: int = 1024
    max_announcements: int = 4096
    max_hops: int = 32
    control_timeout: float = 10.0


class Session(Protocol):
    """One MoQ session, both roles, sans-IO."""

    @property
    def version(self) -> str:
        """The negotiated version's ALPN name, as `moq-lite-06`."""

    @property
    def has_timestamps(self) -> bool:
        """Whether frames carry timestamps on this version's wire."""

    @property
    def has_setup(self) -> bool:
        """Whether the peer will send a SETUP, reported as `SetupReceived`."""

    # From the network

    def accept_stream(self, *, bidirectional: bool) -> int:
        """Name a stream that the peer opened."""

    def receive_stream(self, stream: int, data: bytes, *, fin: bool) -> None:
        """Take bytes of a stream, in order, in any chunking."""

    def receive_reset(self, stream: int, code: int) -> None:
        """Take the peer's RESET_STREAM, its code as on the wire."""

    def receive_stop(self, stream: int, code: int) -> None:
        """Take the peer's STOP_SENDING, its code as on the wire."""

    def receive_datagram(self, data: bytes) -> None:
        """Take a datagram; one that can't be used is dropped."""

    # From the clock

    def handle_timeout(self, now: float) -> None:
        """Act on deadlines that have passed. Also tells the session the time."""

    def deadline(self) -> float | None:
        """When `handle_timeout` is wanted next."""

    # From the application: the session

    def start(self, now: float) -> None:
        """Send what opens a session (SETUP). Called once, before anything else."""

    def goaway(self, uri: str = "", timeout_ms: int = 0) -> None:
        """Ask the peer to move elsewhere. Nothing happens where the version has no GOAWAY."""

    def send_probe(self, request: int, bitrate_bps: int, rtt_ms: int) -> None:
        """Answer `ProbeRequested` with one more estimate."""

    def request_probe(self, target_bps: int = 0) -> int:
        """Ask the peer for estimates, reported as `ProbeReceived`."""

    def close(self, code: int, reason: str) -> None:
        """End the session; later calls do nothing."""

    # From the application: discovery

    def watch(self, prefix: str, exclude_hop: int = 0) -> int:
        """Ask for the peer's broadcasts below `prefix`, except routes through `exclude_hop`."""

    def accept_watch(self, request: int, announcements: Sequence[Announcement]) -> None:
        """Answer `WatchRequested` with what is available now."""

    def announce(self, request: int, announcement: Announcement) -> None:
        """Tell a watcher of a new or changed broadcast."""

    def unannounce(self, request: int, path: str) -> None:
        """Tell a watcher that a broadcast is gone."""

    # From the application: asking for tracks

    def track_info(self, broadcast: str, track: str) -> int | None:
        """Ask for a track's facts; None where the version tells them otherwise."""

    def subscribe(
        self, broadcast: str, track: str, subscription: Subscription, number: int | None = None
    ) -> int:
        """Ask for a track's groups.

        `number`: one of `AGREED`; the first subscription that wants it has it. Groups that
        came for it already were waiting, and come in.
        """

    def update(self, request: int, subscription: Subscription) -> None:
        """Replace the wishes of a live subscription."""

    def fetch(
        self,
        broadcast: str,
        track: str,
        *,
        group: int,
        priority: int = 128,
        frame_start: int = 0,
        frame_end: int | None = None,
    ) -> int:
        """Ask for one past group; it comes as `GroupOpened` with the fetch's request id."""

    def set_timescale(self, request: int, timescale: int) -> None:
        """Tell what unit a subscription's or fetch's timestamps are in, where that matters."""

    def cancel(self, request: int) -> None:
        """End one of our requests: watch, track_info, subscribe, fetch or probe."""

    def stop_group(self, group: int, code: int) -> None:
        """Want no more of a group that the peer sends; nothing more of it is reported."""

    def accept_offer(self, request: int, subscription: Subscription) -> None:
        """Take a track that the peer pushes; it goes on like a subscription."""

    # From the application: answering

    def anticipate(
        self,
        number: int,
        broadcast: str,
        track: str,
        subscription: Subscription,
        *,
        early: bool = False,
    ) -> int:
        """Report `SubscribeRequested` as if the peer had asked, with one of the numbers `AGREED`.

        What is sent for it leaves at once, or, unless it is `early`, once the peer has proved
        itself: with `early` whoever records it may send it on, and the application must know
        what a peer makes of hearing it twice. When the peer asks with that number for that track,
        its request goes on under the same id (`SubscribeUpdated`). When it asks otherwise, or
        stops a group, it is over (`RequestCancelled`), and what it asks for later begins anew.
        """

    def number_of(self, request: int) -> int | None:
        """Tell the number that the peer gave a live subscription; None when it gave none (yet)."""

    def accept_track(self, request: int, info: TrackInfo) -> None:
        """Answer `TrackInfoRequested`."""

    def accept(self, request: int, info: TrackInfo, group_start: int | None) -> None:
        """Answer `SubscribeRequested`; `group_start` None when nothing was published yet."""

    def accept_fetch(self, request: int, info: TrackInfo) -> int:
        """Answer `FetchRequested`; returns the group id to write frames to."""

    def reject(self, request: int, code: int, reason: str = "") -> None:
        """Refuse or give up any request of the peer's."""

    def finish(self, request: int, group_end: int, *, keep_open: bool = False) -> None:
        """Tell that a served track ended before group `group_end` (exclusive).

        `keep_open`: leave the request's stream open for `conclude`.
        """

    def conclude(self, request: int) -> None:
        """End the stream of a finished request that was kept open."""

    def drop(self, request: int, group_start: int, group_end: int, code: int) -> None:
        """Tell that groups, both ends inclusive, will not come."""

    def open_group(self, request: int, sequence: int, *, frame_start: int = 0) -> int:
        """Begin a group for a served subscription; returns its id (also the stream's)."""

    def write_frame(self, group: int, frame: Frame) -> None:
        """Append a frame. Encoded headers are kept in `frame.headers` for other sessions."""

    def finish_group(self, group: int) -> None:
        """End a group: it is whole."""

    def reset_group(self, group: int, code: int) -> None:
        """Give a group up."""

    def send_datagram(self, request: int, sequence: int, frame: Frame) -> bool:
        """Send a group of one frame unreliably; False when the version or size forbids it."""

    # Out

    def events(self) -> list[Event]:
        """Drain what happened, oldest first."""

    def actions(self) -> list[Action]:
        """Drain what the transport must do, in order."""
