"""Congestion control after a change of path, at both ends (RFC 9000, section 9.4)."""

import pytest
from tests.unit.transport.aioquic.speech import Talk

from moqvox.transport.aioquic.private import Engine

BULK_BYTES = 60_000
PACKET_BYTES = 1200
INITIAL_BYTES = 10 * PACKET_BYTES
"""The window that a path begins with (RFC 9002, section 7.2)."""
ELSEWHERE = ("192.0.2.7", 7)


def is_about(engine: Engine, window: int) -> bool:
    """Whether the window is this one, but for what the ACKs of a challenge or two have added."""
    return window <= engine.recovery.congestion_window < window + 2 * PACKET_BYTES


def grown(talk: Talk, engine: Engine) -> int:
    """Send bulk until the window is larger than at first; returns it."""
    other = talk.client if engine is talk.server else talk.server
    stream = engine.open_stream(bidirectional=False, priority=0)
    engine.table.feed(stream, bytes(BULK_BYTES), fin=True)
    talk.run(3.0)
    assert other.table[stream].receiver.highest_offset == BULK_BYTES
    window = engine.recovery.congestion_window
    assert window > 2 * INITIAL_BYTES
    return window


@pytest.fixture
def talk():
    return Talk()


def test_a_server_starts_over_with_a_client_on_another_host_and_goes_on_with_another_port(talk):
    grown(talk, talk.server)
    talk.client_address = ELSEWHERE
    talk.client.send_ping(0)
    talk.run(1.0)
    assert talk.server.peer == (ELSEWHERE, True)
    assert is_about(talk.server, INITIAL_BYTES)
    window = grown(talk, talk.server)
    talk.client_address = (ELSEWHERE[0], ELSEWHERE[1] + 1)
    talk.client.send_ping(1)
    talk.run(1.0)
    assert talk.server.peer == (talk.client_address, True)
    assert is_about(talk.server, window)


def test_a_client_that_moves_starts_over_and_so_does_its_server(talk):
    for engine in (talk.client, talk.server):
        grown(talk, engine)
    talk.client.move(talk.now, talk.open_way(ELSEWHERE))
    assert talk.client.recovery.congestion_window == INITIAL_BYTES
    talk.run(1.0)
    assert talk.server.peer == (ELSEWHERE, True)
    assert is_about(talk.server, INITIAL_BYTES)
