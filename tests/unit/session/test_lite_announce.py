"""Discovery in moq-lite: announce streams, both ways."""

import pytest
from tests.unit.session.pair import Pair
from tests.unit.session.wired import ALL, OLD, SETUPS, Wired

from moqvox.errors import LocalError, RemoteError, SessionCode, StreamCode
from moqvox.session.actions import Reset, Stop, Write
from moqvox.session.events import (
    Announced,
    RequestCancelled,
    RequestFailed,
    SetupReceived,
    Unannounced,
    WatchReady,
    WatchRequested,
)
from moqvox.session.interface import Announcement, Limits
from moqvox.wire.lite.announce import (
    AnnounceBroadcast,
    AnnounceEnd,
    AnnounceOk,
    AnnounceRequest,
    AnnounceStart,
    AnnounceStatus,
    AnnounceUpdate,
    encode_announcing,
)
from moqvox.wire.lite.message import encode
from moqvox.wire.lite.setup import Setup
from moqvox.wire.version import lite_version

CLIENT, SERVER = 0xC11E, 0x5E4
NOTHING_YET = AnnounceOk(SERVER, 0)
V6 = lite_version("moq-lite-06")


def watching(alpn: str, prefix: str = "") -> tuple[Pair, int, int]:
    """Let a pair's client watch: the pair, the client's request, the server's."""
    pair = Pair(alpn)
    for end in pair.ends:
        end.take(SetupReceived)
    watch = pair.client.session.watch(prefix)
    pair.settle()
    return pair, watch, pair.server.one(WatchRequested).request


def hops_of(alpn: str, *hops: int) -> tuple[int, ...]:
    """Tell how hops arrive: by number where ids do not travel."""
    return hops if lite_version(alpn).hop_lists else (0,) * len(hops)


@pytest.mark.parametrize("alpn", ALL)
def test_what_is_there_and_what_comes_and_goes_is_told(alpn):
    pair, watch, request = watching(alpn, "room")
    pair.server.session.accept_watch(request, [Announcement("room/a", (7, 8))])
    pair.server.session.announce(request, Announcement("room", ()))
    pair.server.session.unannounce(request, "room/a")
    pair.settle()
    events = [event for event in pair.client.events if not isinstance(event, WatchReady)]
    assert events == [
        Announced(watch, "room/a", hops_of(alpn, 7, 8, SERVER)),
        Announced(watch, "room", hops_of(alpn, SERVER)),
        Unannounced(watch, "room/a"),
    ]


@pytest.mark.parametrize("alpn", SETUPS)
def test_the_initial_set_ends_where_the_publisher_says(alpn):
    pair, _watch, request = watching(alpn)
    pair.server.session.accept_watch(request, [Announcement("a"), Announcement("b")])
    pair.server.session.announce(request, Announcement("c"))
    pair.settle()
    kinds = [type(event) for event in pair.client.events]
    assert kinds == [Announced, Announced, WatchReady, Announced]


@pytest.mark.parametrize("alpn", OLD)
def test_the_initial_set_is_held_for_told_after_a_while_where_nobody_says(alpn):
    wired = Wired(alpn)
    watch = wired.session.watch("")
    assert wired.session.deadline() == 0.0
    wired.session.handle_timeout(100.0)
    assert wired.session.deadline() == 100.5
    wired.session.handle_timeout(100.4)
    assert wired.events() == []
    wired.session.handle_timeout(100.5)
    assert wired.event() == WatchReady(watch)
    assert wired.session.deadline() is None


@pytest.mark.parametrize("alpn", SETUPS)
def test_a_changed_route_replaces_the_former_one(alpn):
    pair, watch, request = watching(alpn)
    pair.server.session.accept_watch(request, [Announcement("a", (7,), cost=1)])
    pair.server.session.announce(request, Announcement("a", (9,), cost=5))
    pair.settle()
    cost = 5 if lite_version(alpn).route_cost else 0
    assert pair.client.events[-1] == Announced(watch, "a", (9, SERVER), cost)
    assert pair.client.take(Unannounced) == []


@pytest.mark.parametrize("alpn", OLD)
def test_where_nothing_can_be_replaced_another_source_ends_and_starts_the_broadcast(alpn):
    pair, watch, request = watching(alpn)
    pair.server.session.accept_watch(request, [Announcement("a", (7,))])
    pair.server.session.announce(request, Announcement("a", (9,)))
    pair.settle()
    assert pair.client.events == [
        Announced(watch, "a", hops_of(alpn, 7, SERVER)),
        Unannounced(watch, "a"),
        Announced(watch, "a", hops_of(alpn, 9, SERVER)),
    ]


@pytest.mark.parametrize("alpn", OLD)
def test_where_nothing_can_be_replaced_another_route_to_the_source_is_kept_silent(alpn):
    pair, _, request = watching(alpn)
    pair.server.session.accept_watch(request, [Announcement("a", (7,))])
    pair.settle()
    pair.client.events.clear()
    pair.server.session.announce(request, Announcement("a", (7, 8)))
    pair.settle()
    assert pair.client.events == []


@pytest.mark.parametrize("alpn", OLD)
def test_where_nothing_can_be_replaced_a_source_that_begins_anew_ends_and_starts(alpn):
    pair, watch, request = watching(alpn)
    pair.server.session.accept_watch(request, [Announcement("a", (7,))])
    pair.settle()
    pair.client.events.clear()
    pair.server.session.announce(request, Announcement("a", (7,)))
    pair.settle()
    assert pair.client.events == [
        Unannounced(watch, "a"),
        Announced(watch, "a", hops_of(alpn, 7, SERVER)),
    ]


@pytest.mark.parametrize("alpn", ["moq-lite-06", "moq-lite-05", "moq-lite-04"])
def test_routes_through_the_watcher_are_kept_back(alpn):
    pair, _, request = watching(alpn)
    pair.server.session.accept_watch(request, [Announcement("a", (7, CLIENT))])
    pair.server.session.announce(request, Announcement("b", (CLIENT,)))
    before = pair.server.written_bytes
    pair.server.session.unannounce(request, "b")
    pair.settle()
    assert pair.server.written_bytes - before <= 12  # ANNOUNCE_OK at most
    assert pair.client.take(Announced) == []


@pytest.mark.parametrize("alpn", ["moq-lite-06", "moq-lite-05", "moq-lite-04"])
def test_a_route_that_moves_through_the_watcher_is_told_to_be_gone(alpn):
    pair, watch, request = watching(alpn)
    pair.server.session.accept_watch(request, [Announcement("a", (7,))])
    pair.server.session.announce(request, Announcement("a", (7, CLIENT)))
    pair.settle()
    assert pair.client.events[-1] == Unannounced(watch, "a")


@pytest.mark.parametrize("alpn", ["moq-lite-05", "moq-lite-04"])
def test_the_excluded_hop_is_asked_for_where_the_request_names_it(alpn):
    wired = Wired(alpn, setup=None)
    request = wired.ask(1, AnnounceRequest("", 77))
    assert wired.event() == WatchRequested(request, "", 77)


def test_a_watch_waits_for_the_setup_that_names_the_hop_to_exclude():
    wired = Wired(setup=None)
    request = wired.ask(1, AnnounceRequest("x"))
    assert wired.events() == []
    wired.open(b"\x01" + encode(Setup(origin=77), V6), bidirectional=False, fin=True)
    assert wired.events() == [SetupReceived(origin=77), WatchRequested(request, "x", 77)]
    wired.session.handle_timeout(1000.0)
    assert wired.session.deadline() is None


def test_a_watch_waits_for_setup_no_longer_than_for_half_a_message():
    wired = Wired(setup=None, limits=Limits(control_timeout=3.0))
    request = wired.ask(1, AnnounceRequest("x"))
    wired.session.handle_timeout(50.0)
    wired.session.handle_timeout(53.0)
    assert wired.event() == WatchRequested(request, "x", 0)
    wired.open(b"\x01" + encode(Setup(origin=77), V6), bidirectional=False, fin=True)
    assert wired.events() == [SetupReceived(origin=77)]


@pytest.mark.parametrize("alpn", ALL)
def test_the_source_may_be_the_watcher_only_where_ids_do_not_travel(alpn):
    wired = Wired(alpn)
    watch = wired.session.watch("")
    version = wired.version
    reply = encode(AnnounceOk(SERVER, 1), version) if version.announce_ok else b""
    if version.announce_typed:
        message = AnnounceStart("a", (CLIENT,))
    else:
        message = AnnounceBroadcast(AnnounceStatus.ACTIVE, "a", (CLIENT, SERVER))
    wired.send(watch, reply + encode_announcing(message, version))
    told = [event for event in wired.events() if isinstance(event, Announced)]
    assert told == ([] if version.hop_lists else [Announced(watch, "a", (0, 0))])


def replied(*messages, ok: AnnounceOk | None = NOTHING_YET, **options):
    """Let a session of version 06 watch, and answer it."""
    wired = Wired(**options)
    watch = wired.session.watch("")
    wired.actions()
    data = b"" if ok is None else encode(ok, V6)
    wired.send(watch, data + b"".join(encode_announcing(each, V6) for each in messages))
    return wired, watch


def test_a_reply_in_which_a_reflected_route_becomes_a_real_one_is_followed():
    wired, watch = replied(
        AnnounceStart("a", (CLIENT,)),
        AnnounceUpdate(0, (7,), 3, 4),
        AnnounceUpdate(0, (CLIENT,)),
        AnnounceUpdate(0, (8,)),
        AnnounceEnd(0),
    )
    assert wired.events() == [
        WatchReady(watch),
        Announced(watch, "a", (7, SERVER), 3),
        Unannounced(watch, "a"),
        Announced(watch, "a", (8, SERVER)),
        Unannounced(watch, "a"),
    ]


@pytest.mark.parametrize(
    "messages",
    [
        [AnnounceEnd(0)],
        [AnnounceUpdate(3)],
        [AnnounceStart("a"), AnnounceEnd(0), AnnounceEnd(0)],
        [AnnounceStart("a"), AnnounceEnd(0), AnnounceUpdate(0)],
        [AnnounceStart("a"), AnnounceStart("a")],
        [AnnounceStart("a"), AnnounceStart("a/")],
    ],
)
def test_announcements_that_contradict_what_was_told_end_the_watch(messages):
    wired, watch = replied(*messages)
    failed = wired.events()[-1]
    assert (failed.request, failed.code) == (watch, StreamCode.MALFORMED_TRACK)
    assert isinstance(failed, RequestFailed)
    code = StreamCode.MALFORMED_TRACK
    assert wired.abandoned(watch) == {(Reset, code), (Stop, code)}
    wired.send(watch, encode_announcing(AnnounceStart("z"), V6))
    assert wired.events() == []


def test_numbers_of_announcements_are_never_used_twice():
    wired, _watch = replied(AnnounceStart("a"), AnnounceEnd(0), AnnounceStart("a"), AnnounceEnd(1))
    kinds = [type(event) for event in wired.events()]
    assert kinds == [WatchReady, Announced, Unannounced, Announced, Unannounced]


@pytest.mark.parametrize(
    "suffix", ["a\nb", "x" * 1100, "/".join("abcdefghijklmnopqrstuvwxyz0123456")]
)
def test_a_path_that_breaks_our_rules_is_passed_over(suffix):
    wired, watch = replied(
        AnnounceStart(suffix), AnnounceStart("b"), AnnounceEnd(0), AnnounceEnd(1)
    )
    assert wired.events() == [
        WatchReady(watch),
        Announced(watch, "b", (SERVER,)),
        Unannounced(watch, "b"),
    ]


def test_a_route_of_too_many_hops_is_passed_over():
    wired, _watch = replied(
        AnnounceStart("a", tuple(range(1, 33))), AnnounceStart("b", tuple(range(1, 32)))
    )
    assert [event.path for event in wired.events() if isinstance(event, Announced)] == ["b"]


def test_the_peers_end_of_the_stream_ends_all_it_told():
    wired, watch = replied(AnnounceStart("a"), AnnounceStart("b", (CLIENT,)))
    wired.events()
    wired.send(watch, b"", fin=True)
    ended = wired.events()
    assert ended[0] == Unannounced(watch, "a")
    assert (ended[1].request, ended[1].code) == (watch, StreamCode.CANCELLED)
    assert len(ended) == 2


def test_the_peers_reset_ends_the_watch_under_its_code():
    wired, watch = replied(ok=None)
    wired.session.receive_reset(watch, StreamCode.UNAUTHORIZED)
    assert wired.event() == RequestFailed(watch, StreamCode.UNAUTHORIZED)


@pytest.mark.parametrize("alpn", ALL)
def test_more_announcements_than_allowed_end_the_watch(alpn):
    pair = Pair(alpn)
    limits = Limits(max_announcements=3)
    wired = Wired(alpn, limits=limits)
    watch = wired.session.watch("")
    server = pair.server.session
    peer_watch = pair.client.session.watch("")
    pair.settle()
    request = pair.server.one(WatchRequested).request
    server.accept_watch(request, [])
    for n in range(4):
        server.announce(request, Announcement(f"b{n}"))
    data = b"".join(a.data for a in server.actions() if isinstance(a, Write))
    assert peer_watch
    wired.send(watch, data)
    events = wired.events()
    assert events[-1].code == StreamCode.EXCESSIVE_LOAD
    assert sum(isinstance(event, Unannounced) for event in events) >= 3


def test_an_initial_set_larger_than_allowed_ends_the_watch_at_once():
    wired, _watch = replied(ok=AnnounceOk(1, 5000))
    assert wired.event().code == StreamCode.EXCESSIVE_LOAD


@pytest.mark.parametrize("alpn", ALL)
def test_a_cancelled_watch_reports_nothing_more(alpn):
    pair, watch, request = watching(alpn)
    pair.server.session.accept_watch(request, [])
    pair.client.session.cancel(watch)
    pair.settle()
    assert pair.client.take(RequestFailed) == []
    assert pair.server.one(RequestCancelled) == RequestCancelled(request, StreamCode.CANCELLED)
    pair.server.session.announce(request, Announcement("late"))
    pair.server.session.accept_watch(request, [])
    pair.settle()
    assert pair.client.take(Announced) == []


@pytest.mark.parametrize("alpn", OLD)
def test_a_cancelled_watch_is_waited_for_no_longer(alpn):
    wired = Wired(alpn)
    wired.session.cancel(wired.session.watch(""))
    assert wired.session.deadline() is None


def test_a_refused_watch_fails_under_the_code():
    pair, watch, request = watching("moq-lite-06")
    pair.server.session.reject(request, StreamCode.UNAUTHORIZED)
    pair.settle()
    assert pair.client.one(RequestFailed) == RequestFailed(watch, StreamCode.UNAUTHORIZED)


def test_wrong_use_of_a_watch_is_the_callers_error():
    _, _, request = (setup := watching("moq-lite-06", "room"))
    server = setup[0].server.session
    with pytest.raises(LocalError, match="not accepted yet"):
        server.announce(request, Announcement("room/a"))
    with pytest.raises(LocalError, match="not below"):
        server.accept_watch(request, [Announcement("hall/a")])
    server.accept_watch(request, [])
    with pytest.raises(LocalError, match="accepted already"):
        server.accept_watch(request, [])
    with pytest.raises(LocalError, match="another kind"):
        server.finish(request, 1)


def test_a_prefix_that_breaks_our_rules_is_not_found():
    wired = Wired()
    stream = wired.ask(1, AnnounceRequest("a\0b"))
    assert (Reset, StreamCode.NOT_FOUND) in wired.abandoned(stream)
    assert wired.events() == []


def test_a_second_request_on_an_announce_stream_breaks_the_protocol():
    wired = Wired()
    stream = wired.ask(1, AnnounceRequest("a"))
    with pytest.raises(RemoteError) as caught:
        wired.send(stream, encode(AnnounceRequest("b"), V6))
    assert caught.value.code == SessionCode.PROTOCOL_VIOLATION
