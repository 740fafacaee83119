"""A change of path: what is under way goes out again at once, estimates start over."""

import pytest
from tests.unit.transport.aioquic.speech import INTERVAL, Talk

from moqvox.transport.aioquic import Limits

OTHER = ("192.0.2.7", 7)
DEAD = 0.5


def break_before_make(talk: Talk, *, by_client: bool) -> float:
    """Let the path die while someone speaks, and move the client; returns the longest gap."""
    speaker = talk.client if by_client else talk.server
    talk.speak(50, by=speaker)
    died_at = talk.now
    talk.lose = lambda: True
    talk.speak(round(DEAD / INTERVAL), by=speaker)
    talk.lose = lambda: False
    talk.client_address = OTHER
    talk.client.move(talk.now)
    talk.speak(50, by=speaker)
    talk.run(2.0)
    assert len(talk.heard_at) == len(talk.spoken_at)
    return talk.gap(died_at - 0.1)


@pytest.mark.parametrize("rtt", [0.05, 0.1])
@pytest.mark.parametrize("redundancy", [0.0, 1.4])
def test_a_speaker_that_moves_is_heard_half_a_round_trip_later(rtt, redundancy):
    talk = Talk(limits=Limits(redundancy=redundancy), delay=rtt / 2)
    assert break_before_make(talk, by_client=True) <= DEAD + rtt / 2 + 0.04


@pytest.mark.parametrize("rtt", [0.05, 0.1])
def test_a_listener_that_moves_hears_on_as_soon_as_its_peer_can_know(rtt):
    talk = Talk(delay=rtt / 2)
    assert break_before_make(talk, by_client=False) <= DEAD + rtt / 2 + 0.04


def test_the_new_path_has_a_fresh_estimate_and_another_connection_id():
    talk = Talk()
    talk.speak(20)
    before = talk.client._peer_cid.cid
    talk.delay = 0.01
    talk.client_address = OTHER
    talk.client.move(talk.now)
    assert talk.client.recovery.rtt == 0.0
    assert talk.client.recovery.bytes_in_flight == 0
    talk.speak(20)
    assert talk.client._peer_cid.cid != before
    assert talk.client.recovery.rtt == pytest.approx(0.02, abs=0.005)
    assert talk.server.peer == (OTHER, True)
    assert talk.server.recovery.rtt == pytest.approx(0.02, abs=0.005)


def test_a_move_is_no_loss():
    talk = Talk()
    talk.speak(20)
    talk.client_address = OTHER
    talk.client.move(talk.now)
    talk.speak(20)
    assert talk.client.recovery.lost_packets == 0
