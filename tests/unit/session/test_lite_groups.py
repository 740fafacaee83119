"""Groups on their streams in moq-lite: headers shared, broken ones given up, bounds kept."""

import pytest
from tests.unit.session.wired import ALL, OLD, Wired

from moqvox.errors import LocalError, RemoteError, SessionCode, StreamCode
from moqvox.frame import Frame, Subscription, TrackInfo
from moqvox.session.actions import Reset, Stop, Write
from moqvox.session.events import (
    FrameReceived,
    GroupFinished,
    GroupOpened,
    GroupReset,
    GroupStopped,
)
from moqvox.session.interface import Limits
from moqvox.wire.lite.messages import Subscribe
from moqvox.wire.varint import encode_varint

HEADER = bytes.fromhex("00 03 00 05 00")
"""Group 5 of subscription 0, in version 06."""


def subscribed(**options) -> tuple[Wired, int]:
    wired = Wired(**options)
    request = wired.session.subscribe("a", "t", Subscription())
    wired.actions()
    return wired, request


def served(alpn: str = "moq-lite-06", **options) -> tuple[Wired, int]:
    wired = Wired(alpn, **options)
    stream = wired.ask(2, Subscribe(0, "a", "t", Subscription()))
    wired.session.accept(stream, TrackInfo(), 0)
    wired.events()
    wired.actions()
    return wired, stream


@pytest.mark.parametrize("alpn", ALL)
def test_a_frame_is_encoded_once_for_all_its_subscribers(alpn):
    frames = [Frame(b"one", 10), Frame(b"two", 30)]
    written = []
    for _ in range(3):
        wired, stream = served(alpn)
        group = wired.session.open_group(stream, 0)
        wired.actions()
        for frame in frames:
            wired.session.write_frame(group, frame)
        written.append(wired.written(group))
    assert len(set(written)) == 1
    assert [len(frame.headers) for frame in frames] == [1, 1]


def test_versions_that_encode_frames_alike_share_their_headers():
    frame = Frame(b"one", 10)
    for alpn in ALL:
        wired, stream = served(alpn)
        wired.session.write_frame(wired.session.open_group(stream, 0), frame)
    assert len(frame.headers) == 2


def test_a_reader_that_joins_inside_a_group_has_headers_of_its_own():
    frames = [Frame(b"one", 10), Frame(b"two", 30)]
    wired, stream = served()
    whole, part = wired.session.open_group(stream, 0), wired.session.open_group(stream, 1)
    wired.actions()
    for frame in frames:
        wired.session.write_frame(whole, frame)
    wired.session.write_frame(part, frames[1])
    assert wired.written(part) == bytes.fromhex("3c 03") + b"two"
    assert len(frames[1].headers) == 2


def test_a_large_payload_is_not_copied():
    wired, stream = served()
    group = wired.session.open_group(stream, 0)
    wired.actions()
    frame = Frame(b"x" * 100_000, 1)
    wired.session.write_frame(group, frame)
    header, payload = wired.actions()
    assert header == Write(group, bytes.fromhex("02 800186a0"))
    assert payload.data is frame.payload


def test_a_frame_without_timestamp_is_refused_where_it_needs_one():
    wired, stream = served()
    group = wired.session.open_group(stream, 0)
    with pytest.raises(LocalError, match="without timestamp"):
        wired.session.write_frame(group, Frame(b"x"))


@pytest.mark.parametrize("alpn", OLD)
def test_timestamps_are_left_out_where_there_are_none(alpn):
    wired, stream = served(alpn)
    group = wired.session.open_group(stream, 0)
    wired.actions()
    wired.session.write_frame(group, Frame(b"x"))
    wired.session.write_frame(group, Frame(b"y", 7))
    assert wired.written(group) == b"\x01x\x01y"
    assert not wired.session.has_timestamps


def test_a_frame_over_the_limit_is_refused():
    wired, stream = served(limits=Limits(max_frame_bytes=10))
    group = wired.session.open_group(stream, 0)
    with pytest.raises(LocalError, match="11 bytes, 10 are allowed"):
        wired.session.write_frame(group, Frame(b"x" * 11, 1))


def test_a_stopped_group_is_reset_and_reported():
    wired, stream = served()
    group = wired.session.open_group(stream, 0)
    wired.session.receive_stop(group, StreamCode.CANCELLED)
    assert wired.event() == GroupStopped(group, StreamCode.CANCELLED)
    assert wired.abandoned(group) == {(Reset, StreamCode.CANCELLED)}
    wired.session.write_frame(group, Frame(b"x", 1))
    wired.session.finish_group(group)
    wired.session.reset_group(group, 1)
    assert wired.actions() == []


def test_a_group_of_an_unknown_subscription_is_stopped_and_harms_nobody():
    wired = Wired()
    group = wired.open(HEADER + b"\x02\x01a", bidirectional=False)
    assert wired.abandoned(group) == {(Stop, StreamCode.CANCELLED)}
    wired.send(group, b"\x02\x01b", fin=True)
    assert wired.events() == wired.actions() == []


def test_a_group_we_stop_reports_nothing_more():
    wired, _request = subscribed()
    group = wired.open(HEADER + b"\x02\x01a\x02\x05", bidirectional=False)
    wired.events()
    wired.session.stop_group(group, StreamCode.TOO_FAR_BEHIND)
    assert wired.abandoned(group) == {(Stop, StreamCode.TOO_FAR_BEHIND)}
    wired.send(group, b"abcde", fin=True)
    wired.session.receive_reset(group, 1)
    assert wired.events() == []
    assert wired.session.buffered_bytes == 0


def test_a_group_that_ends_inside_a_frame_is_reset():
    wired, request = subscribed()
    group = wired.open(HEADER + b"\x02\x01a\x02\x05b", bidirectional=False, fin=True)
    assert wired.events() == [
        GroupOpened(request, group, 5),
        FrameReceived(group, Frame(b"a", 1)),
        GroupReset(group, StreamCode.MALFORMED_TRACK),
    ]


def test_a_frame_that_announces_too_much_resets_its_group():
    wired, _request = subscribed(limits=Limits(max_frame_bytes=100))
    group = wired.open(HEADER + b"\x02\x01a\x02" + encode_varint(101), bidirectional=False)
    assert wired.events()[2:] == [GroupReset(group, StreamCode.EXCESSIVE_LOAD)]
    assert wired.abandoned(group) == {(Stop, StreamCode.EXCESSIVE_LOAD)}


def test_the_peers_reset_is_reported_behind_the_frames_that_came():
    wired, _request = subscribed(webtransport=False)
    group = wired.open(HEADER + b"\x02\x01a\x02", bidirectional=False)
    wired.session.receive_reset(group, 91141958510812)
    assert wired.events()[1:] == [
        FrameReceived(group, Frame(b"a", 1)),
        GroupReset(group, StreamCode.CANCELLED),
    ]


def test_an_empty_group_is_a_group():
    wired, request = subscribed()
    group = wired.open(HEADER, bidirectional=False, fin=True)
    assert wired.events() == [GroupOpened(request, group, 5), GroupFinished(group)]


def test_unfinished_frames_of_one_session_are_bounded_together():
    wired, _request = subscribed(limits=Limits(max_frame_bytes=1000))
    part = HEADER + b"\x02" + encode_varint(1000) + b"x" * 900
    groups = [wired.open(part, bidirectional=False) for _ in range(5)]
    refused = [event for event in wired.events() if isinstance(event, GroupReset)]
    assert refused == [GroupReset(groups[4], StreamCode.EXCESSIVE_LOAD)]
    assert wired.session.buffered_bytes <= 4000
    wired.session.stop_group(groups[0], 1)
    wired.open(part, bidirectional=False)
    assert not any(isinstance(event, GroupReset) for event in wired.events())


def test_groups_that_come_in_at_once_are_bounded():
    wired, _request = subscribed(limits=Limits(max_requests=2))
    groups = [wired.open(HEADER, bidirectional=False) for _ in range(9)]
    opened = [event.group for event in wired.events() if isinstance(event, GroupOpened)]
    assert opened == groups[:8]
    assert wired.abandoned(groups[8]) == {(Stop, StreamCode.EXCESSIVE_LOAD)}
    wired.send(groups[0], b"", fin=True)
    wired.open(HEADER, bidirectional=False)
    assert any(isinstance(event, GroupOpened) for event in wired.events())


def test_a_group_header_that_is_too_long_or_too_short_breaks_the_protocol():
    for header in ("00 04 00 05 00 00", "00 02 00 05"):
        wired, _ = subscribed()
        with pytest.raises(RemoteError) as caught:
            wired.open(bytes.fromhex(header), bidirectional=False)
        assert caught.value.code == SessionCode.PROTOCOL_VIOLATION


def test_a_group_header_that_announces_too_much_stops_the_stream():
    wired, _ = subscribed(limits=Limits(max_message_bytes=100))
    stream = wired.open(b"\x00" + encode_varint(101), bidirectional=False)
    assert wired.abandoned(stream) == {(Stop, StreamCode.EXCESSIVE_LOAD)}


def test_a_stream_that_ends_inside_its_header_is_passed_over():
    wired, _ = subscribed()
    for data in (b"", b"\x00", b"\x00\x03\x00"):
        wired.open(data, bidirectional=False, fin=True)
    assert wired.events() == []
    assert len(wired.session._streams) == 1


def test_a_header_that_came_in_parts_is_waited_for_no_longer():
    wired, request = subscribed()
    group = wired.open(b"\x00\x03\x00", bidirectional=False)
    wired.session.handle_timeout(5.0)
    assert wired.session.deadline() == 15.0
    wired.send(group, b"\x05\x00\x02\x01a\x02")
    assert wired.session.deadline() is None
    assert wired.events()[0] == GroupOpened(request, group, 5)


def test_a_verb_on_a_group_of_an_ended_subscription_does_nothing():
    wired, stream = served()
    wired.session.reject(stream, StreamCode.GOING_AWAY)
    wired.actions()
    group = wired.session.open_group(stream, 7)
    wired.session.write_frame(group, Frame(b"x", 1))
    wired.session.finish_group(group)
    assert wired.actions() == []
