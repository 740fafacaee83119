"""Packets of the usual kind are upstream's to the byte, and everything else is left to it."""

import inspect
import random
import re

import pytest
from aioquic import tls
from aioquic.quic.congestion.base import QuicRttMonitor
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import ConnectionTerminated, DatagramFrameReceived, StreamDataReceived
from aioquic.quic.packet import QuicErrorCode
from aioquic.quic.packet_builder import QuicPacketBuilder
from aioquic.quic.recovery import QuicPacketPacer
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.transport.aioquic.wires import CLIENT, Wire

from moqvox.transport.aioquic import Limits
from moqvox.transport.aioquic.private import plain
from moqvox.transport.aioquic.private.packets import read_close

STREAMS = 3
step = st.tuples(
    st.booleans(),
    st.integers(0, STREAMS - 1),
    st.sampled_from([0, 1, 60, 1130, 1180, 1200, 5000]),
    st.booleans(),
    st.sampled_from([0.0, 0.0, 0.002, 0.02, 0.3]),
    st.sampled_from([None, None, None, None, "ping", "datagram", "keys", "reset", "stop"]),
)


def do(engine, what, stream_id):
    """Do something that is not usual."""
    if what == "ping":
        engine.send_ping(stream_id)
    elif what == "datagram":
        engine.send_datagram_frame(b"beside")
    elif what == "keys":
        engine.request_key_update()
    elif what == "reset":
        engine.table.abandon(stream_id, 7)
    elif what == "stop":
        engine.table.refuse(stream_id, 7)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("_idle_timeout", ["self"]),
        ("_initialize", ["self", "peer_cid"]),
        ("_log_key_updated", ["self", "key_type", "trigger"]),
        ("_on_ack_delivery", ["self", "delivery", "space", "highest_acked"]),
        ("_replenish_connection_ids", ["self"]),
    ],
)
def test_upstream_has_the_methods_that_are_called_or_hooked(name, parameters):
    assert list(inspect.signature(getattr(QuicConnection, name)).parameters) == parameters


def test_upstreams_packet_spaces_and_pacers_have_what_is_used():
    """What is touched of the connection and its recovery is in `test_touches.py`."""
    engine = Wire().handshake().server
    space = set(vars(engine._spaces[tls.Epoch.ONE_RTT]))
    assert set(re.findall(r"space\.(\w+)", inspect.getsource(plain))) <= space
    assert isinstance(engine._loss._pacer, QuicPacketPacer)


def test_upstreams_keys_have_the_parts_that_are_used():
    pair = Wire().handshake().server._cryptos[tls.Epoch.ONE_RTT]
    for context in (pair.send, pair.recv):
        assert isinstance(context.aead._aead, AESGCM | ChaCha20Poly1305)
        assert context.aead._iv.bit_length() <= 96
        assert isinstance(context.hp._is_chacha20, bool)
        assert len(context.hp._mask(bytes(16))) >= 5
        assert callable(context.hp._encryptor.update)


def test_upstream_writes_nothing_that_we_do_not_look_for():
    """Count the frames of a 1-RTT packet; `_is_more_due` and `_survey` know what calls for each."""
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
    recovery._pacer.packet_time, recovery._pacer.bucket_time = None, 0.0
    recovery._pacer.evaluation_time = 0.0
    recovery._pacer.update_rate = lambda *_arguments, **_options: None


class Recorder:
    """Notes what is sealed, in the clear."""

    def __init__(self, shield, note):
        self._shield, self._note = shield, note
        self.open = shield.open

    def seal(self, spin, cid, number, payload):
        self._note(number, spin, payload)
        return self._shield.seal(spin, cid, number, payload)


def listen(engine, note, *, by_upstream):
    """Note every 1-RTT payload that an engine sends, whoever builds it."""
    pair, survey = engine._cryptos[tls.Epoch.ONE_RTT], engine._survey

    def encrypt(header, payload, packet):
        note(packet, header[0] & plain.SPIN_BIT, payload)
        return pair.send.encrypt_packet(header, payload, packet)

    def surveyed():
        usual = survey()
        if usual is not None:
            usual.shield = Recorder(usual.shield, note)
        return usual

    pair.encrypt_packet = encrypt
    engine._survey = (lambda: None) if by_upstream else surveyed
    engine._usual = None


def books(engine):
    """Take all that upstream keeps about packets, streams and the path."""
    space, loss = engine._spaces[tls.Epoch.ONE_RTT], engine._loss
    kept = {name: vars(space)[name] for name in vars(space)}
    kept["ack_queue"] = list(space.ack_queue)
    kept["received_packets"] = sorted(space.received_packets._received)
    kept["sent_packets"] = [
        (number, p.packet_number, p.sent_time, p.sent_bytes, p.in_flight, p.is_ack_eliciting)
        for number, p in space.sent_packets.items()
    ]
    kept["loss"] = {
        name: value for name, value in vars(loss).items() if isinstance(value, int | float | None)
    }
    kept["control"] = loss.congestion_window, loss.bytes_in_flight, vars(loss._cc._rtt_monitor)
    kept["pacer"] = vars(loss._pacer)["bucket_time"], loss._pacer.evaluation_time
    for name in ("_close_at", "_packet_number", "_pacing_at", "_spin_bit", "_spin_highest_pn"):
        kept[name] = getattr(engine, name)
    kept["data"] = engine._remote_max_data_used, vars(engine._local_max_data)
    kept["eliciting"] = engine._ack_eliciting_sent_since_receipt
    kept["timer"] = engine.get_timer()
    kept["streams"] = [
        (
            number,
            stream.sender._buffer_start,
            bytes(stream.sender._buffer),
            list(stream.sender._pending),
            list(stream.sender._acked),
            stream.sender.highest_offset,
            stream.sender.is_finished,
            stream.receiver._buffer_start,
            stream.receiver.highest_offset,
            stream.receiver._final_size,
            stream.receiver.is_finished,
        )
        for number, stream in engine.table.items()
    ]
    return kept


def played(steps, *, by_upstream, seed=0, lossy=False, redundancy=0.0):
    """Play a conversation; return all payloads, what arrived, and the books after each step."""
    wire = Wire(limits=Limits(redundancy=redundancy)).handshake()
    engines = (wire.client, wire.server)
    said = []
    for number, engine in enumerate(engines):
        settle(engine)

        def note(packet, spin, payload, number=number):
            said.append((round(wire.now, 6), number, packet, spin, payload))

        listen(engine, note, by_upstream=by_upstream)
    chance = random.Random(seed)
    wire.lose = lambda: lossy and chance.random() < 0.2
    # Upstream leaves the order among equals to the addresses of objects, so there are none.
    streams = [
        [engine.open_stream(bidirectional=False, priority=n) for n in range(STREAMS)]
        for engine in engines
    ]
    kept = []
    for from_client, index, size, fin, pause, unusual in steps:
        engine, names = engines[not from_client], streams[not from_client]
        engine.table.feed(names[index], bytes([index]) * size, fin=fin)
        do(engine, unusual, names[index] if unusual != "stop" else streams[from_client][index])
        engine.hasten_ack(wire.now)
        if pause:
            wire.run(pause)
        kept += [books(engine) for engine in engines]
    wire.run(5.0)
    kept += [books(engine) for engine in engines]
    arrived = [
        [(e.stream_id, e.data, e.end_stream) for e in events if isinstance(e, StreamDataReceived)]
        for events in wire.events.values()
    ]
    return said, arrived, kept


@settings(max_examples=40, deadline=None)
@given(st.lists(step, max_size=12))
def test_packets_are_upstreams_to_the_byte(steps):
    assert played(steps, by_upstream=False) == played(steps, by_upstream=True)


@settings(max_examples=20, deadline=None)
@given(st.lists(step, max_size=12), st.integers(0, 1000))
def test_packets_are_upstreams_when_many_are_lost(steps, seed):
    ours = played(steps, by_upstream=False, seed=seed, lossy=True)
    assert ours == played(steps, by_upstream=True, seed=seed, lossy=True)


@settings(max_examples=20, deadline=None)
@given(st.lists(step, max_size=12), st.integers(0, 1000), st.booleans())
def test_packets_are_upstreams_when_bytes_are_copied(steps, seed, lossy):
    ours = played(steps, by_upstream=False, seed=seed, lossy=lossy, redundancy=1.0)
    assert ours == played(steps, by_upstream=True, seed=seed, lossy=lossy, redundancy=1.0)


def test_the_usual_conversation_does_not_trouble_upstream(monkeypatch):
    wire = Wire().handshake()
    there = wire.client.open_stream(bidirectional=False, priority=0)
    back = wire.server.open_stream(bidirectional=False, priority=0)
    wire.client.table.feed(there, b"hello", fin=False)
    wire.server.table.feed(back, b"hello", fin=False)
    wire.run(1.0)

    def fail(*_arguments, **_options):
        raise AssertionError("upstream was troubled")

    monkeypatch.setattr(QuicPacketBuilder, "__init__", fail)
    monkeypatch.setattr(QuicConnection, "receive_datagram", fail)
    monkeypatch.setattr(QuicConnection, "get_timer", fail)
    for _ in range(20):
        wire.client.table.feed(there, bytes(60), fin=False)
        wire.server.table.feed(back, bytes(60), fin=False)
        wire.run(0.02)
    for engine in (wire.client, wire.server):
        received = [e.data for e in wire.events[engine] if isinstance(e, StreamDataReceived)]
        assert len(b"".join(received)) == 5 + 20 * 60


def test_what_is_damaged_repeated_or_late_changes_what_upstream_says_it_changes():
    wire = Wire().handshake()
    stream = wire.client.open_stream(bidirectional=False, priority=0)
    wire.client.table.feed(stream, b"one", fin=False)
    wire.run(0.5)
    packets = []
    for content in (b"two", b"three", b"four"):
        wire.client.table.feed(stream, content, fin=False)
        packets += [data for data, _ in wire.client.datagrams_to_send(wire.now)]
    two, three, four = packets
    damaged = two[:-1] + bytes([two[-1] ^ 1])
    for data in (damaged, two, two, four, three, four, two[:12], b"\x40"):
        wire.server.receive_datagram(data, CLIENT, wire.now)
    wire.run(1.0)
    events = wire.events[wire.server]
    heard = [event.data for event in events if isinstance(event, StreamDataReceived)]
    assert b"".join(heard) == b"onetwothreefour"
    assert wire.server._spaces[tls.Epoch.ONE_RTT].ack_at is None


def test_keys_are_changed_by_either_side_and_followed_by_the_other():
    wire = Wire().handshake()
    streams = [(e, e.open_stream(bidirectional=False, priority=0)) for e in wire.events]
    for turn in range(12):
        for engine, stream in streams:
            engine.table.feed(stream, bytes(60), fin=False)
        if turn % 4 == 1:
            streams[turn // 4 % 2][0].request_key_update()
        wire.run(0.1)
    phases = {e._cryptos[tls.Epoch.ONE_RTT].key_phase for e in wire.events}
    assert phases == {1}
    for events in wire.events.values():
        heard = [event.data for event in events if isinstance(event, StreamDataReceived)]
        assert len(b"".join(heard)) == 12 * 60


def test_chacha20_protects_as_well():
    wire = Wire()
    suites = [tls.CipherSuite.CHACHA20_POLY1305_SHA256]
    wire.server._configuration.cipher_suites = suites
    wire.handshake()
    stream = wire.client.open_stream(bidirectional=False, priority=0)
    for _ in range(4):
        wire.client.table.feed(stream, bytes(60), fin=False)
        wire.run(0.2)
    assert wire.client._cryptos[tls.Epoch.ONE_RTT].send.hp._is_chacha20
    assert wire.client._usual is not None
    events = wire.events[wire.server]
    heard = [event.data for event in events if isinstance(event, StreamDataReceived)]
    assert len(b"".join(heard)) == 4 * 60


def test_no_connection_keeps_buffers_for_handshake_messages_between_two_of_them():
    for touched in (QuicConnection._handle_crypto_frame, QuicConnection._connect):
        source = inspect.getsource(touched)
        assert "self.tls.handle_message(" in source
        assert "self._push_crypto_data()" in source
    assert "_crypto_buffers" not in inspect.getsource(QuicConnection._discard_epoch)
    wire = Wire()
    sizes = []
    wire.lose = lambda: sizes.extend(len(engine._crypto_buffers) for engine in wire.events)
    wire.handshake()
    assert sizes
    assert not any(sizes)
    assert wire.server.protocol == "x"


def test_a_message_that_is_refused_leaves_no_buffer_and_no_bytes_of_an_answer():
    wire = Wire(pins=frozenset([bytes(32)])).handshake()
    assert wire.client.ending() is not None
    assert not wire.client._crypto_buffers


def test_bytes_beyond_a_limit_are_upstreams_to_refuse():
    wire = Wire().handshake()
    stream = wire.client.open_stream(bidirectional=False, priority=0)
    wire.client.table.feed(stream, b"one", fin=False)
    wire.run(0.5)
    wire.server.table[stream].max_stream_data_local = 10
    wire.client.table.feed(stream, bytes(60), fin=False)
    wire.run(0.5)
    ending = wire.client.ending()
    assert ending is not None
    assert ending.code == QuicErrorCode.FLOW_CONTROL_ERROR


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


CLOSES = [(0, None, ""), (0x17, None, "bye"), (QuicErrorCode.CONNECTION_REFUSED, 0, "grüße")]


@pytest.mark.parametrize(("code", "frame_type", "reason"), CLOSES)
def test_a_close_is_read_once_and_is_upstreams_in_every_other_respect(
    monkeypatch, code, frame_type, reason
):
    ends = []
    for is_plain in (False, True):
        wire = Wire().handshake()
        wire.run(1.0)
        wire.client.close(code, frame_type, reason)
        ((words, _),) = wire.client.datagrams_to_send(wire.now)
        with monkeypatch.context() as patch:
            if is_plain:
                patch.setattr(QuicConnection, "receive_datagram", None)
            else:
                patch.setattr(plain.PlainConnection, "take_plain", lambda *_: False)
            wire.server.receive_datagram(words, CLIENT, wire.now)
        server = wire.server
        ends.append((server.ending(), server._state, server.drains_until, server._close_event))
        assert server.datagrams_to_send(wire.now) == []
        server.handle_timer(server.drains_until)
        assert server.is_terminated
    assert ends[0] == ends[1]
    assert (ends[1][0].code, ends[1][0].reason, ends[1][0].remote) == (code, reason, True)


@pytest.mark.parametrize(
    ("payload", "found"),
    [
        (b"\x1d\x05\x02no", ConnectionTerminated(5, None, "no")),
        (b"\x1c\x0a\x06\x00" + bytes(20), ConnectionTerminated(10, 6, "")),
        (b"\x1d\x05\x02\xff\xfe", ConnectionTerminated(5, None, "")),
        (b"\x1d\x05\x03no", None),
        (b"\x1d\x05", None),
        (b"\x1d\x05\x02no\x01", None),
        (b"\x01\x1d\x05\x02no", None),
        (b"", None),
    ],
)
def test_a_close_is_taken_for_one_when_nothing_else_is_in_the_packet(payload, found):
    assert read_close(payload) == found
