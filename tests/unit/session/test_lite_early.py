"""Which of a session's streams may leave before the peer has answered."""

import pytest
from tests.unit.session.wired import ALL, SETUPS, Wired

from moqvox.frame import Frame, Subscription, TrackInfo
from moqvox.session.actions import OpenStream, SendDatagram
from moqvox.session.interface import AGREED
from moqvox.session.lite.session import LiteSession

INFO = TrackInfo(80, ordered=True, max_age_ms=1000)
WISHES = Subscription(80, ordered=True, max_age_ms=1000)


def marks(actions) -> list[bool]:
    return [action.early for action in actions if isinstance(action, OpenStream)]


@pytest.mark.parametrize("alpn", SETUPS)
def test_a_setup_may_come_twice(alpn):
    session = LiteSession(alpn, is_client=True, webtransport=False, path="/room")
    session.start(0.0)
    assert marks(session.actions()) == [True]


@pytest.mark.parametrize("alpn", ALL)
def test_what_only_asks_may_come_twice(alpn):
    wired = Wired(alpn, setup=None)
    wired.session.watch("room")
    wired.session.subscribe("room/a", "audio", WISHES)
    wired.session.fetch("room/a", "audio", group=3)
    assert marks(wired.actions()) == [True] * 3
    if wired.session.track_info("room/a", "audio") is not None:
        assert marks(wired.actions()) == [True]


@pytest.mark.parametrize("alpn", ALL)
def test_what_costs_or_ends_something_may_not(alpn):
    wired = Wired(alpn)
    wired.session.request_probe(1_000_000)
    wired.session.goaway()
    found = marks(wired.actions())
    assert found == [False] * len(found)
    assert found


@pytest.mark.parametrize("alpn", ALL)
@pytest.mark.parametrize("early", [True, False])
def test_groups_that_nobody_asked_for_yet_go_by_what_the_application_says(alpn, early):
    wired = Wired(alpn, setup=None)
    request = wired.session.anticipate(AGREED[1], "caller", "audio", WISHES, early=early)
    wired.session.accept(request, INFO, None)
    wired.session.open_group(request, 0)
    assert marks(wired.actions()) == [early]
    if wired.session.send_datagram(request, 1, Frame(b"x", 0)):
        (sent,) = wired.actions()
        assert sent == SendDatagram(sent.data, early)


def test_groups_are_not_early_unless_somebody_says_so():
    wired = Wired(setup=None)
    request = wired.session.anticipate(AGREED[1], "caller", "audio", WISHES)
    wired.session.accept(request, INFO, None)
    wired.session.open_group(request, 0)
    assert marks(wired.actions()) == [False]
