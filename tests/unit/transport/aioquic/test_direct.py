"""Bytes that need not wait do not go through the queue, and timers that are near stay."""

import pytest
from tests.unit.transport.aioquic.wires import Wire

from moqvox.transport.send_queue import QUANTUM_BYTES, SendQueue


def test_a_stream_is_next_when_nothing_at_all_waits():
    queue = SendQueue()
    queue.open(0, 5)
    queue.open(4, 1)
    assert queue.is_next(0)
    queue.push(4, b"before it", fin=False)
    assert not queue.is_next(0)
    queue.take(100, lambda _stream: 100)
    assert queue.is_next(0)


def test_a_stream_that_ended_or_is_held_back_by_the_peer_is_not_next():
    queue = SendQueue()
    queue.open(0, 5)
    queue.push(0, b"ten bytes!", fin=True)
    queue.take(100, lambda _stream: 4)
    queue.take(100, lambda _stream: 0)
    assert not queue.is_ready
    assert not queue.is_next(0)
    assert not queue.is_next(99)


def test_the_engine_takes_a_packets_worth_within_all_limits():
    wire = Wire().handshake()
    stream = wire.client.open_stream(bidirectional=False, priority=0)
    assert wire.client.takes(stream, QUANTUM_BYTES)
    assert not wire.client.takes(stream, QUANTUM_BYTES + 1)
    assert not wire.client.takes(stream + 400, 1)
    while wire.client.takes(stream, 1000):
        wire.client.table.feed(stream, bytes(1000), fin=False)
    assert 0 <= wire.client.room() < 1000


@pytest.mark.parametrize("feed", [True, False])
def test_calm_never_outlasts_the_next_timer(feed):
    wire = Wire().handshake()
    stream = wire.client.open_stream(bidirectional=False, priority=0)
    for _ in range(40):
        if feed:
            wire.client.table.feed(stream, bytes(60), fin=False)
        wire.client.datagrams_to_send(wire.now)
        timer = wire.client.get_timer()
        for ahead in (0.001, 0.01, 0.025, 0.1, 1.0):
            if wire.client.is_calm_until(wire.now + ahead, wire.now):
                assert timer is None or timer >= wire.now + ahead
        wire.run(0.0041)
