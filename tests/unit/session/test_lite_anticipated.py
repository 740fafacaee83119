"""Subscriptions served before they are asked for, and the groups that wait for them."""

import pytest
from tests.unit.session.pair import Pair
from tests.unit.session.wired import ALL, Wired

from moqvox.errors import LocalError, StreamCode
from moqvox.frame import Frame, Subscription, TrackInfo
from moqvox.session.actions import OpenStream, Reset, Stop, Write
from moqvox.session.events import (
    FrameReceived,
    GroupFinished,
    GroupOpened,
    GroupReset,
    GroupsDropped,
    RequestCancelled,
    Subscribed,
    SubscribeRequested,
    SubscribeUpdated,
    SubscriptionEnded,
)
from moqvox.session.interface import AGREED
from moqvox.session.lite.anticipated import MAX_ANTICIPATED, MAX_REPLIES, WAIT_SECONDS
from moqvox.session.lite.parked import MAX_PARKED, MAX_PARKED_BYTES, PARKED_SECONDS
from moqvox.wire.lite.message import encode
from moqvox.wire.lite.messages import Subscribe
from moqvox.wire.lite.streams import GroupHeader
from moqvox.wire.varint import encode_varint

NUMBER = AGREED[7]
INFO = TrackInfo(80, ordered=True, max_age_ms=1000)
WISHES = Subscription(80, ordered=True, max_age_ms=1000)


class Speaking:
    """A client that has sent the beginning of a group before its server has asked."""

    def __init__(self, alpn: str = "moq-lite-06") -> None:
        self.pair = Pair(alpn)
        self.client, self.server = self.pair.client, self.pair.server
        self.pair.settle()
        self.client.events.clear()
        self.server.events.clear()
        session = self.client.session
        self.request = session.anticipate(NUMBER, "caller", "audio", WISHES)
        self.pair.collect()
        asked = self.client.one(SubscribeRequested)
        assert (asked.request, asked.broadcast, asked.track) == (self.request, "caller", "audio")
        session.accept(self.request, INFO, None)
        self.group = session.open_group(self.request, 4)
        self.say(b"one", 10)

    def say(self, payload: bytes, timestamp: int) -> None:
        self.client.session.write_frame(self.group, Frame(payload, timestamp))

    def heard(self) -> list[bytes]:
        return [event.frame.payload for event in self.server.take(FrameReceived)]

    def ask(self, *, broadcast="caller", track="audio", number: int | None = NUMBER) -> int:
        asked = self.server.session.subscribe(broadcast, track, WISHES, number)
        self.pair.settle()
        return asked


@pytest.mark.parametrize("alpn", ALL)
@pytest.mark.parametrize("is_asked_first", [False, True])
def test_what_was_sent_ahead_is_taken_by_the_request_that_comes(alpn, is_asked_first):
    speaking = Speaking(alpn)
    if not is_asked_first:
        speaking.pair.settle()
        assert speaking.server.events == []
    asked = speaking.ask()
    assert speaking.server.one(GroupOpened).request == asked
    assert speaking.server.one(Subscribed).request == asked
    assert speaking.heard() == [b"one"]
    assert speaking.client.one(SubscribeUpdated).request == speaking.request
    assert speaking.client.take(SubscribeRequested) == []
    speaking.say(b"two", 20)
    speaking.client.session.finish_group(speaking.group)
    later = speaking.client.session.open_group(speaking.request, 5)
    speaking.client.session.finish_group(later)
    speaking.client.session.finish(speaking.request, 6)
    speaking.pair.settle()
    assert speaking.heard() == [b"two"]
    assert len(speaking.server.take(GroupFinished)) == 2
    assert len(speaking.server.take(SubscriptionEnded)) == 1
    assert speaking.server.take(GroupReset) == []


def test_a_track_that_ended_before_it_was_asked_for_is_ended_for_its_request():
    speaking = Speaking()
    speaking.client.session.finish_group(speaking.group)
    speaking.client.session.finish(speaking.request, 5, keep_open=True)
    speaking.client.session.conclude(speaking.request)
    speaking.ask()
    assert speaking.heard() == [b"one"]
    assert speaking.server.one(SubscriptionEnded).group_end == 5
    assert speaking.client.session._publisher._numbers == set()


def test_the_peer_ends_what_it_has_adopted_under_the_same_request():
    speaking = Speaking()
    asked = speaking.ask()
    speaking.server.session.cancel(asked)
    speaking.pair.settle()
    assert speaking.client.one(RequestCancelled).request == speaking.request
    assert not speaking.client.session._publisher.sending.groups


@pytest.mark.parametrize(
    "otherwise",
    [{"track": "events"}, {"broadcast": "other"}, {"number": None}],
    ids=["track", "broadcast", "number"],
)
def test_what_was_sent_ahead_is_given_up_when_another_request_comes(otherwise):
    speaking = Speaking()
    speaking.ask(**otherwise)
    assert speaking.client.one(RequestCancelled).request == speaking.request
    fresh = speaking.client.one(SubscribeRequested).request
    assert fresh != speaking.request
    speaking.client.session.accept(fresh, INFO, 4)
    speaking.client.session.open_group(fresh, 4)
    speaking.say(b"to nobody", 20)
    speaking.pair.settle()
    assert b"to nobody" not in speaking.heard()
    assert speaking.server.take(GroupOpened)


def test_a_request_for_something_else_leaves_it_alone():
    speaking = Speaking()
    speaking.ask(broadcast="caller", track="events", number=None)
    assert speaking.client.take(RequestCancelled) == []
    speaking.ask()
    assert speaking.heard() == [b"one"]


def test_a_peer_that_knows_nothing_of_it_stops_it_and_is_served_when_it_asks():
    wired = Wired()
    request = wired.session.anticipate(NUMBER, "caller", "audio", WISHES)
    wired.session.accept(request, INFO, None)
    group = wired.session.open_group(request, 0)
    wired.events()
    wired.session.receive_stop(group, StreamCode.CANCELLED)
    assert wired.event() == RequestCancelled(request, StreamCode.CANCELLED)
    assert any(isinstance(action, Reset) for action in wired.actions())
    served = wired.ask(2, Subscribe(NUMBER, "caller", "audio", WISHES))
    assert wired.event().request == served


def test_what_nobody_asks_for_is_given_up_in_the_end():
    wired = Wired()
    request = wired.session.anticipate(NUMBER, "caller", "audio", WISHES)
    wired.session.accept(request, INFO, None)
    wired.session.open_group(request, 0)
    wired.events()
    wired.session.handle_timeout(100.0)
    assert wired.session.deadline() == 100.0 + WAIT_SECONDS
    wired.session.handle_timeout(100.0 + WAIT_SECONDS)
    assert wired.event() == RequestCancelled(request, StreamCode.CANCELLED)
    assert wired.session.deadline() is None
    assert not wired.session._publisher.sending.groups


def test_what_waits_to_be_told_is_bounded():
    speaking = Speaking()
    session = speaking.client.session
    for sequence in range(5, 5 + MAX_REPLIES + 1):
        session.drop(speaking.request, sequence, sequence, StreamCode.CANCELLED)
    speaking.pair.settle()
    assert speaking.client.one(RequestCancelled).request == speaking.request
    assert not session._publisher.sending.groups
    speaking.ask()
    assert speaking.client.one(SubscribeRequested).request != speaking.request


def test_what_will_not_come_is_told_once_it_is_asked_for():
    speaking = Speaking()
    speaking.client.session.drop(speaking.request, 5, 6, StreamCode.CANCELLED)
    asked = speaking.ask()
    dropped = GroupsDropped(asked, 5, 6, StreamCode.CANCELLED)
    assert speaking.server.one(GroupsDropped) == dropped


def test_refusing_it_writes_nothing():
    wired = Wired()
    request = wired.session.anticipate(NUMBER, "caller", "audio", WISHES)
    wired.session.reject(request, StreamCode.NOT_FOUND)
    writes = (OpenStream, Write, Stop, Reset)
    assert not any(isinstance(action, writes) for action in wired.actions())
    wired.events()
    assert wired.ask(2, Subscribe(NUMBER, "caller", "audio", WISHES)) == wired.event().request


def test_only_few_are_anticipated_and_only_under_agreed_numbers():
    wired = Wired()
    for number in range(MAX_ANTICIPATED):
        wired.session.anticipate(AGREED[number], "caller", "audio", WISHES)
    for number in (AGREED[MAX_ANTICIPATED], AGREED[0], 0, AGREED[-1] + 1):
        with pytest.raises(LocalError):
            wired.session.anticipate(number, "caller", "audio", WISHES)
    with pytest.raises(LocalError):
        wired.session.subscribe("a", "t", WISHES, 0)


def test_an_agreed_number_is_given_to_one_subscription():
    wired = Wired()
    wired.session.subscribe("a", "t", WISHES, NUMBER)
    wired.session.subscribe("a", "t", WISHES, NUMBER)
    numbers = wired.session._subscriber._subscriptions._by_number
    assert sorted(numbers) == [0, NUMBER]


def send_ahead(wired: Wired, number: int = NUMBER, data: bytes = b"", *, fin: bool = False) -> int:
    header = encode(GroupHeader(number, 0, 0), wired.version)
    return wired.open(b"\x00" + header + data, bidirectional=False, fin=fin)


def test_groups_that_wait_are_few_and_short():
    wired = Wired(is_client=False)
    streams = [send_ahead(wired) for _ in range(MAX_PARKED + 1)]
    assert wired.abandoned(streams[-1])
    for stream in streams[:2]:
        wired.send(stream, bytes(MAX_PARKED_BYTES // 2))
    assert wired.session.buffered_bytes == MAX_PARKED_BYTES
    wired.send(streams[2], b"x")
    assert wired.abandoned(streams[2]) == {(Stop, StreamCode.EXCESSIVE_LOAD)}
    wired.session.receive_reset(streams[0], 0)
    assert wired.session.buffered_bytes == MAX_PARKED_BYTES // 2
    assert wired.events() == []


def test_groups_that_wait_too_long_are_refused():
    wired = Wired(is_client=False)
    stream = send_ahead(wired, data=b"abc", fin=True)
    wired.session.handle_timeout(50.0)
    wired.session.handle_timeout(50.0 + PARKED_SECONDS)
    assert wired.abandoned(stream) == {(Stop, StreamCode.CANCELLED)}
    wired.session.subscribe("caller", "audio", WISHES, NUMBER)
    assert wired.events() == []
    assert wired.session.buffered_bytes == 0


@pytest.mark.parametrize("number", [0, 7, AGREED[0] - 1, AGREED[-1] + 1])
def test_groups_of_other_numbers_do_not_wait(number):
    wired = Wired(is_client=False)
    stream = send_ahead(wired, number)
    assert wired.abandoned(stream) == {(Stop, StreamCode.CANCELLED)}


def test_groups_of_a_subscription_that_is_over_do_not_wait():
    wired = Wired(is_client=False)
    wired.session.cancel(wired.session.subscribe("caller", "audio", WISHES, NUMBER))
    wired.actions()
    stream = send_ahead(wired)
    assert wired.abandoned(stream) == {(Stop, StreamCode.CANCELLED)}


def test_a_broken_group_that_waited_is_refused_when_it_comes_in():
    wired = Wired(is_client=False)
    stream = send_ahead(wired, data=encode_varint(1) + b"\xff", fin=True)
    wired.session.subscribe("caller", "audio", WISHES, NUMBER)
    opened, lost = wired.events()
    assert (opened.group, lost) == (stream, GroupReset(stream, StreamCode.MALFORMED_TRACK))
