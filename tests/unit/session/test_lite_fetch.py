"""Fetches and datagrams in moq-lite, both ways."""

import pytest
from tests.unit.session.pair import Pair
from tests.unit.session.wired import ALL, OLD, SETUPS, Wired

from moqvox.errors import LocalError, RemoteError, SessionCode, StreamCode
from moqvox.frame import Frame, Subscription, TrackInfo
from moqvox.session.actions import OpenStream, Prioritise, Reset, SendDatagram, Stop, Write
from moqvox.session.events import (
    DatagramReceived,
    FetchRequested,
    FrameReceived,
    GroupFinished,
    GroupOpened,
    GroupReset,
    GroupStopped,
    RequestCancelled,
    RequestFailed,
    SubscribeRequested,
)
from moqvox.session.priority import group_priority
from moqvox.wire.lite.message import encode
from moqvox.wire.lite.messages import Fetch
from moqvox.wire.version import lite_version

V6 = lite_version("moq-lite-06")


def fetching(alpn: str, **options) -> tuple[Pair, int, FetchRequested]:
    pair = Pair(alpn)
    for end in pair.ends:
        end.events.clear()
    request = pair.client.session.fetch("room/a", "audio", group=4, priority=9, **options)
    pair.settle()
    return pair, request, pair.server.one(FetchRequested)


@pytest.mark.parametrize("alpn", ALL)
def test_a_past_group_comes_on_the_stream_that_asked_for_it(alpn):
    pair, request, asked = fetching(alpn)
    assert (asked.broadcast, asked.track, asked.priority) == ("room/a", "audio", 9)
    assert (asked.group_start, asked.group_end, asked.frame_end) == (4, 4, None)
    group = pair.server.session.accept_fetch(asked.request, TrackInfo())
    for at in (5, 3):
        pair.server.session.write_frame(group, Frame(b"x" * 5000, at))
    pair.server.session.finish_group(group)
    pair.settle()
    stamps = (5, 3) if alpn in SETUPS else (None, None)
    assert pair.client.events == [
        GroupOpened(request, request, 4, priority=9),
        *(FrameReceived(request, Frame(b"x" * 5000, at)) for at in stamps),
        GroupFinished(request),
    ]
    assert len(pair.client.session._streams) == len(pair.server.session._streams) == 0


def test_a_range_of_frames_is_asked_for_where_the_version_can():
    pair, request, asked = fetching("moq-lite-06", frame_start=2, frame_end=5)
    assert (asked.frame_start, asked.frame_end) == (2, 5)
    group = pair.server.session.accept_fetch(asked.request, TrackInfo())
    pair.server.session.finish_group(group)
    pair.settle()
    assert pair.client.one(GroupOpened) == GroupOpened(request, request, 4, 2, 9)


@pytest.mark.parametrize("alpn", ["moq-lite-05", *OLD])
def test_a_range_of_frames_is_widened_to_the_group_where_it_can_not(alpn):
    pair, _request, asked = fetching(alpn, frame_start=2, frame_end=5)
    assert (asked.frame_start, asked.frame_end) == (0, None)
    group = pair.server.session.accept_fetch(asked.request, TrackInfo())
    pair.server.session.finish_group(group)
    pair.settle()
    assert pair.client.one(GroupOpened).frame_start == 0


@pytest.mark.parametrize("alpn", ALL)
def test_a_refused_fetch_fails_under_its_code(alpn):
    pair, request, asked = fetching(alpn)
    pair.server.session.reject(asked.request, StreamCode.NOT_FOUND)
    pair.settle()
    assert pair.client.events == [RequestFailed(request, StreamCode.NOT_FOUND)]
    assert pair.server.events == []


def test_a_fetch_that_breaks_off_loses_its_group():
    pair, request, asked = fetching("moq-lite-06")
    group = pair.server.session.accept_fetch(asked.request, TrackInfo())
    pair.server.session.write_frame(group, Frame(b"x", 1))
    pair.server.session.reset_group(group, StreamCode.TOO_FAR_BEHIND)
    pair.settle()
    assert pair.client.events[-1] == GroupReset(request, StreamCode.TOO_FAR_BEHIND)


def test_a_cancelled_fetch_is_told_to_who_serves_it():
    pair, request, asked = fetching("moq-lite-06")
    pair.client.session.cancel(request)
    pair.settle()
    assert pair.server.events == [RequestCancelled(asked.request, StreamCode.CANCELLED)]
    pair.server.session.accept_fetch(asked.request, TrackInfo())
    pair.server.session.write_frame(asked.request, Frame(b"x", 1))
    pair.settle()
    assert pair.client.events == []


def test_a_peer_that_stops_a_fetched_group_has_stopped_the_group():
    wired = Wired()
    stream = wired.ask(3, Fetch("a", "t", 1, 4))
    wired.events()
    wired.session.accept_fetch(stream, TrackInfo())
    wired.session.receive_stop(stream, StreamCode.CANCELLED)
    assert wired.event() == GroupStopped(stream, StreamCode.CANCELLED)
    wired.session.write_frame(stream, Frame(b"x", 1))
    assert wired.written(stream) == b""


def test_a_stopped_group_of_our_fetch_ends_the_request():
    wired = Wired()
    request = wired.session.fetch("a", "t", group=4)
    wired.send(request, bytes.fromhex("02 01 61"))
    wired.events()
    wired.actions()
    wired.session.stop_group(request, StreamCode.CANCELLED)
    code = StreamCode.CANCELLED
    assert wired.abandoned(request) == {(Stop, code), (Reset, code)}
    wired.send(request, bytes.fromhex("02 01 62"))
    assert wired.events() == []


def test_an_asker_that_has_ended_its_side_is_answered_all_the_same():
    wired = Wired()
    stream = wired.ask(3, Fetch("a", "t", 1, 4))
    wired.send(stream, b"", fin=True)
    wired.session.accept_fetch(stream, TrackInfo())
    wired.session.write_frame(stream, Frame(b"x", 1))
    wired.session.finish_group(stream)
    assert wired.written(stream) == bytes.fromhex("02 01 78")


def test_a_fetch_is_sent_behind_all_live_groups():
    wired = Wired()
    stream = wired.ask(3, Fetch("a", "t", 255, 4))
    wired.session.accept_fetch(stream, TrackInfo())
    (moved,) = [a for a in wired.actions() if isinstance(a, Prioritise)]
    assert moved.priority > group_priority(0, 0, ordered=False, place=0)
    with pytest.raises(LocalError, match="accepted already"):
        wired.session.accept_fetch(stream, TrackInfo())


def test_a_second_message_on_a_fetch_stream_breaks_the_protocol():
    wired = Wired()
    stream = wired.ask(3, Fetch("a", "t", 1, 4))
    with pytest.raises(RemoteError) as caught:
        wired.send(stream, encode(Fetch("a", "t", 1, 5), V6))
    assert caught.value.code == SessionCode.PROTOCOL_VIOLATION


def serving(alpn: str) -> tuple[Pair, int, int]:
    pair = Pair(alpn)
    for end in pair.ends:
        end.events.clear()
    request = pair.client.session.subscribe("a", "t", Subscription())
    pair.settle()
    served = pair.server.one(SubscribeRequested).request
    pair.server.session.accept(served, TrackInfo(), 0)
    pair.settle()
    pair.client.events.clear()
    return pair, request, served


@pytest.mark.parametrize("alpn", SETUPS)
def test_a_small_group_can_travel_as_a_datagram(alpn):
    pair, request, served = serving(alpn)
    assert pair.server.session.send_datagram(served, 6, Frame(b"DGRAM", 288_000))
    pair.settle()
    assert pair.client.events == [DatagramReceived(request, 6, Frame(b"DGRAM", 288_000))]


@pytest.mark.parametrize("alpn", OLD)
def test_old_versions_have_no_datagrams(alpn):
    pair, _, served = serving(alpn)
    assert not pair.server.session.send_datagram(served, 6, Frame(b"x", 0))
    pair.client.session.receive_datagram(bytes.fromhex("00 06 00 78"))
    pair.settle()
    assert pair.client.events == []


def test_a_datagram_holds_1200_bytes_and_no_more():
    pair, _, served = serving("moq-lite-06")
    assert pair.server.session.send_datagram(served, 6, Frame(b"x" * 1197, 0))
    (sent,) = pair.server.session.actions()
    assert isinstance(sent, SendDatagram)
    assert len(sent.data) == 1200
    assert not pair.server.session.send_datagram(served, 6, Frame(b"x" * 1198, 0))
    assert pair.server.session.actions() == []


@pytest.mark.parametrize(
    "data", [b"", b"\x00", b"\x00\x06\x80", b"\x05\x06\x00x", b"\x00\x06\x00" + b"x" * 1198]
)
def test_a_datagram_that_can_not_be_used_is_dropped(data):
    pair, _, _ = serving("moq-lite-06")
    pair.client.session.receive_datagram(data)
    assert pair.client.session.events() == []


def test_a_datagram_needs_a_timestamp_and_a_live_subscription():
    pair, _, served = serving("moq-lite-06")
    with pytest.raises(LocalError, match="timestamp"):
        pair.server.session.send_datagram(served, 6, Frame(b"x"))
    pair.server.session.reject(served, StreamCode.GOING_AWAY)
    assert not pair.server.session.send_datagram(served, 6, Frame(b"x", 0))


def test_a_group_is_opened_once_and_before_what_is_written_to_it():
    pair, _, served = serving("moq-lite-06")
    group = pair.server.session.open_group(served, 1, frame_start=3)
    pair.server.session.write_frame(group, Frame(b"x", 1))
    pair.server.session.finish_group(group)
    opened, header, frame = pair.server.session.actions()
    assert isinstance(opened, OpenStream)
    assert header == Write(group, bytes.fromhex("00 03 00 01 03"))
    assert frame == Write(group, bytes.fromhex("02 01 78"), fin=True)
