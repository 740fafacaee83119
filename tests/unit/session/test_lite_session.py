"""The moq-lite session itself: SETUP, GOAWAY, PROBE, bounds, time, codes, its end."""

import pytest
from tests.unit.session.pair import Pair
from tests.unit.session.wired import ALL, OLD, SETUPS, Wired

from moqvox.errors import LocalError, RemoteError, SessionCode, StreamCode
from moqvox.frame import Frame, Subscription, TrackInfo
from moqvox.session.actions import Close, OpenStream, Reset, Stop, Write
from moqvox.session.events import (
    GoawayReceived,
    ProbeReceived,
    ProbeRequested,
    RequestCancelled,
    RequestFailed,
    SetupReceived,
    SubscribeRequested,
)
from moqvox.session.interface import Limits, Session
from moqvox.session.lite.session import LiteSession
from moqvox.session.priority import CONTROL
from moqvox.wire.cursor import Reader
from moqvox.wire.lite.message import encode
from moqvox.wire.lite.messages import Fetch, Subscribe, Track
from moqvox.wire.lite.setup import Goaway, Probe, ProbeLevel, Role, Setup
from moqvox.wire.varint import encode_varint
from moqvox.wire.version import lite_version

V6 = lite_version("moq-lite-06")


def setup_of(session: LiteSession) -> Setup | None:
    """Start a session and decode the SETUP it sends; None for none."""
    session.start(0.0)
    actions = session.actions()
    if not actions:
        return None
    opened, write = actions
    assert opened == OpenStream(opened.stream, False, CONTROL, early=True)
    assert write.fin
    return read_setup(write.data)


def read_setup(data: bytes) -> Setup:
    reader = Reader(data)
    assert reader.varint() == 1
    body = Reader(reader.blob())
    setup = Setup.read(body, V6)
    body.finish()
    reader.finish()
    return setup


def keep_contract(session: Session) -> None:
    """Have mypy and readers see that the class keeps the contract."""


def test_the_session_keeps_the_contract():
    keep_contract(LiteSession("moq-lite-06", is_client=True, webtransport=True))
    wanted = {name for name in vars(Session) if not name.startswith("_")}
    assert wanted <= set(dir(LiteSession))


@pytest.mark.parametrize("alpn", SETUPS)
def test_a_raw_quic_client_sends_path_and_role(alpn):
    session = LiteSession(
        alpn,
        is_client=True,
        webtransport=False,
        path="/room?jwt=abc",
        origin=77,
        subscribes=False,
    )
    assert setup_of(session) == Setup(ProbeLevel.REPORT, "/room?jwt=abc", Role.PUBLISHER, origin=77)


@pytest.mark.parametrize(("client", "webtransport"), [(True, True), (False, False), (False, True)])
def test_nobody_else_sends_a_path(client, webtransport):
    session = LiteSession(
        "moq-lite-06", is_client=client, webtransport=webtransport, path="/room", publishes=False
    )
    role = Role.SUBSCRIBER if client else None
    assert setup_of(session) == Setup(ProbeLevel.REPORT, role=role)


@pytest.mark.parametrize("alpn", OLD)
def test_old_versions_send_no_setup(alpn):
    session = LiteSession(alpn, is_client=True, webtransport=False, path="/room")
    assert setup_of(session) is None


def test_the_peers_setup_is_reported():
    wired = Wired(is_client=False, webtransport=False, setup=None)
    setup = Setup(path="/a?b=c", role=Role.PUBLISHER, origin=9)
    wired.open(b"\x01" + encode(setup, V6), bidirectional=False, fin=True)
    assert wired.event() == SetupReceived("/a?b=c", publishes=True, subscribes=False, origin=9)


def test_unknown_parameters_roles_and_levels_are_taken_for_nothing_special():
    wired = Wired(is_client=False, webtransport=False, setup=None)
    wired.open(
        bytes.fromhex("01 0b 03 | 7f 00 01 aa | 03 01 07 | 01 01 09".replace("|", "")),
        bidirectional=False,
        fin=True,
    )
    assert wired.event() == SetupReceived()


@pytest.mark.parametrize(
    ("client", "webtransport", "setup"),
    [
        (True, False, Setup(path="/a")),
        (False, True, Setup(path="/a")),
        (True, True, Setup(path="")),
        (True, False, Setup(role=Role.BOTH)),
    ],
)
def test_a_parameter_from_who_may_not_send_it_breaks_the_protocol(client, webtransport, setup):
    wired = Wired(is_client=client, webtransport=webtransport, setup=None)
    refuse(wired, b"\x01" + encode(setup, V6), SessionCode.PROTOCOL_VIOLATION)


def refuse(wired: Wired, data: bytes, code: int, *, bidirectional: bool = False, fin: bool = True):
    with pytest.raises(RemoteError) as caught:
        wired.open(data, bidirectional=bidirectional, fin=fin)
    assert caught.value.code == code


@pytest.mark.parametrize(
    "body",
    [
        "01 02 02 c328",  # a path that is not UTF-8
        "4041 " + "".join(f"{0x4100 + n:04x} 00" for n in range(65)),  # 65 parameters
    ],
)
def test_a_setup_that_breaks_its_format_breaks_the_protocol(body):
    wired = Wired(is_client=False, webtransport=False, setup=None)
    data = bytes.fromhex(body)
    whole = b"\x01" + encode_varint(len(data)) + data
    refuse(wired, whole, SessionCode.PROTOCOL_VIOLATION)


def test_a_setup_that_the_peer_takes_back_is_done_without():
    wired = Wired(setup=None)
    stream = wired.open(b"\x01\x05", bidirectional=False)
    wired.session.receive_reset(stream, 1)
    assert wired.session.deadline() is None
    other = wired.open(b"\x05\x05")
    wired.session.receive_reset(other, 1)
    assert (Reset, 1) in wired.abandoned(other)
    assert wired.events() == []


@pytest.mark.parametrize("alpn", ALL)
def test_a_session_tells_what_its_version_has(alpn):
    session = Wired(alpn).session
    assert session.version == alpn
    assert session.has_setup == session.has_timestamps == (alpn in SETUPS)


def test_a_path_with_lone_surrogates_is_the_callers_error():
    session = LiteSession("moq-lite-06", is_client=True, webtransport=False, path="/\ud800")
    with pytest.raises(LocalError, match="surrogates"):
        session.start(0.0)


def test_a_second_setup_breaks_the_protocol():
    refuse(Wired(), b"\x01" + encode(Setup(), V6), SessionCode.PROTOCOL_VIOLATION)


def test_a_second_message_on_the_setup_stream_breaks_the_protocol():
    wired = Wired(setup=None)
    refuse(wired, b"\x01" + encode(Setup(), V6) * 2, SessionCode.PROTOCOL_VIOLATION)


@pytest.mark.parametrize("data", [b"\x01", b"\x01\x05\x01"])
def test_a_setup_that_ends_early_breaks_the_protocol(data):
    refuse(Wired(setup=None), data, SessionCode.PROTOCOL_VIOLATION)


def test_a_setup_that_announces_too_much_closes_the_session():
    wired = Wired(setup=None, limits=Limits(max_message_bytes=100))
    data = b"\x01" + encode_varint(101)
    refuse(wired, data, SessionCode.EXCESSIVE_LOAD, fin=False)


@pytest.mark.parametrize("alpn", OLD)
def test_a_setup_stream_is_unknown_to_old_versions(alpn):
    wired = Wired(alpn)
    stream = wired.open(b"\x01" + encode(Setup(), V6), bidirectional=False, fin=True)
    assert wired.abandoned(stream) == {(Stop, StreamCode.UNSUPPORTED)}
    assert wired.events() == []


@pytest.mark.parametrize("alpn", ALL)
@pytest.mark.parametrize("kind", [0x0, 0x7, 0x1234])
def test_a_request_of_unknown_type_is_refused_and_harms_nobody(alpn, kind):
    wired = Wired(alpn)
    stream = wired.open(encode_varint(kind) + b"whatever")
    code = StreamCode.UNSUPPORTED
    assert wired.abandoned(stream) == {(Reset, code), (Stop, code)}
    wired.send(stream, b"more", fin=True)
    assert wired.events() == wired.actions() == []


def test_a_data_stream_of_unknown_type_is_stopped_and_harms_nobody():
    wired = Wired()
    stream = wired.open(b"\x40\x54abc", bidirectional=False)
    assert wired.abandoned(stream) == {(Stop, StreamCode.UNSUPPORTED)}


@pytest.mark.parametrize("alpn", OLD)
def test_a_track_stream_is_unknown_to_old_versions(alpn):
    wired = Wired(alpn)
    stream = wired.ask(6, Track("a", "t"))
    assert (Reset, StreamCode.UNSUPPORTED) in wired.abandoned(stream)


def test_requests_at_once_are_bounded():
    wired = Wired(limits=Limits(max_requests=3))
    streams = [wired.ask(6, Track("a", f"t{n}")) for n in range(4)]
    assert [event.request for event in wired.events()] == streams[:3]
    code = StreamCode.EXCESSIVE_LOAD
    assert wired.abandoned(streams[3]) == {(Reset, code), (Stop, code)}
    wired.session.accept_track(streams[0], TrackInfo())
    again = wired.ask(6, Track("a", "t5"))
    assert wired.event().request == again


def test_a_request_that_announces_too_much_is_refused():
    wired = Wired(limits=Limits(max_message_bytes=100))
    stream = wired.open(b"\x02" + encode_varint(101))
    assert (Reset, StreamCode.EXCESSIVE_LOAD) in wired.abandoned(stream)
    assert wired.events() == []


def test_a_request_that_ends_early_is_refused():
    wired = Wired()
    stream = wired.open(b"\x02\x10\x00", fin=True)
    assert (Reset, StreamCode.MALFORMED_TRACK) in wired.abandoned(stream)
    silent = wired.open(b"\x02", fin=True)
    assert (Reset, StreamCode.CANCELLED) in wired.abandoned(silent)
    assert wired.events() == []


@pytest.mark.parametrize("kind", [2, 3, 6])
def test_a_request_under_a_path_that_breaks_our_rules_is_not_found(kind):
    wired = Wired()
    message = {
        2: Subscribe(0, "a\0", "t", Subscription()),
        3: Fetch("a\0", "t", 0, 1),
        6: Track("a\0", "t"),
    }[kind]
    stream = wired.ask(kind, message)
    assert (Reset, StreamCode.NOT_FOUND) in wired.abandoned(stream)
    assert wired.events() == []


def test_a_second_message_on_a_track_stream_breaks_the_protocol():
    wired = Wired()
    stream = wired.ask(6, Track("a", "t"))
    with pytest.raises(RemoteError):
        wired.send(stream, encode(Track("a", "t"), V6))


def test_a_reply_that_announces_too_much_fails_its_request():
    wired = Wired(limits=Limits(max_message_bytes=100))
    request = wired.session.subscribe("a", "t", Subscription())
    wired.send(request, b"\x00" + encode_varint(101))
    assert wired.event().code == StreamCode.EXCESSIVE_LOAD


@pytest.mark.parametrize("data", [b"\x02", b"\x02\x10", b"\x02\x10\x00abc", b"\x80"])
def test_half_a_request_is_waited_for_only_so_long(data):
    wired = Wired(limits=Limits(control_timeout=3.0))
    wired.session.handle_timeout(900.0)
    stream = wired.open(data)
    assert wired.session.deadline() == 900.0
    wired.session.handle_timeout(1000.0)
    assert wired.session.deadline() == 1003.0
    wired.session.handle_timeout(1002.9)
    assert wired.actions() == []
    wired.session.handle_timeout(1003.0)
    assert (Reset, StreamCode.DELIVERY_TIMEOUT) in wired.abandoned(stream)
    assert wired.session.deadline() is None


def test_each_message_has_its_own_time():
    wired = Wired(limits=Limits(control_timeout=3.0))
    request = wired.session.subscribe("a", "t", Subscription())
    wired.send(request, b"\x00\x01")
    wired.session.handle_timeout(10.0)
    wired.send(request, b"\x05\x02\x03")
    wired.session.handle_timeout(12.0)
    wired.session.handle_timeout(13.5)
    assert wired.session.deadline() == 15.0
    wired.send(request, b"\x01\x01\x00")
    assert wired.session.deadline() is None


def test_half_a_setup_is_waited_for_only_so_long():
    wired = Wired(setup=None)
    wired.open(b"\x01\x05", bidirectional=False)
    wired.session.handle_timeout(1.0)
    with pytest.raises(RemoteError) as caught:
        wired.session.handle_timeout(11.0)
    assert caught.value.code == SessionCode.CONTROL_TIMEOUT


def test_frames_are_waited_for_without_end():
    wired = Wired()
    wired.session.subscribe("a", "t", Subscription())
    wired.open(bytes.fromhex("00 03 00 05 00 02 05 61"), bidirectional=False)
    assert wired.session.deadline() is None


@pytest.mark.parametrize("alpn", ["moq-lite-06", "moq-lite-05", "moq-lite-04"])
def test_a_server_can_send_its_peer_elsewhere_once(alpn):
    pair = Pair(alpn)
    pair.server.session.goaway("https://other/room", 500)
    pair.server.session.goaway("https://third/")
    pair.settle()
    assert pair.client.one(GoawayReceived) == GoawayReceived("https://other/room")
    pair.client.session.goaway()
    pair.settle()
    assert pair.server.one(GoawayReceived) == GoawayReceived("")


def test_version_03_has_no_goaway():
    wired = Wired("moq-lite-03")
    wired.session.goaway()
    assert wired.actions() == []
    stream = wired.open(b"\x05" + encode(Goaway(), V6))
    assert (Reset, StreamCode.UNSUPPORTED) in wired.abandoned(stream)


def test_a_client_can_not_tell_its_server_where_to_go():
    with pytest.raises(LocalError, match="client"):
        Wired().session.goaway("https://other/")
    data = b"\x05" + encode(Goaway("https://x/"), V6)
    server = Wired(is_client=False)
    refuse(server, data, SessionCode.PROTOCOL_VIOLATION, bidirectional=True, fin=False)


def test_a_goaway_holds_8192_bytes_and_no_more():
    server, client = Wired(is_client=False), Wired()
    server.session.goaway("u" * 8192)
    client.open(b"\x05" + encode(Goaway("u" * 8192), V6))
    assert client.event() == GoawayReceived("u" * 8192)
    with pytest.raises(LocalError, match="8192"):
        Wired(is_client=False).session.goaway("u" * 8193)
    body = encode_varint(8193) + b"u" * 8193
    data = b"\x05" + encode_varint(len(body)) + body
    refuse(Wired(), data, SessionCode.PROTOCOL_VIOLATION, bidirectional=True, fin=False)


def test_half_a_goaway_closes_the_session_in_time_and_a_peers_end_is_answered():
    wired = Wired()
    wired.open(b"\x05\x09")
    wired.session.handle_timeout(0.0)
    with pytest.raises(RemoteError):
        wired.session.handle_timeout(10.0)
    other = Wired()
    stream = other.open(b"\x05" + encode(Goaway(), V6), fin=True)
    assert other.actions() == [Write(stream, b"", fin=True)]


@pytest.mark.parametrize("alpn", ALL)
def test_estimates_are_asked_for_and_told(alpn):
    pair = Pair(alpn)
    request = pair.client.session.request_probe(5_000_000)
    pair.settle()
    first, second = pair.server.take(ProbeRequested)
    assert (first.target_bps, second.target_bps) == (0, 5_000_000)
    pair.server.session.send_probe(first.request, 640_000, 15)
    pair.settle()
    rtt_ms = 15 if lite_version(alpn).probe_rtt else 0
    assert pair.client.one(ProbeReceived) == ProbeReceived(640_000, rtt_ms)
    pair.client.session.cancel(request)
    pair.settle()
    assert pair.server.one(RequestCancelled).request == first.request
    pair.server.session.send_probe(first.request, 1, 1)
    assert pair.server.session.actions() == []


def test_estimates_wait_for_the_peers_setup():
    wired = Wired(setup=None)
    request, cancelled = wired.session.request_probe(), wired.session.request_probe()
    wired.session.cancel(cancelled)
    assert wired.actions() == []
    setup = Setup(ProbeLevel.INCREASE)
    wired.open(b"\x01" + encode(setup, V6), bidirectional=False, fin=True)
    assert wired.actions() == [
        OpenStream(request, bidirectional=True, priority=CONTROL),
        Write(request, b"\x04"),
    ]


def test_estimates_are_not_asked_of_a_peer_that_offers_none():
    wired = Wired()
    request = wired.session.request_probe()
    failed = wired.event()
    assert isinstance(failed, RequestFailed)
    assert (failed.request, failed.code) == (request, StreamCode.UNSUPPORTED)
    assert wired.actions() == []


def test_a_probe_stream_without_a_message_asks_for_estimates():
    wired = Wired()
    stream = wired.open(b"\x04")
    assert wired.event() == ProbeRequested(stream, 0)
    assert wired.session.deadline() is None
    wired.session.send_probe(stream, 70, 3)
    assert wired.written(stream) == encode(Probe(70, 3), V6)
    wired.send(stream, b"", fin=True)
    assert wired.event() == RequestCancelled(stream, StreamCode.CANCELLED)


def test_codes_are_mapped_on_raw_quic_and_plain_on_webtransport():
    for webtransport, code in ((True, 0x33), (False, 91141958510863)):
        wired = Wired(webtransport=webtransport)
        stream = wired.ask(6, Track("a", "t"))
        wired.session.reject(stream, StreamCode.NOT_FOUND)
        assert wired.abandoned(stream) == {(Reset, code), (Stop, code)}


@pytest.mark.parametrize("webtransport", [True, False])
@pytest.mark.parametrize("code", [0x33, 91141958510863])
def test_codes_are_understood_mapped_or_plain(webtransport, code):
    wired = Wired(webtransport=webtransport)
    request = wired.session.subscribe("a", "t", Subscription())
    wired.session.receive_reset(request, code)
    assert wired.event() == RequestFailed(request, StreamCode.NOT_FOUND)


def test_an_unknown_code_is_passed_on():
    wired = Wired()
    request = wired.session.subscribe("a", "t", Subscription())
    wired.session.receive_reset(request, 2**40)
    assert wired.event() == RequestFailed(request, 2**40)


def test_a_closed_session_does_nothing_more():
    wired = Wired()
    stream = wired.ask(2, Subscribe(0, "a", "t", Subscription()))
    assert isinstance(wired.event(), SubscribeRequested)
    wired.session.accept(stream, TrackInfo(), 0)
    group = wired.session.open_group(stream, 0)
    wired.actions()
    session = wired.session
    session.close(SessionCode.NO_ERROR, "bye")
    session.close(SessionCode.INTERNAL, "again")
    assert wired.actions() == [Close(SessionCode.NO_ERROR, "bye")]
    session.start(1.0)
    ids = [
        session.watch(""),
        session.subscribe("a", "t", Subscription()),
        session.track_info("a", "t"),
        session.fetch("a", "t", group=1),
        session.request_probe(),
        session.open_group(stream, 1),
        session.accept_stream(bidirectional=True),
    ]
    assert len(set(ids)) == len(ids)
    for name in (*ids, group, stream):
        session.write_frame(name, Frame(b"x", 1))
        session.receive_stream(name, b"\x02abc", fin=True)
        session.receive_reset(name, 1)
        session.receive_stop(name, 1)
        session.cancel(name)
        session.stop_group(name, 1)
        session.finish(name, 1)
    session.goaway()
    session.receive_datagram(b"\x00\x00\x00x")
    session.handle_timeout(1e9)
    assert session.deadline() is None
    assert wired.events() == wired.actions() == []
    assert session.buffered_bytes == 0


def test_drained_lists_stay_as_they_were():
    wired = Wired()
    events, actions = wired.events(), wired.actions()
    wired.ask(6, Track("a", "t"))
    wired.session.watch("")
    assert events == actions == []


def test_a_wrong_version_or_origin_is_the_callers_error():
    with pytest.raises(LocalError, match="unknown moq-lite version"):
        LiteSession("moqt-18", is_client=True, webtransport=True)
    with pytest.raises(LocalError, match="2\\*\\*62"):
        LiteSession("moq-lite-06", is_client=True, webtransport=True, origin=2**62)


def test_what_other_protocols_need_does_nothing_here():
    wired = Wired()
    wired.session.set_timescale(1, 48_000)
    wired.session.accept_offer(1, Subscription())
    assert wired.events() == wired.actions() == []
