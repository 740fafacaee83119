"""White-box tests of every private part of aioquic that `private` touches.

They fail loudly when upstream changes: then `private` is to be read against the new version.
"""

import importlib.metadata
import inspect
import random

import pytest
from aioquic import tls
from aioquic.quic.connection import Limit, QuicConnection, QuicConnectionState
from aioquic.quic.events import (
    ConnectionTerminated,
    HandshakeCompleted,
    StopSendingReceived,
    StreamDataReceived,
    StreamReset,
)
from aioquic.quic.packet import QuicErrorCode
from aioquic.quic.recovery import QuicPacketRecovery
from aioquic.quic.stream import QuicStreamReceiver, QuicStreamSender
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.transport.aioquic.wires import SERVER, Wire, certificate

from moqvox.transport.aioquic import Limits
from moqvox.transport.aioquic.limits import MAX_GAPS
from moqvox.transport.aioquic.private import Sender
from moqvox.transport.aioquic.private.ranges import Ranges
from moqvox.transport.aioquic.streams import HeldStream


def test_the_version_is_the_one_that_was_read():
    assert importlib.metadata.version("aioquic").startswith("1.7.")


@pytest.mark.parametrize(
    ("owner", "name", "parameters"),
    [
        (QuicConnection, "_write_connection_limits", ["self", "builder", "space"]),
        (QuicConnection, "_write_stream_limits", ["self", "builder", "space", "stream"]),
        (QuicConnection, "_on_max_stream_data_delivery", ["self", "delivery", "stream"]),
        (QuicConnection, "_handle_max_stream_data_frame", ["self", "context", "frame_type", "buf"]),
        (QuicConnection, "_unblock_streams", ["self", "is_unidirectional"]),
        (
            QuicConnection,
            "_update_traffic_key",
            ["self", "direction", "epoch", "cipher_suite", "secret"],
        ),
        (QuicConnection, "_connect", ["self", "now"]),
        (QuicConnection, "_find_network_path", ["self", "addr"]),
        (QuicConnection, "_push_crypto_data", ["self"]),
        (tls.Context, "_build_session_ticket", ["self", "new_session_ticket", "other_extensions"]),
        (QuicConnection, "_close_begin", ["self", "is_initiator", "now"]),
        (QuicConnection, "_get_or_create_stream_for_send", ["self", "stream_id"]),
        (QuicConnection, "_idle_timeout", ["self"]),
        (QuicConnection, "_send_probe", ["self"]),
        (
            QuicPacketRecovery,
            "_on_packets_lost",
            ["self", "congestion_event", "now", "packets", "persistent_congestion", "space"],
        ),
        (QuicConnection, "_write_path_challenge_frame", ["self", "builder", "network_path"]),
        (QuicStreamSender, "get_frame", ["self", "max_size", "max_offset"]),
        (
            QuicPacketRecovery,
            "on_ack_received",
            ["self", "ack_rangeset", "ack_delay", "now", "space"],
        ),
        (
            QuicStreamSender,
            "on_data_delivery",
            ["self", "delivery", "start", "stop", "fin"],
        ),
        (QuicStreamSender, "on_reset_delivery", ["self", "delivery"]),
        (QuicStreamSender, "reset", ["self", "error_code"]),
        (QuicStreamReceiver, "handle_frame", ["self", "frame"]),
    ],
)
def test_upstream_has_the_methods_that_are_replaced(owner, name, parameters):
    assert list(inspect.signature(getattr(owner, name)).parameters) == parameters


def test_upstream_has_the_attributes_that_are_read():
    wire = Wire().handshake()
    engine = wire.client
    for name, kind in {
        "_close_event": type(None),
        "_configuration": object,
        "_crypto_buffers": dict,
        "_crypto_streams": dict,
        "_cryptos": dict,
        "_datagrams_pending": object,
        "_is_client": bool,
        "_local_max_data": Limit,
        "_local_max_streams_bidi": Limit,
        "_local_max_streams_uni": Limit,
        "_loss": QuicPacketRecovery,
        "_max_datagram_size": int,
        "_network_paths": list,
        "_packet_number": int,
        "_ping_pending": list,
        "_peer_cid": object,
        "_remote_max_data": int,
        "_remote_max_data_used": int,
        "_remote_max_datagram_frame_size": int,
        "_spaces": dict,
        "_state": QuicConnectionState,
        "_streams": dict,
        "_streams_blocked_bidi": list,
        "_streams_blocked_uni": list,
    }.items():
        assert isinstance(getattr(engine, name), kind), name
    recovery = engine.recovery
    for name in ("_cc", "_pto_count", "_rtt_initialized", "_rtt_latest", "_rtt_min"):
        assert hasattr(recovery, name), name
    sender, receiver = QuicStreamSender(0, True), QuicStreamReceiver(0, True)
    for name in ("_acked", "_acked_fin", "_buffer_start", "_pending", "_pending_eof"):
        assert hasattr(sender, name), name
    for name in ("_buffer_stop", "_buffer_fin", "_reset_error_code", "_stream_id"):
        assert hasattr(sender, name), name
    assert len(receiver._ranges) == 0
    assert wire.client.tls._peer_certificate is not None
    assert wire.server.tls._psk_key_exchange_mode is not None


def test_upstream_walks_its_streams_where_it_did():
    """`StreamTable.values` and `_streams_queue` rely on there being no other walk."""
    source = inspect.getsource(inspect.getmodule(QuicConnection))
    assert source.count("self._streams.values()") == 1
    assert source.count("in self._streams_queue") == 2
    assert source.count("self._streams_queue.append") == 2
    assert source.count("self._streams_queue.extend") == 1
    assert source.count("self._streams.pop(stream.stream_id)") == 1
    assert source.count("_stream_limit(stream.stream_id).value += 1") == 1


def test_upstream_doubles_limits_where_it_did():
    limits = inspect.getsource(QuicConnection._write_connection_limits)
    assert "if max_data.used * 2 > max_data.value:" in limits
    stream = inspect.getsource(QuicConnection._write_stream_limits)
    assert "stream.receiver.highest_offset * 2 > stream.max_stream_data_local" in stream


def test_upstream_still_has_the_rtt_bug_that_is_worked_round():
    """When this fails, upstream has mended it and `Recovery.on_ack_received` can go."""
    assert "self._rtt_min - self._rtt_latest" in inspect.getsource(QuicPacketRecovery)


def test_upstream_still_answers_a_first_packet_that_comes_again_with_its_flight_only_once():
    source = inspect.getsource(QuicConnection._handle_crypto_frame)
    once = source.index("and not self._crypto_retransmitted")
    assert source.index("self._crypto_retransmitted = True") > once
    assert "context.epoch == tls.Epoch.INITIAL" in source[:once]


def test_a_stream_is_taken_over_before_upstream_uses_it():
    wire = Wire().handshake()
    stream_id = wire.client.open_stream(bidirectional=True, priority=7)
    stream = wire.client.table[stream_id]
    assert isinstance(stream, HeldStream)
    assert isinstance(stream.sender, Sender)
    assert stream.priority == 7
    assert wire.client._streams is wire.client.table
    wire.client.table.feed(stream_id, b"hello", fin=True)
    wire.run(0.1)
    received = [e for e in wire.events[wire.server] if isinstance(e, StreamDataReceived)]
    assert [(e.data, e.end_stream) for e in received] == [(b"hello", True)]


def test_idle_streams_are_not_looked_at():
    wire = Wire(limits=Limits(max_uni_streams=3000)).handshake()
    streams = [wire.client.open_stream(bidirectional=False, priority=0) for _ in range(2000)]
    for stream in streams:
        wire.client.table.feed(stream, b"x", fin=False)
    wire.run(2.0)
    for engine in (wire.client, wire.server):
        assert len(engine.table) == 2000
        assert len(engine._streams_queue) == 0
        assert len(engine._streams.values()) == 0
    seen = len(wire.events[wire.server])
    wire.client.table.feed(streams[1000], b"y", fin=False)
    assert [stream.stream_id for stream in wire.client._streams_queue] == [streams[1000]]
    wire.run(0.1)
    assert len(wire.events[wire.server]) == seen + 1


def test_urgent_streams_are_served_first_inside_the_engine_too():
    wire = Wire().handshake()
    engine = wire.client
    low, high = (engine.open_stream(bidirectional=False, priority=p) for p in (9, 1))
    engine.table.feed(low, bytes(3000), fin=True)
    engine.table.feed(high, bytes(3000), fin=True)
    assert [stream.stream_id for stream in engine._streams_queue] == [high, low]
    engine.table.set_priority(low, 0)
    assert [stream.stream_id for stream in engine._streams_queue] == [low, high]


def test_credit_follows_reading_not_arrival():
    limits = Limits(stream_window_bytes=20_000, connection_window_bytes=40_000)
    wire = Wire(limits=limits).handshake()
    engine, reader = wire.client, wire.server
    stream = engine.open_stream(bidirectional=False, priority=0)
    engine.table.feed(stream, bytes(100_000), fin=True)
    wire.run(3.0)
    assert reader.table[stream].receiver.highest_offset == 20_000
    assert reader._local_max_data.value == 40_000
    assert not reader.table.hand_over(stream, 4_000)
    assert reader.table.hand_over(stream, 2_000)
    wire.run(1.0)
    assert reader.table[stream].receiver.highest_offset == 26_000
    while not reader.table[stream].receiver.is_finished:
        arrived = reader.table[stream].receiver.highest_offset
        reader.table.hand_over(stream, arrived - reader.table[stream].handed_bytes)
        wire.run(0.5)
    assert arrived >= 80_000


def test_bytes_that_a_reset_swallows_are_credited():
    limits = Limits(stream_window_bytes=10_000, connection_window_bytes=20_000)
    wire = Wire(limits=limits).handshake()
    engine, reader = wire.client, wire.server
    for _ in range(6):
        stream = engine.open_stream(bidirectional=False, priority=0)
        engine.table.feed(stream, bytes(10_000), fin=False)
        wire.run(0.5)
        engine.table.abandon(stream, 5)
        wire.run(0.5)
        reader.table.release(stream)
        wire.run(0.5)
    resets = [e for e in wire.events[reader] if isinstance(e, StreamReset)]
    assert len(resets) == 6
    assert engine.unsent_bytes == 0


def test_a_finished_stream_makes_room_only_when_its_end_was_read():
    wire = Wire(limits=Limits(max_uni_streams=4)).handshake()
    engine, reader = wire.client, wire.server
    for _ in range(10):
        stream = engine.open_stream(bidirectional=False, priority=0)
        engine.table.feed(stream, b"", fin=True)
    wire.run(1.0)
    assert sorted(reader.table) == [2, 6, 10, 14]
    assert engine.blocked_streams == 6
    for stream in (2, 6, 10, 14):
        assert reader.table.release(stream)
    wire.run(1.0)
    assert reader.table.take_discarded() == [2, 6, 10, 14]
    assert sorted(reader.table) == [18, 22, 26, 30]
    assert engine.take_unblocked() >= {18, 22, 26, 30}


def test_nothing_is_said_of_a_stream_that_the_peer_has_not_allowed():
    wire = Wire(limits=Limits(max_uni_streams=1)).handshake()
    allowed, blocked = (wire.client.open_stream(bidirectional=False, priority=0) for _ in range(2))
    wire.client.table.abandon(blocked, 4)
    wire.run(0.5)
    assert wire.server.ending() is None
    assert blocked not in wire.server.table
    wire.client.table.feed(allowed, b"", fin=True)
    wire.run(0.1)
    wire.server.table.release(allowed)
    wire.run(0.5)
    resets = [e for e in wire.events[wire.server] if isinstance(e, StreamReset)]
    assert [(e.stream_id, e.error_code) for e in resets] == [(blocked, 4)]


def test_lost_limits_are_announced_again():
    limits = Limits(stream_window_bytes=8_000, connection_window_bytes=16_000)
    wire = Wire(limits=limits).handshake()
    engine, reader = wire.client, wire.server
    stream = engine.open_stream(bidirectional=False, priority=0)
    engine.table.feed(stream, bytes(16_000), fin=True)
    wire.run(0.5)
    wire.lose = lambda: True
    reader.table.hand_over(stream, 8_000)
    wire.run(0.1)
    wire.lose = lambda: False
    wire.run(5.0)
    assert reader.table[stream].receiver.is_finished


def test_the_variance_forgets_the_minimum():
    """Upstream's is |minimum - latest|: after a change from 10 to 80 ms it never settles."""
    wire = Wire(delay=0.005).handshake()
    stream = wire.client.open_stream(bidirectional=False, priority=0)
    for delay in (0.005, 0.04):
        wire.delay = delay
        for _ in range(60):
            wire.client.table.feed(stream, bytes(100), fin=False)
            wire.run(0.1)
    recovery = wire.client.recovery
    assert recovery.rtt == pytest.approx(0.08, abs=0.005)
    assert recovery._rtt_variance < 0.01
    assert recovery.get_probe_timeout() < 0.15


def test_a_new_path_starts_with_a_fresh_estimate():
    wire = Wire().handshake()
    stream = wire.client.open_stream(bidirectional=False, priority=0)
    for _ in range(30):
        wire.client.table.feed(stream, bytes(5000), fin=False)
        wire.run(0.1)
    recovery = wire.client.recovery
    grown = recovery.congestion_window
    assert grown > 12_000
    wire.client.restart_path(wire.now, same_host=True)
    assert (recovery.rtt, recovery.congestion_window) == (0.0, grown)
    recovery._cc.bytes_in_flight = 777
    wire.client.restart_path(wire.now, same_host=False)
    assert (recovery.congestion_window, recovery.bytes_in_flight) == (12_000, 777)


def test_an_ack_of_a_packet_never_sent_closes():
    wire = Wire().handshake()
    space = wire.server._spaces[tls.Epoch.ONE_RTT]
    space.ack_queue.add(5_000)
    space.largest_received_packet = 5_000
    space.ack_at = wire.now
    wire.run(0.2)
    ending = wire.client.ending()
    assert ending is not None
    assert ending.code == QuicErrorCode.PROTOCOL_VIOLATION
    assert "never sent" in ending.reason


def test_scattered_bytes_close_instead_of_filling_memory():
    wire = Wire().handshake()
    stream_id = wire.client.open_stream(bidirectional=False, priority=0)
    wire.client.table.feed(stream_id, bytes(200_000), fin=False)
    sender = wire.client.table[stream_id].sender
    sender._pending = Ranges([range(n, n + 1) for n in range(1, 4 * MAX_GAPS, 2)])
    wire.run(5.0)
    ending = wire.client.ending()
    assert ending is not None
    assert ending.remote
    assert "gaps" in ending.reason


def test_pins_are_checked_before_any_application_key():
    pin = bytes.fromhex(certificate().fingerprint_hex)
    wire = Wire(pins=frozenset([pin])).handshake()
    assert any(isinstance(e, HandshakeCompleted) for e in wire.events[wire.client])
    wire = Wire(pins=frozenset([bytes(32)])).handshake()
    ending = wire.client.ending()
    assert ending is not None
    assert (ending.code, ending.is_transport) == (0x100 + 42, True)
    assert not wire.client._cryptos[tls.Epoch.ONE_RTT].send.is_valid()
    assert not any(isinstance(e, HandshakeCompleted) for e in wire.events[wire.client])


def test_a_retry_forgets_the_flight_before_it():
    wire = Wire()
    wire.client.datagrams_to_send(0.0)
    assert wire.client.recovery.bytes_in_flight > 0
    wire.client._connect(0.1)
    assert wire.client.recovery.bytes_in_flight == 0


def test_acks_travel_with_data_when_there_is_any():
    wire = Wire().handshake()
    stream = wire.client.open_stream(bidirectional=True, priority=0)
    wire.client.table.feed(stream, b"ping", fin=False)
    ((data, _),) = wire.client.datagrams_to_send(wire.now)
    wire.server.receive_datagram(data, wire.client_address, wire.now)
    assert wire.server._spaces[tls.Epoch.ONE_RTT].ack_at > wire.now
    wire.server.table.feed(stream, b"pong", fin=False)
    wire.server.hasten_ack(wire.now)
    assert len(wire.server.datagrams_to_send(wire.now)) == 1
    assert wire.server._spaces[tls.Epoch.ONE_RTT].ack_at is None


def test_the_end_is_known_at_once_on_both_sides():
    wire = Wire().handshake()
    wire.client.close(7, None, "bye")
    wire.run(0.02)
    ours, theirs = wire.client.ending(), wire.server.ending()
    assert (ours.code, ours.is_transport, ours.remote, ours.reason) == (7, False, False, "bye")
    assert (theirs.code, theirs.is_transport, theirs.remote, theirs.lost) == (7, False, True, False)
    assert wire.server.is_closing
    assert not wire.server.is_terminated
    wire.run(5.0)
    assert wire.server.is_terminated
    assert isinstance(wire.events[wire.server][-1], ConnectionTerminated)


def test_silence_is_a_loss():
    wire = Wire().handshake()
    wire.lose = lambda: True
    wire.client.send_ping(1)
    wire.run(100.0)
    ending = wire.client.ending()
    assert (ending.lost, ending.remote, ending.is_transport) == (True, False, True)


def test_the_room_is_what_can_leave_soon():
    wire = Wire(limits=Limits(connection_window_bytes=16_000)).handshake()
    assert wire.client.room() == min(
        16 * 1200, 16_000, wire.client.recovery.congestion_window + 2400
    )
    stream = wire.client.open_stream(bidirectional=False, priority=0)
    wire.client.table.feed(stream, bytes(9_000), fin=False)
    assert wire.client.room() <= 7_000
    wire.client.table.abandon(stream, 1)
    assert wire.client.unsent_bytes == 0


def test_a_question_leaves_however_full_the_window_is():
    wire = Wire(delay=0.025).handshake()
    client = wire.client
    wire.lose = lambda: True
    stream = client.open_stream(bidirectional=False, priority=0)
    client.table.feed(stream, bytes(40_000), fin=False)
    wire.run(0.6)
    asked = 0
    for _ in range(30):
        before = client.next_packet_number
        client.send_ping(0)
        wire.run(0.04)
        asked += client.next_packet_number > before
        assert client.recovery.bytes_in_flight < client.recovery.congestion_window + 3000
    assert asked == 30
    assert not client.recovery.is_asking


def test_datagrams_are_measured_before_they_can_block_the_queue():
    wire = Wire().handshake()
    largest = wire.client.max_datagram_payload
    wire.client.send_datagram_frame(bytes(largest))
    wire.run(0.1)
    assert wire.client.queued_datagrams == 0
    wire.client.send_datagram_frame(bytes(largest + 1))
    wire.run(0.1)
    assert wire.client.queued_datagrams == 1


def test_the_peers_address_is_known_with_its_validation():
    wire = Wire()
    assert wire.server.peer == (None, False)
    wire.handshake()
    assert wire.client.peer == (SERVER, True)
    wire.client_address = ("192.0.2.9", 9)
    wire.client.send_ping(1)
    wire.run(0.015)
    assert wire.server.peer == (("192.0.2.9", 9), False)
    wire.run(0.1)
    assert wire.server.peer == (("192.0.2.9", 9), True)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32), streams=st.integers(1, 6), resets=st.booleans())
def test_the_books_are_right_whatever_is_lost(seed, streams, resets):
    rng = random.Random(seed)
    limits = Limits(stream_window_bytes=30_000, connection_window_bytes=60_000)
    wire = Wire(limits=limits).handshake()
    wire.lose = lambda: rng.random() < 0.1
    engine, reader = wire.client, wire.server
    wanted: dict[int, bytes] = {}
    for _ in range(streams):
        stream = engine.open_stream(bidirectional=False, priority=rng.randrange(3))
        wanted[stream] = rng.randbytes(rng.randrange(20_000))
        engine.table.feed(stream, wanted[stream], fin=True)
    victim = min(wanted) if resets else None
    wire.run(0.05)
    if victim is not None:
        engine.table.abandon(victim, 3)
    got: dict[int, bytes] = dict.fromkeys(wanted, b"")
    for _ in range(60):
        wire.run(0.5)
        for event in wire.events[reader]:
            if isinstance(event, StreamDataReceived):
                got[event.stream_id] += event.data
                reader.table.hand_over(event.stream_id, len(event.data))
                if event.end_stream:
                    reader.table.release(event.stream_id)
            elif isinstance(event, StreamReset):
                reader.table.release(event.stream_id)
        wire.events[reader].clear()
        unsent = sum(
            stream.sender.unsent_bytes
            for stream in dict.values(engine.table)
            if stream.sender.takes_bytes or stream.sender._reset_error_code is None
        )
        assert engine.unsent_bytes == unsent
        if not engine.table and not reader.table:
            break
    for stream, data in wanted.items():
        if stream == victim:
            assert data.startswith(got[stream])
        else:
            assert got[stream] == data
    wire.lose = lambda: False
    wire.run(5.0)
    assert engine.is_settled


@pytest.mark.parametrize("lost", [1, 3])
def test_a_lost_stop_sending_is_sent_again(lost):
    wire = Wire().handshake()
    stream = wire.client.open_stream(bidirectional=False, priority=0)
    wire.client.table.feed(stream, b"to be stopped", fin=False)
    wire.run(0.5)
    wire.events[wire.client].clear()
    fates = iter([True] * lost)
    wire.lose = lambda: next(fates, False)
    wire.server.table.refuse(stream, 7)
    wire.run(10.0)
    stops = [e for e in wire.events[wire.client] if isinstance(e, StopSendingReceived)]
    assert next(fates, None) is None
    assert [(stop.stream_id, stop.error_code) for stop in stops] == [(stream, 7)]
