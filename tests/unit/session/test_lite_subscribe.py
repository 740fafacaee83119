"""Subscriptions in moq-lite, both ways."""

import pytest
from tests.unit.session.pair import Pair
from tests.unit.session.wired import ALL, OLD, SETUPS, Wired

from moqvox.errors import LocalError, RemoteError, SessionCode, StreamCode
from moqvox.frame import Frame, Subscription, TrackInfo
from moqvox.session.actions import OpenStream, Prioritise, Reset, Stop, Write
from moqvox.session.events import (
    FrameReceived,
    GroupFinished,
    GroupOpened,
    GroupReset,
    GroupsDropped,
    RequestCancelled,
    RequestFailed,
    SetupReceived,
    Subscribed,
    SubscribeRequested,
    SubscribeUpdated,
    SubscriptionEnded,
    TrackInfoReceived,
    TrackInfoRequested,
)
from moqvox.wire.lite.message import encode
from moqvox.wire.lite.messages import (
    Subscribe,
    SubscribeDrop,
    SubscribeEnd,
    SubscribeStart,
    SubscribeUpdate,
    Track,
    encode_reply,
)
from moqvox.wire.version import lite_version

V6 = lite_version("moq-lite-06")
WISHES = Subscription(200, ordered=True, max_age_ms=20_000, group_start=3, group_end=9)


class Subscribing:
    """A pair whose client has subscribed to `room/a`, track `audio`."""

    def __init__(self, alpn: str, wishes: Subscription = WISHES, *, accept: bool = True) -> None:
        self.pair = Pair(alpn)
        for end in self.pair.ends:
            end.take(SetupReceived)
        self.client, self.server = self.pair.client, self.pair.server
        self.request = self.client.session.subscribe("room/a", "audio", wishes)
        self.pair.settle()
        self.asked = self.server.one(SubscribeRequested)
        self.served = self.asked.request
        if accept:
            self.server.session.accept(self.served, TrackInfo(7, max_age_ms=5), 3)
            self.pair.settle()
            self.accepted = self.client.one(Subscribed)

    def send_group(self, sequence: int, *payloads: bytes) -> int:
        session = self.server.session
        group = session.open_group(self.served, sequence)
        for n, payload in enumerate(payloads):
            session.write_frame(group, Frame(payload, 1000 * n))
        session.finish_group(group)
        return group


@pytest.mark.parametrize("alpn", ALL)
def test_a_subscription_arrives_as_it_was_wished(alpn):
    asked = Subscribing(alpn).asked
    assert (asked.broadcast, asked.track) == ("room/a", "audio")
    assert asked.subscription == WISHES


@pytest.mark.parametrize("alpn", ALL)
def test_the_acceptance_tells_what_the_version_can(alpn):
    accepted = Subscribing(alpn).accepted
    told = None if alpn in SETUPS else TrackInfo(7, max_age_ms=5)
    assert (accepted.info, accepted.group_start) == (told, 3)


@pytest.mark.parametrize("alpn", SETUPS)
def test_without_a_group_yet_the_first_one_tells_the_start(alpn):
    it = Subscribing(alpn, accept=False)
    it.server.session.accept(it.served, TrackInfo(), None)
    it.pair.settle()
    assert it.client.events == []
    it.send_group(12, b"x")
    it.pair.settle()
    assert it.client.events[0] == Subscribed(it.request, None, 12)


@pytest.mark.parametrize("alpn", OLD)
def test_without_a_group_yet_the_start_is_left_open(alpn):
    it = Subscribing(alpn, accept=False)
    it.server.session.accept(it.served, TrackInfo(), None)
    it.pair.settle()
    assert it.client.one(Subscribed).group_start is None


@pytest.mark.parametrize("alpn", ALL)
def test_groups_arrive_whole_and_in_order_of_their_frames(alpn):
    it = Subscribing(alpn)
    it.send_group(3, b"one", b"", b"three")
    it.pair.settle()
    opened = it.client.one(GroupOpened)
    assert (opened.request, opened.sequence, opened.frame_start) == (it.request, 3, 0)
    frames = [event.frame for event in it.client.take(FrameReceived)]
    assert [frame.payload for frame in frames] == [b"one", b"", b"three"]
    stamped = [0, 1000, 2000] if V6.timestamps and alpn in SETUPS else [None] * 3
    assert [frame.timestamp for frame in frames] == stamped
    assert it.client.one(GroupFinished) == GroupFinished(opened.group)


@pytest.mark.parametrize("alpn", ALL)
def test_new_wishes_reach_the_publisher_whole(alpn):
    it = Subscribing(alpn)
    changed = Subscription(1, max_age_ms=50, group_end=4)
    it.client.session.update(it.request, changed)
    it.pair.settle()
    assert it.server.one(SubscribeUpdated) == SubscribeUpdated(it.served, changed)


@pytest.mark.parametrize("alpn", ["moq-lite-06"])
def test_the_order_of_groups_follows_from_the_age_where_no_byte_tells_it(alpn):
    wishes = Subscription(max_age_ms=60_000, ordered=False)
    assert Subscribing(alpn, wishes).asked.subscription.ordered
    wishes = Subscription(max_age_ms=500, ordered=True)
    assert not Subscribing(alpn, wishes).asked.subscription.ordered


@pytest.mark.parametrize("alpn", ALL)
def test_new_wishes_move_the_groups_that_are_being_sent(alpn):
    it = Subscribing(alpn)
    one, two = (it.server.session.open_group(it.served, n) for n in (3, 4))
    it.pair.settle()
    assert it.server.priorities[one] < it.server.priorities[two]
    before = it.server.priorities[one]
    it.client.session.update(it.request, Subscription(1, ordered=False))
    it.pair.settle()
    assert before < it.server.priorities[two] < it.server.priorities[one]


@pytest.mark.parametrize("alpn", SETUPS)
def test_the_end_of_a_track_is_told_with_its_bound(alpn):
    it = Subscribing(alpn)
    it.send_group(8, b"last")
    it.server.session.finish(it.served, 9)
    it.pair.settle()
    assert it.client.one(SubscriptionEnded) == SubscriptionEnded(it.request, 9)
    assert it.client.one(GroupFinished)
    assert it.client.take(RequestFailed) == it.server.take(RequestCancelled) == []


@pytest.mark.parametrize("alpn", OLD)
def test_the_end_of_a_track_is_told_without_bound_in_old_versions(alpn):
    it = Subscribing(alpn)
    it.server.session.finish(it.served, 9)
    it.pair.settle()
    assert it.client.one(SubscriptionEnded) == SubscriptionEnded(it.request, None)


@pytest.mark.parametrize("alpn", OLD)
def test_in_old_versions_a_publisher_that_leaves_after_whole_groups_has_ended_the_track(alpn):
    case = Subscribing(alpn)
    case.send_group(3, b"one")
    case.pair.settle()
    case.server.session.reject(case.served, StreamCode.CANCELLED)
    case.pair.settle()
    assert case.client.one(SubscriptionEnded).group_end is None


@pytest.mark.parametrize("alpn", OLD)
def test_in_old_versions_a_publisher_that_gives_a_group_up_has_not_ended_the_track(alpn):
    case = Subscribing(alpn)
    group = case.server.session.open_group(case.served, 3)
    case.server.session.write_frame(group, Frame(b"one", 0))
    case.pair.settle()
    case.server.session.reject(case.served, StreamCode.CANCELLED)
    case.pair.settle()
    assert case.client.one(RequestFailed).code == StreamCode.CANCELLED


@pytest.mark.parametrize("alpn", ALL)
def test_the_stream_ends_when_the_last_group_has(alpn):
    it = Subscribing(alpn)
    group = it.server.session.open_group(it.served, 8)
    it.server.session.finish(it.served, 9)
    last = it.server.session.open_group(it.served, 7)
    it.server.session.finish_group(group)
    actions = it.server.session.actions()
    assert not any(a.fin for a in actions if isinstance(a, Write) and a.stream == it.served)
    it.server.session.reset_group(last, StreamCode.TOO_FAR_BEHIND)
    (fin,) = [a for a in it.server.session.actions() if isinstance(a, Write)]
    assert (fin.stream, fin.fin) == (it.served, True)


def test_an_end_without_its_message_is_taken_for_one():
    wired = Wired()
    request = wired.session.subscribe("a", "t", Subscription())
    wired.send(request, encode_reply(SubscribeStart(4), V6), fin=True)
    assert wired.events() == [Subscribed(request, None, 4), SubscriptionEnded(request, None)]
    assert wired.actions()[-1] == Write(request, b"", fin=True)


def test_an_end_in_an_old_versions_ok_is_told_once():
    wired = Wired("moq-lite-03")
    request = wired.session.subscribe("a", "t", Subscription())
    ok = bytes.fromhex("00 05 80 00 00 05 00"), bytes.fromhex("00 05 80 00 00 05 0a")
    wired.send(request, ok[0] + ok[1], fin=True)
    assert wired.events() == [
        Subscribed(request, TrackInfo(), 4),
        SubscriptionEnded(request, 10),
    ]


def test_groups_that_arrive_behind_the_end_are_taken():
    wired = Wired()
    request = wired.session.subscribe("a", "t", Subscription())
    wired.send(request, encode_reply(SubscribeEnd(9), V6), fin=True)
    group = wired.open(bytes.fromhex("00 03 00 08 00 02 01 61"), bidirectional=False, fin=True)
    assert wired.events() == [
        SubscriptionEnded(request, 9),
        GroupOpened(request, group, 8),
        FrameReceived(group, Frame(b"a", 1)),
        GroupFinished(group),
    ]
    wired.session.cancel(request)
    wired.actions()
    late = wired.open(bytes.fromhex("00 03 00 07 00 02 01 61"), bidirectional=False, fin=True)
    assert wired.events() == []
    assert wired.abandoned(late) == {(Stop, StreamCode.CANCELLED)}


def test_a_publisher_that_reads_no_more_wishes_has_not_ended_what_it_sends():
    """One that has said all stops reading at once, and that overtakes groups under way."""
    wired = Wired()
    request = wired.session.subscribe("a", "t", Subscription())
    wired.send(request, encode_reply(SubscribeStart(4), V6))
    assert isinstance(wired.event(), Subscribed)
    wired.session.receive_stop(request, 0)
    assert wired.session.deadline() is None
    assert wired.events() == []
    wired.send(request, encode_reply(SubscribeEnd(5), V6), fin=True)
    assert wired.event() == SubscriptionEnded(request, 5)


def test_an_answer_may_come_behind_the_end_of_interest_in_the_question_but_must_come():
    wired = Wired()
    request = wired.session.subscribe("a", "t", Subscription())
    facts = wired.session.track_info("a", "t")
    wired.session.handle_timeout(1.0)
    for each in (request, facts):
        wired.session.receive_stop(each, 0)
    wired.send(request, encode_reply(SubscribeStart(4), V6))
    assert isinstance(wired.event(), Subscribed)
    wired.session.handle_timeout(2.0)
    wired.session.handle_timeout(wired.session.deadline())
    failed = wired.event()
    assert (failed.request, failed.code) == (facts, StreamCode.DELIVERY_TIMEOUT)


def test_only_so_many_ended_subscriptions_are_remembered():
    wired = Wired()
    for _ in range(65):
        request = wired.session.subscribe("a", "t", Subscription())
        wired.send(request, b"", fin=True)
    wired.events()
    wired.open(bytes.fromhex("00 03 00 08 00"), bidirectional=False)
    assert wired.events() == []
    wired.open(bytes.fromhex("00 03 01 08 00"), bidirectional=False)
    assert isinstance(wired.event(), GroupOpened)


@pytest.mark.parametrize("alpn", ALL)
def test_dropped_groups_are_told(alpn):
    it = Subscribing(alpn)
    it.server.session.drop(it.served, 4, 6, StreamCode.TOO_FAR_BEHIND)
    it.pair.settle()
    dropped = GroupsDropped(it.request, 4, 6, StreamCode.TOO_FAR_BEHIND)
    assert it.client.one(GroupsDropped) == dropped


def test_a_drop_that_ends_before_it_begins_breaks_the_protocol():
    wired = Wired()
    request = wired.session.subscribe("a", "t", Subscription())
    with pytest.raises(RemoteError) as caught:
        wired.send(request, encode_reply(SubscribeDrop(6, 4, 0), V6))
    assert caught.value.code == SessionCode.PROTOCOL_VIOLATION


@pytest.mark.parametrize("alpn", ALL)
def test_a_refusal_fails_the_request_under_its_code(alpn):
    it = Subscribing(alpn, accept=False)
    it.server.session.reject(it.served, StreamCode.NOT_FOUND)
    it.pair.settle()
    assert it.client.events == [RequestFailed(it.request, StreamCode.NOT_FOUND)]
    assert it.server.events == []


@pytest.mark.parametrize("alpn", ALL)
def test_giving_a_subscription_up_gives_its_groups_up(alpn):
    it = Subscribing(alpn)
    it.server.session.open_group(it.served, 3)
    it.pair.settle()
    opened = it.client.one(GroupOpened)
    it.server.session.reject(it.served, StreamCode.GOING_AWAY)
    it.pair.settle()
    assert sorted(it.client.events, key=str) == [
        GroupReset(opened.group, StreamCode.GOING_AWAY),
        RequestFailed(it.request, StreamCode.GOING_AWAY),
    ]


def test_giving_a_finished_subscription_up_resets_it_and_does_not_end_it_whole():
    it = Subscribing("moq-lite-06")
    group = it.server.session.open_group(it.served, 3)
    it.server.session.finish(it.served, 4)
    it.server.session.actions()
    it.server.session.reject(it.served, StreamCode.GOING_AWAY)
    actions = it.server.session.actions()
    assert {type(action) for action in actions} == {Reset, Stop}
    assert {action.stream for action in actions} == {it.served, group}


@pytest.mark.parametrize("alpn", ALL)
def test_a_number_may_not_be_taken_for_in_use_once_its_subscription_has_ended(alpn):
    wired = Wired(alpn)
    for end in ("finish", "reject", "reset"):
        stream = wired.ask(2, Subscribe(5, "a", "t", Subscription()))
        wired.session.accept(stream, TrackInfo(), None)
        if end == "finish":
            wired.session.finish(stream, 0)
        elif end == "reject":
            wired.session.reject(stream, 1)
        else:
            wired.session.receive_reset(stream, 1)


@pytest.mark.parametrize("alpn", ALL)
def test_unsubscribing_ends_everything_on_both_sides(alpn):
    it = Subscribing(alpn)
    group = it.server.session.open_group(it.served, 3)
    it.pair.settle()
    it.client.session.cancel(it.request)
    it.pair.settle()
    assert [type(event) for event in it.client.events] == [GroupOpened]
    assert it.server.one(RequestCancelled) == RequestCancelled(it.served, StreamCode.CANCELLED)
    it.server.session.write_frame(group, Frame(b"late", 0))
    it.server.session.finish_group(group)
    it.server.session.finish(it.served, 4)
    assert it.server.session.actions() == []
    it.pair.settle()
    assert len(it.client.session._streams) == len(it.server.session._streams) == 0


@pytest.mark.parametrize("alpn", ALL)
def test_a_subscriber_that_ends_its_side_has_unsubscribed(alpn):
    wired = Wired(alpn)
    stream = wired.ask(2, Subscribe(0, "a", "t", Subscription()))
    wired.events()
    wired.send(stream, b"", fin=True)
    assert wired.event() == RequestCancelled(stream, StreamCode.CANCELLED)


def test_a_broken_group_of_a_subscription_leaves_the_others_alone():
    it = Subscribing("moq-lite-06")
    session = it.server.session
    first, second = session.open_group(it.served, 3), session.open_group(it.served, 4)
    session.reset_group(first, StreamCode.TOO_FAR_BEHIND)
    session.write_frame(second, Frame(b"x", 5))
    session.finish_group(second)
    it.pair.settle()
    groups = {event.sequence: event.group for event in it.client.take(GroupOpened)}
    assert GroupReset(groups[3], StreamCode.TOO_FAR_BEHIND) in it.client.events
    assert GroupFinished(groups[4]) in it.client.events


def test_a_subscription_number_in_use_breaks_the_protocol():
    wired = Wired()
    wired.ask(2, Subscribe(5, "a", "t", Subscription()))
    with pytest.raises(RemoteError) as caught:
        wired.ask(2, Subscribe(5, "b", "t", Subscription()))
    assert caught.value.code == SessionCode.PROTOCOL_VIOLATION


def test_a_path_that_breaks_our_rules_is_not_found():
    wired = Wired()
    stream = wired.ask(2, Subscribe(5, "a\tb", "t", Subscription()))
    assert (Reset, StreamCode.NOT_FOUND) in wired.abandoned(stream)
    assert wired.events() == []


def test_outer_slashes_of_a_path_are_dropped():
    wired = Wired()
    wired.ask(2, Subscribe(5, "/room//a/", "t", Subscription()))
    assert wired.event().broadcast == "room/a"


def test_an_older_group_opened_late_goes_before_the_newer_in_an_ordered_track():
    it = Subscribing("moq-lite-06")
    for sequence in (3, 6, 5):
        it.server.session.open_group(it.served, sequence)
    opened = [a for a in it.server.session.actions() if isinstance(a, OpenStream)]
    third, sixth, fifth = (action.priority for action in opened)
    assert third < fifth < sixth


def test_wrong_use_of_a_subscription_is_the_callers_error():
    it = Subscribing("moq-lite-05", accept=False)
    session = it.server.session
    with pytest.raises(LocalError, match="not accepted yet"):
        session.open_group(it.served, 1)
    session.accept(it.served, TrackInfo(), 1)
    with pytest.raises(LocalError, match="accepted already"):
        session.accept(it.served, TrackInfo(), 1)
    with pytest.raises(LocalError, match="from their first frame"):
        session.open_group(it.served, 1, frame_start=2)
    session.open_group(it.served, 1)
    session.finish(it.served, 2)
    with pytest.raises(LocalError, match="ended already"):
        session.finish(it.served, 2)
    with pytest.raises(LocalError, match="0 to 255"):
        it.client.session.subscribe("a", "t", Subscription(300))
    with pytest.raises(LocalError, match="control"):
        it.client.session.subscribe("a\n", "t", Subscription())


def test_a_failed_verb_sends_nothing():
    wired = Wired()
    with pytest.raises(LocalError):
        wired.session.subscribe("a", "\ud800", Subscription())
    assert wired.actions() == []


@pytest.mark.parametrize("alpn", SETUPS)
def test_a_tracks_facts_are_asked_for_and_told(alpn):
    pair = Pair(alpn)
    request = pair.client.session.track_info("room/a", "audio")
    pair.settle()
    asked = pair.server.one(TrackInfoRequested)
    assert (asked.broadcast, asked.track) == ("room/a", "audio")
    info = TrackInfo(9, max_age_ms=7000, timescale=48_000)
    pair.server.session.accept_track(asked.request, info)
    pair.settle()
    assert pair.client.one(TrackInfoReceived) == TrackInfoReceived(request, info)
    assert len(pair.client.session._streams) == len(pair.server.session._streams) == 0


@pytest.mark.parametrize("alpn", OLD)
def test_a_tracks_facts_can_not_be_asked_for_in_old_versions(alpn):
    assert Wired(alpn).session.track_info("a", "t") is None


def test_a_track_request_can_be_refused_cancelled_and_left_unanswered():
    pair = Pair("moq-lite-06")
    for track in ("refused", "cancelled"):
        request = pair.client.session.track_info("a", track)
        pair.settle()
        asked = pair.server.one(TrackInfoRequested)
        if track == "refused":
            pair.server.session.reject(asked.request, StreamCode.NOT_FOUND)
            pair.settle()
            assert pair.client.one(RequestFailed).code == StreamCode.NOT_FOUND
        else:
            pair.client.session.cancel(request)
            pair.settle()
            assert pair.server.one(RequestCancelled).request == asked.request
    wired = Wired()
    request = wired.session.track_info("a", "t")
    wired.send(request, b"", fin=True)
    assert wired.event().request == request


def test_a_track_request_whose_asker_has_ended_its_side_is_answered_all_the_same():
    wired = Wired()
    stream = wired.ask(6, Track("a", "t"))
    wired.send(stream, b"", fin=True)
    wired.session.accept_track(stream, TrackInfo(1, max_age_ms=2, timescale=3))
    assert wired.written(stream) == bytes.fromhex("03 01 02 03")
    assert wired.event().request == stream


def test_priorities_are_moved_only_for_groups_that_are_open():
    wired = Wired()
    stream = wired.ask(2, Subscribe(0, "a", "t", Subscription()))
    wired.session.accept(stream, TrackInfo(), 0)
    wired.session.finish_group(wired.session.open_group(stream, 0))
    open_one = wired.session.open_group(stream, 1)
    wired.actions()
    wired.send(stream, encode(SubscribeUpdate(Subscription(9)), V6))
    assert [action.stream for action in wired.actions() if isinstance(action, Prioritise)] == [
        open_one
    ]
