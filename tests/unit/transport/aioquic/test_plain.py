"""Packets of the usual kind are upstream's to the byte, and everything else is left to it."""

import inspect
import random
import re

import pytest
from aioquic import tls
from aioquic.quic.congestion.base import QuicRttMonitor
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import DatagramFrameReceived, StreamDataReceived
from aioquic.quic.packet_builder import QuicPacketBuilder
from aioquic.quic.recovery import QuicPacketPacer
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.transport.aioquic.wires import Wire

from moqvox.transport.aioquic import Limits
from moqvox.transport.aioquic.private import plain

STREAMS = 3
step = st.tuples(
    st.booleans(),
    st.integers(0, STREAMS - 1),
    st.sampled_from([0, 1, 60, 1130, 1180, 1200, 5000]),
    st.booleans(),
    st.sampled_from([0.0, 0.0, 0.002, 0.02, 0.3]),
)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("_flush_builder", ["self", "builder", "network_path", "peer_cid", "now"]),
        ("_on_ack_delivery", ["self", "delivery", "space", "highest_acked"]),
    ],
)
def test_upstream_has_the_methods_that_are_called(name, parameters):
    assert list(inspect.signature(getattr(QuicConnection, name)).parameters) == parameters


def test_upstream_asks_a_builder_for_no_more_than_ours_has():
    source = inspect.getsource(QuicConnection._flush_builder)
    assert set(re.findall(r"builder\.\w+", source)) == {"builder.flush", "builder.packet_number"}


def test_upstream_has_the_attributes_that_are_read():
    engine = Wire().handshake().server
    plain._unusual(engine)
    assert isinstance(engine._loss._pacer, QuicPacketPacer)
    assert engine._cryptos[tls.Epoch.ONE_RTT].aead_tag_size == 16
    assert engine._crypto_streams[tls.Epoch.ONE_RTT].sender.buffer_is_empty
    for name in ("_host_cids", "_local_ack_delay_exponent", "_pacing_at", "_spin_bit"):
        assert hasattr(engine, name), name


def test_upstream_writes_nothing_that_we_do_not_look_for():
    """Count the frames of a 1-RTT packet; `_is_plain` names what calls for each of them."""
    source = inspect.getsource(QuicConnection._write_application)
    assert sorted(set(re.findall(r"self\._write_(\w+)\(", source))) == [
        "ack_frame",
        "connection_limits",
        "crypto_frame",
        "datagram_frame",
        "handshake_done_frame",
        "new_connection_id_frame",
        "path_challenge_frame",
        "path_response_frame",
        "ping_frame",
        "reset_stream_frame",
        "retire_connection_id_frame",
        "stop_sending_frame",
        "stream_frame",
        "stream_limits",
        "streams_blocked_frame",
    ]


def settle(engine):
    """Even out what upstream draws, and what a handshake's chance lengths have left behind."""
    engine._spin_bit = False
    recovery = engine._loss
    recovery._rtt_latest = recovery._rtt_min = recovery._rtt_smoothed = 0.02
    recovery._rtt_variance = 0.005
    recovery._cc.congestion_window, recovery._cc._congestion_stash = 15_000, 0
    recovery._cc._rtt_monitor = QuicRttMonitor()
    # Upstream looks at the pacer also when nothing is due, which moves it by microseconds.
    recovery._pacer.packet_time = None
    recovery._pacer.update_rate = lambda **_options: None


def played(steps, *, by_upstream, seed=0, lossy=False):
    """Play a conversation; return all payloads in the clear, and what arrived."""
    wire = Wire(limits=Limits(redundancy=0.0)).handshake()
    engines = (wire.client, wire.server)
    said = []
    for number, engine in enumerate(engines):
        settle(engine)
        if by_upstream:
            engine._is_plain = lambda _now: False
        pair = engine._cryptos[tls.Epoch.ONE_RTT]

        def encrypt(header, payload, packet, number=number, pair=pair):
            said.append((round(wire.now, 6), number, packet, header[0], payload))
            return pair.send.encrypt_packet(header, payload, packet)

        pair.encrypt_packet = encrypt
    chance = random.Random(seed)
    wire.lose = lambda: lossy and chance.random() < 0.2
    # Upstream leaves the order among equals to the addresses of objects, so there are none.
    streams = [
        [engine.open_stream(bidirectional=False, priority=n) for n in range(STREAMS)]
        for engine in engines
    ]
    for from_client, index, size, fin, pause in steps:
        engine, names = engines[not from_client], streams[not from_client]
        engine.table.feed(names[index], bytes([index]) * size, fin=fin)
        engine.hasten_ack(wire.now)
        if pause:
            wire.run(pause)
    wire.run(5.0)
    arrived = [
        [(e.stream_id, e.data, e.end_stream) for e in events if isinstance(e, StreamDataReceived)]
        for events in wire.events.values()
    ]
    return said, arrived


@settings(max_examples=40, deadline=None)
@given(st.lists(step, max_size=12))
def test_packets_are_upstreams_to_the_byte(steps):
    assert played(steps, by_upstream=False) == played(steps, by_upstream=True)


@settings(max_examples=20, deadline=None)
@given(st.lists(step, max_size=12), st.integers(0, 1000))
def test_packets_are_upstreams_when_many_are_lost(steps, seed):
    ours = played(steps, by_upstream=False, seed=seed, lossy=True)
    assert ours == played(steps, by_upstream=True, seed=seed, lossy=True)


def test_the_usual_conversation_does_not_trouble_upstream(monkeypatch):
    wire = Wire().handshake()
    there = wire.client.open_stream(bidirectional=False, priority=0)
    back = wire.server.open_stream(bidirectional=False, priority=0)
    wire.client.table.feed(there, b"hello", fin=False)
    wire.server.table.feed(back, b"hello", fin=False)
    wire.run(1.0)

    def fail(*_arguments, **_options):
        raise AssertionError("upstream built a packet")

    monkeypatch.setattr(QuicPacketBuilder, "__init__", fail)
    for _ in range(20):
        wire.client.table.feed(there, bytes(60), fin=False)
        wire.server.table.feed(back, bytes(60), fin=False)
        wire.run(0.02)
    for engine in (wire.client, wire.server):
        received = [e.data for e in wire.events[engine] if isinstance(e, StreamDataReceived)]
        assert len(b"".join(received)) == 5 + 20 * 60


def test_a_burst_is_paced():
    wire = Wire().handshake()
    stream = wire.server.open_stream(bidirectional=False, priority=0)
    wire.server.table.feed(stream, bytes(100), fin=False)
    wire.run(1.0)
    wire.server.table.feed(stream, bytes(10_000), fin=False)
    now = len(wire.server.datagrams_to_send(wire.now))
    assert 2 <= now < 9
    paced_at = wire.server.get_timer()
    assert paced_at is not None
    assert wire.now < paced_at < wire.now + 0.01
    assert len(wire.server.datagrams_to_send(paced_at + 1e-6)) >= 1


def test_nothing_leaves_beyond_the_congestion_window_but_acks():
    wire = Wire().handshake()
    here = wire.client.open_stream(bidirectional=False, priority=0)
    back = wire.server.open_stream(bidirectional=False, priority=0)
    wire.server.recovery._cc.congestion_window = wire.server.recovery.bytes_in_flight
    wire.client.table.feed(here, b"question", fin=False)
    wire.server.table.feed(back, b"answer", fin=False)
    wire.run(0.2)
    wire.server.hasten_ack(wire.now)
    assert not [e for e in wire.events[wire.client] if isinstance(e, StreamDataReceived)]
    assert wire.client.recovery.bytes_in_flight == 0
    wire.server.recovery._cc.congestion_window = 12_000
    wire.run(0.2)
    answers = [e.data for e in wire.events[wire.client] if isinstance(e, StreamDataReceived)]
    assert answers == [b"answer"]


def test_nothing_due_builds_nothing():
    wire = Wire().handshake()
    wire.run(1.0)
    assert wire.server.datagrams_to_send(wire.now) == []


def test_what_is_unusual_still_travels_among_the_usual():
    wire = Wire().handshake()
    stream = wire.client.open_stream(bidirectional=True, priority=0)
    wire.client.table.feed(stream, b"one", fin=False)
    wire.client.send_datagram_frame(b"beside")
    wire.client.send_ping(1)
    wire.run(0.2)
    wire.client.table.abandon(stream, 7)
    wire.server.table.refuse(stream, 8)
    wire.run(0.2)
    events = wire.events[wire.server]
    assert [e.data for e in events if isinstance(e, DatagramFrameReceived)] == [b"beside"]
    kinds = {type(event).__name__ for event in events}
    assert {"StreamDataReceived", "StreamReset"} <= kinds
    assert {"PingAcknowledged", "StopSendingReceived"} <= {
        type(event).__name__ for event in wire.events[wire.client]
    }


@pytest.mark.parametrize("is_over", [False, True])
def test_nothing_leaves_after_the_close_however_much_waits(is_over):
    wire = Wire().handshake()
    wire.run(0.5)
    client, server = wire.client, wire.server
    stream = client.open_stream(bidirectional=True, priority=0)
    client.table.feed(stream, b"question", fin=True)
    wire.run(0.1)
    server.close(6, 8, "final size")
    assert len(server.datagrams_to_send(wire.now)) == 1
    if is_over:
        wire.now = server.get_timer()
        server.handle_timer(wire.now)
    server.table.feed(stream, b"answer", fin=True)
    assert server.datagrams_to_send(wire.now) == []
