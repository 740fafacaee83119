"""What a peer may not do: handshake bytes far ahead, churn, ACKs of what was never sent."""

import inspect

import pytest
from aioquic.quic.connection import QuicConnection
from aioquic.quic.packet import QuicPacketType
from aioquic.quic.packet_builder import QuicPacketBuilder
from aioquic.quic.rangeset import RangeSet
from aioquic.tls import Epoch
from tests.unit.transport.aioquic.wires import Wire

from moqvox.transport.aioquic import Limits
from moqvox.transport.aioquic.limits import MAX_CRYPTO_FROM_CLIENT, MAX_CRYPTO_FROM_SERVER, MAX_GAPS
from moqvox.transport.aioquic.private.guard import BULK_BYTES
from moqvox.transport.aioquic.varint import encode_varint


@pytest.mark.parametrize(
    "name", ["_handle_crypto_frame", "_handle_reset_stream_frame", "_handle_stop_sending_frame"]
)
def test_upstream_has_the_handlers_that_are_watched(name):
    parameters = list(inspect.signature(getattr(QuicConnection, name)).parameters)
    assert parameters == ["self", "context", "frame_type", "buf"]


def test_upstream_makes_the_handshake_streams_where_it_did():
    source = inspect.getsource(QuicConnection._initialize)
    assert "self._crypto_streams = {" in source
    assert list(inspect.signature(QuicConnection._initialize).parameters) == ["self", "peer_cid"]


def forge(wire, sender, receiver, *values):
    """Deliver a packet whose frames are these varints and bytes."""
    wire.run(0.1)
    builder = QuicPacketBuilder(
        host_cid=sender.host_cid,
        peer_cid=sender._peer_cid.cid,
        version=1,
        is_client=sender is wire.client,
        max_datagram_size=1200,
        packet_number=sender._packet_number,
    )
    sender._packet_number += 1
    builder.start_packet(QuicPacketType.ONE_RTT, sender._cryptos[Epoch.ONE_RTT])
    for value in values:
        builder._buffer.push_bytes(value if isinstance(value, bytes) else encode_varint(value))
    (data,), _ = builder.flush()
    source = wire.client_address if sender is wire.client else ("192.0.2.2", 443)
    receiver.receive_datagram(data, source, wire.now)


@pytest.mark.parametrize(
    ("from_client", "most"), [(True, MAX_CRYPTO_FROM_CLIENT), (False, MAX_CRYPTO_FROM_SERVER)]
)
@pytest.mark.parametrize(("beyond", "code"), [(0, None), (1, 0x0D)])
def test_handshake_bytes_are_kept_so_far_ahead_and_no_farther(from_client, most, beyond, code):
    wire = Wire().handshake()
    sender, receiver = wire.client, wire.server
    if not from_client:
        sender, receiver = receiver, sender
    received = receiver._crypto_streams[Epoch.ONE_RTT].receiver.starting_offset()
    forge(wire, sender, receiver, 0x06, received + most - 1 + beyond, 1, b"x")
    ending = receiver.ending()
    assert (ending.code if ending else None) == code


def test_handshake_bytes_have_no_more_gaps_than_a_stream():
    wire = Wire().handshake()
    for offset in range(1, 2 * (MAX_GAPS + 3), 2):
        forge(wire, wire.client, wire.server, 0x06, offset, 1, b"x")
        if wire.server.ending() is not None:
            break
    assert wire.server.ending().reason == "too many gaps in a stream"


@pytest.mark.parametrize("frame", [0x04, 0x05], ids=["RESET_STREAM", "STOP_SENDING"])
def test_streams_may_be_abandoned_only_so_fast(frame):
    limits = Limits(stream_resets_per_second=10, stream_reset_burst=20)
    wire = Wire(limits=limits).handshake()
    stream = wire.client.open_stream(bidirectional=True, priority=0)
    fields = (frame, stream, 0, 0) if frame == 0x04 else (frame, stream, 0)
    for _ in range(20):
        forge(wire, wire.client, wire.server, *fields)
        wire.now -= 0.1  # as fast as can be
    assert wire.server.ending() is None
    forge(wire, wire.client, wire.server, *fields, *fields)
    assert wire.server.ending().reason == "streams are abandoned too fast"


def test_abandoned_streams_are_forgiven_with_time():
    limits = Limits(stream_resets_per_second=10, stream_reset_burst=5)
    wire = Wire(limits=limits).handshake()
    stream = wire.client.open_stream(bidirectional=True, priority=0)
    for _ in range(40):  # each a tenth of a second after the one before
        forge(wire, wire.client, wire.server, 0x05, stream, 0)
    assert wire.server.ending() is None


def bulk(wire, size):
    """Send so many bytes to the client in one go."""
    stream = wire.server.open_stream(bidirectional=False, priority=0)
    wire.server.table.feed(stream, bytes(size), fin=True)
    wire.client.redundancy.on_loss = lambda _now: None
    for _ in range(200):
        wire.run(0.02)
        for event in wire.events[wire.client]:
            if hasattr(event, "data"):
                wire.client.table.hand_over(event.stream_id, len(event.data))
        wire.events[wire.client].clear()


def test_numbers_are_left_out_in_bulk_and_guessed_acks_are_found_out():
    wire = Wire(limits=Limits(stream_window_bytes=1 << 20), delay=0.001).handshake()
    bulk(wire, 4 * BULK_BYTES)
    server = wire.server
    assert len(server.skipped_numbers) >= 2
    assert server.ending() is None
    guess = server.skipped_numbers[-1]
    with pytest.raises(Exception, match="never sent"):
        server.recovery.on_ack_received(
            ack_rangeset=RangeSet([range(guess, guess + 1)]),
            ack_delay=0.0,
            now=wire.now,
            space=server._spaces[Epoch.ONE_RTT],
        )


def test_the_client_sees_the_numbers_left_out_and_nothing_is_lost():
    wire = Wire(limits=Limits(stream_window_bytes=1 << 20), delay=0.001).handshake()
    bulk(wire, 4 * BULK_BYTES)
    assert wire.server.is_settled
    assert wire.server.recovery.lost_packets == 0


def test_voice_has_every_number_for_a_gap_looks_like_a_loss():
    wire = Wire().handshake()
    stream = wire.server.open_stream(bidirectional=False, priority=0)
    for _ in range(500):
        wire.server.table.feed(stream, bytes(80), fin=False)
        wire.run(0.02)
    assert not wire.server.skipped_numbers
