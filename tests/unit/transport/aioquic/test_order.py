"""Control before live audio, that before fills, these before bulk, while the window is full."""

import itertools

import pytest
from aioquic.quic.events import StreamDataReceived
from tests.unit.transport.aioquic.wires import Wire

from moqvox.session.priority import CONTROL, fetch_priority, group_priority
from moqvox.transport.aioquic import Limits
from moqvox.transport.send_queue import SendQueue

FILL, BULK = 128, 0
BYTES = 20_000
WINDOW = 2_400
KINDS = {
    "control": CONTROL,
    # Even live groups that nobody finds urgent, and a fill that was asked for after the bulk.
    "live": group_priority(0, 0, ordered=True, place=1 << 40),
    "fill": fetch_priority(FILL, 1 << 40),
    "bulk": fetch_priority(BULK, 0),
}
ORDERS = list(itertools.permutations(KINDS))


@pytest.mark.parametrize("order", ORDERS, ids="-".join)
def test_what_was_given_to_the_engine_leaves_by_kind(order):
    wire = Wire(limits=Limits(redundancy=0.0)).handshake()
    wire.run(0.2)
    server = wire.server
    first = server.open_stream(bidirectional=False, priority=KINDS["bulk"])
    server.table.feed(first, bytes(3 * BYTES), fin=True)
    server.recovery._cc.congestion_window = WINDOW
    wire.run(0.005)
    assert server.recovery.window_left < 1200
    assert server.unsent_bytes > BYTES
    kinds = {}
    for kind in order:
        stream = server.open_stream(bidirectional=False, priority=KINDS[kind])
        kinds[stream] = kind
        server.table.feed(stream, bytes(BYTES), fin=True)
    wire.run(3.0)
    heard = [
        kinds[event.stream_id]
        for event in wire.events[wire.client]
        if isinstance(event, StreamDataReceived) and event.end_stream and event.stream_id in kinds
    ]
    assert heard == list(KINDS)


@pytest.mark.parametrize("order", ORDERS, ids="-".join)
def test_what_waits_outside_the_engine_leaves_by_kind(order):
    queue = SendQueue()
    for stream, kind in enumerate(order):
        queue.open(stream, KINDS[kind])
        queue.push(stream, bytes(BYTES), fin=True)
    left = []
    while taken := queue.take(WINDOW, lambda _stream: BYTES):
        left += [order[chunk.stream] for chunk in taken]
    assert [kind for kind, _ in itertools.groupby(left)] == list(KINDS)
