"""Our session takes the place of either side of moq-rs's sessions.

It must write what the replaced side wrote, byte for byte, and report what the other did.
"""

import pytest
from tests.golden import capture
from tests.golden.replay import Replay
from tests.golden.streams import take_opener, take_replies
from tests.golden.test_lite_captures import parameters

from moqvox.errors import StreamCode
from moqvox.frame import Frame, Subscription, TrackInfo
from moqvox.session.events import (
    Announced,
    DatagramReceived,
    FetchRequested,
    FrameReceived,
    GroupFinished,
    GroupOpened,
    ProbeReceived,
    ProbeRequested,
    RequestFailed,
    SetupReceived,
    Subscribed,
    SubscribeRequested,
    SubscriptionEnded,
    TrackInfoReceived,
    TrackInfoRequested,
    Unannounced,
    WatchReady,
    WatchRequested,
)

CASES = [(name, client) for name in capture.names() for client in (True, False)]


def replay(name: str, *, client: bool) -> Replay:
    return Replay(capture.read(name), client=client).run()


@pytest.mark.parametrize(("name", "client"), CASES)
def test_the_session_writes_what_the_replaced_side_wrote(name, client):
    replayed = replay(name, client=client)
    for stream, expected in replayed.expected.items():
        written = replayed.written[replayed.streams[stream]]
        if stream % 4 >= 2 and expected[:1] == b"\x01":
            assert parameters(written) == parameters(expected)
        else:
            assert written == expected
    assert all(ours == theirs for theirs, ours in replayed.datagrams)


@pytest.mark.parametrize(("name", "client"), CASES)
def test_the_session_reports_every_frame_that_the_other_side_sent(name, client):
    replayed = replay(name, client=client)
    sent = []
    for stream, data in replayed.peers_bytes().items():
        bidirectional = stream % 4 < 2
        if bidirectional and (stream % 2 == 0) == client:
            kind = replayed._kinds[stream]
            messages = take_replies(replayed.version, kind, data).messages
        else:
            messages = take_opener(replayed.version, data, bidirectional=bidirectional).messages
        sent += [message for message in messages if isinstance(message, Frame)]
    received = [event.frame for event in replayed.events if isinstance(event, FrameReceived)]
    assert received == sent


def group(request: int, name: int, sequence: int, *frames: tuple[bytes, int | None]) -> list:
    """List the events of one whole group of a subscription."""
    return [
        GroupOpened(request, name, sequence),
        *(FrameReceived(name, Frame(payload, timestamp)) for payload, timestamp in frames),
        GroupFinished(name),
    ]


def told(name: str, *, client: bool) -> list:
    """List what the session reported, without the estimates of bandwidth."""
    events = replay(name, client=client).events
    return [event for event in events if not isinstance(event, ProbeReceived | ProbeRequested)]


def test_a_subscriber_of_version_06_sees_the_session_as_it_went():
    publisher, relay = 0xB9A85A01DE308, 0x1433CBDA858EB8
    assert told("fin-moq-lite-06.subwire", client=True) == [
        Announced(2, "r/x", (publisher, relay), cost=1),
        WatchReady(2),
        SetupReceived(origin=relay),
        WatchRequested(3, "", exclude_hop=relay),
        TrackInfoReceived(7, TrackInfo(9, max_age_ms=7000, timescale=48_000)),
        DatagramReceived(8, 6, Frame(b"DGRAM", 288_000)),
        Subscribed(8, None, 2),
        *group(8, 10, 2, (b"AAAA", 96_000), (b"BB", 95_040)),
        *group(8, 11, 3, (b"AAAA", 144_000), (b"BB", 143_040)),
        *group(8, 12, 4, (b"AAAA", 192_000), (b"BB", 191_040)),
        *group(8, 13, 5, (b"AAAA", 240_000), (b"BB", 239_040)),
        GroupOpened(9, 9, 1, priority=0),
        FrameReceived(9, Frame(b"AAAA", 48_000)),
        FrameReceived(9, Frame(b"BB", 47_040)),
        GroupFinished(9),
        RequestFailed(14, StreamCode.NOT_FOUND),
        DatagramReceived(8, 7, Frame(b"DGRM2", 336_000)),
        *group(8, 15, 8, (b"last", 384_000)),
        SubscriptionEnded(8, 9),
        Unannounced(2, "r/x"),
    ]


def test_a_publisher_of_version_05_sees_the_session_as_it_went():
    relay = 0x1FF3F992D48FA3
    assert told("fin-moq-lite-05.pubwire", client=True) == [
        WatchReady(2),
        WatchRequested(3, "", exclude_hop=relay),
        SetupReceived(origin=relay),
        TrackInfoRequested(7, "r/x", "t"),
        TrackInfoRequested(8, "r/x", "t"),
        SubscribeRequested(9, "r/x", "t", Subscription(33, max_age_ms=2500)),
        FetchRequested(10, "r/x", "t", 0, 1, 1),
        TrackInfoRequested(12, "r/x", "nope"),
    ]


def test_a_publisher_of_version_06_is_asked_for_history_by_age():
    (asked,) = [
        event
        for event in told("fin-moq-lite-06.pubwire", client=True)
        if isinstance(event, SubscribeRequested)
    ]
    assert asked.subscription == Subscription(33, max_age_ms=2500)


def test_a_relay_of_version_04_sees_the_session_as_it_went():
    publisher = 0x1B858F65722876
    payloads = [[b"g%df%d" % (sequence, n) for n in (0, 1)] for sequence in range(19, 24)]
    groups = [
        group(5, 6 + n, 19 + n, *((payload, None) for payload in pair))
        for n, pair in enumerate(payloads)
    ]
    assert told("moq-lite-04.pubwire", client=False) == [
        WatchRequested(1, "", exclude_hop=publisher),
        Announced(3, "room/alice", (publisher,)),
        Subscribed(5, TrackInfo(0), None),
        *(event for events in groups for event in events),
    ]


def test_a_subscriber_of_version_03_is_told_only_how_many_hops_there_are():
    assert told("moq-lite-03.subwire", client=True)[:3] == [
        Announced(1, "room/alice", (0, 0, 0)),
        WatchRequested(3, ""),
        Subscribed(5, TrackInfo(0), None),
    ]


def test_a_server_learns_the_path_that_it_refuses():
    origin = 0x1930005E09D0A
    assert told("reject-lite06.wire", client=False) == [
        SetupReceived("/secret", origin=origin),
        WatchRequested(2, "", exclude_hop=origin),
    ]
