"""What `docs/upstream.md` says of aioquic and no other test shows, on aioquic by itself.

Who mends one of these upstream makes its test fail; then our way around it may go.
"""

import logging
import re
from pathlib import Path

import pytest
from aioquic import tls
from aioquic.asyncio import server as upstream_server
from aioquic.h3.connection import FrameType, H3Connection, Setting, StreamType, encode_frame
from aioquic.h3.events import HeadersReceived, WebTransportStreamDataReceived
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import StreamDataReceived
from aioquic.quic.packet import QuicErrorCode, QuicStreamFrame
from aioquic.quic.retry import QuicRetryTokenHandler
from aioquic.quic.stream import QuicStreamReceiver
from tests.unit.transport.aioquic.wires import CLIENT, SERVER, configuration

from moqvox.transport.aioquic import Limits

ROUNDS = 8
STREAMS = 20
NAMED = 4000
PARTS = 3
"""So few that pacing holds none of their packets back."""
MIB = 1 << 20


class Pair:
    """A client and a server of plain aioquic, whose datagrams arrive at once."""

    def __init__(self):
        limits, self.now = Limits(), 0.0
        self.client = QuicConnection(configuration=configuration(is_client=True, limits=limits))
        self.server = QuicConnection(
            configuration=configuration(is_client=False, limits=limits),
            original_destination_connection_id=self.client.original_destination_connection_id,
        )
        self.client.connect(SERVER, self.now)
        self.carry()

    def carry(self):
        for _ in range(ROUNDS):
            self.now += 0.01
            ways = (self.client, self.server, CLIENT), (self.server, self.client, SERVER)
            for sender, receiver, address in ways:
                for data, _ in sender.datagrams_to_send(self.now):
                    receiver.receive_datagram(data, address, self.now)


@pytest.fixture
def pair():
    return Pair()


def heard(connection):
    events = []
    while (event := connection.next_event()) is not None:
        events.append(event)
    return events


def h3_of(connection):
    return H3Connection(connection, enable_webtransport=True)


def test_an_answer_on_a_webtransport_stream_of_ours_is_read_as_http3(pair):
    h3 = h3_of(pair.client)
    stream_id = h3.create_webtransport_stream(session_id=0)
    # What an application at the other end may well say: it looks like the head of a frame.
    said = bytes((FrameType.DATA, 0x01, 0x2A))
    found = h3.handle_event(StreamDataReceived(data=said, end_stream=False, stream_id=stream_id))
    assert not [event for event in found if isinstance(event, WebTransportStreamDataReceived)]
    assert pair.client._close_event.error_code == 0x105  # H3_FRAME_UNEXPECTED


def test_an_ack_that_is_due_now_waits_for_pacing(pair):
    """And its timer goes off for it at once, as long as the clock stands still."""
    pair.client.send_stream_data(2, b"x")
    for data, _ in pair.client.datagrams_to_send(pair.now):
        pair.server.receive_datagram(data, CLIENT, pair.now)
    due_at = pair.server.get_timer()
    pair.server._loss._pacer.next_send_time = lambda now: now + 1.0
    pair.server.handle_timer(due_at)
    assert pair.server.datagrams_to_send(due_at) == []
    assert pair.server.get_timer() == due_at
    assert pair.server.datagrams_to_send(due_at + 1e-9)


def test_webtransport_streams_that_are_over_are_kept(pair):
    here, there = h3_of(pair.client), h3_of(pair.server)
    for _ in range(STREAMS):
        stream_id = here.create_webtransport_stream(session_id=0)
        pair.client.send_stream_data(stream_id, b"question", end_stream=True)
    pair.carry()
    answered = []
    for event in [found for one in heard(pair.server) for found in there.handle_event(one)]:
        if isinstance(event, WebTransportStreamDataReceived) and event.stream_ended:
            pair.server.send_stream_data(event.stream_id, b"answer", end_stream=True)
            answered.append(event.stream_id)
    pair.carry()
    assert len(answered) == STREAMS
    assert not pair.server._streams.keys() & set(answered)
    assert there._stream.keys() >= set(answered)


def test_a_section_of_a_few_bytes_becomes_many_times_as_many(pair):
    h3 = h3_of(pair.server)
    capacity, length = b"\x3f\xe1\x1f", 3500  # 4096 bytes; an entry of one name and 3500 bytes
    entry = b"\x41x" + b"\x7f\xad\x1a" + bytes(b"v" * length)
    told = bytes((StreamType.QPACK_ENCODER,)) + capacity + entry
    h3.handle_event(StreamDataReceived(data=told, end_stream=False, stream_id=2))
    request = b"\xd1\xd7\xc1" + b"\x50\x01a"  # GET https://a/
    section = b"\x02\x00" + request + b"\x80" * NAMED
    frame = encode_frame(FrameType.HEADERS, section)
    found = h3.handle_event(StreamDataReceived(data=frame, end_stream=True, stream_id=0))
    (headers,) = [event.headers for event in found if isinstance(event, HeadersReceived)]
    assert sum(len(value) for _, value in headers) > NAMED * length
    assert len(told) + len(frame) < NAMED * length // 500
    assert Setting.MAX_FIELD_SECTION_SIZE not in h3.sent_settings


def test_roots_are_parsed_for_each_certificate_that_is_checked(monkeypatch):
    parsed = []
    load = tls.load_pem_x509_certificates
    monkeypatch.setattr(
        tls, "load_pem_x509_certificates", lambda pem: parsed.append(1) or load(pem)
    )
    for _ in range(3):
        Pair()
    assert len(parsed) == 3


def test_each_part_of_a_stream_that_lies_apart_gets_a_packet_of_its_own(pair):
    stream_id = pair.client.get_next_available_stream_id(is_unidirectional=True)
    pair.client.send_stream_data(stream_id, bytes(1000))
    pair.carry()
    stream = pair.client._streams[stream_id]
    stream.sender.write(bytes(20 * PARTS))
    for start in range(1000, 1000 + 20 * PARTS, 20):
        stream.sender._pending.subtract(start, start + 10)  # as if it had left already
    sent = pair.client.datagrams_to_send(pair.now)
    assert len(sent) == PARTS
    assert sum(len(data) for data, _ in sent) < 1000  # one packet has room for all of it


def test_each_connection_that_ends_visits_every_connection():
    compared = []

    class Protocol:
        def __eq__(self, other):
            compared.append(1)
            return self is other

        __hash__ = object.__hash__

    server = upstream_server.QuicServer.__new__(upstream_server.QuicServer)
    crowd = [Protocol() for _ in range(1000)]
    server._protocols = {bytes((n >> 8, n & 255)): one for n, one in enumerate(crowd)}
    server._connection_terminated(crowd[0])
    assert len(compared) >= 999


def test_a_retry_token_is_good_for_the_process_that_made_it_only():
    facts = {"address": CLIENT, "now": 1.0}
    token = QuicRetryTokenHandler().create_token(
        original_destination_connection_id=bytes(8), retry_source_connection_id=bytes(8), **facts
    )
    with pytest.raises(ValueError, match="invalid"):
        QuicRetryTokenHandler().validate_token(destination_cid=bytes(8), token=token, **facts)


def test_one_byte_far_ahead_makes_room_for_all_that_is_missing_before_it():
    receiver = QuicStreamReceiver(stream_id=0, readable=True)
    receiver.handle_frame(QuicStreamFrame(data=b"x", offset=MIB - 1))
    assert len(receiver._buffer) == MIB


def test_a_peer_writes_warnings_into_the_log_as_it_likes(pair, caplog):
    pair.client._remote_max_streams_uni = 10**6
    pair.client.send_stream_data(4 * 5000 + 2, b"x")
    with caplog.at_level(logging.WARNING, logger="quic"):
        pair.carry()
    assert pair.server._close_event.error_code == QuicErrorCode.STREAM_LIMIT_ERROR
    assert [record.levelname for record in caplog.records if record.name == "quic"] == ["WARNING"]


def test_the_tests_that_the_document_names_are_there_and_its_numbers_run_on():
    here = Path(__file__).resolve()
    document = (here.parents[4] / "docs/upstream.md").read_text()
    tests = [*here.parent.glob("test_*.py"), here.parents[3] / "loopback/test_restart.py"]
    source = "".join(file.read_text() for file in tests)
    named = set(re.findall(r"`(test_\w+)`", document))
    assert {name for name in named if f"def {name}(" not in source} == set()
    files = set(re.findall(r"`(test_\w+\.py)`", document))
    assert {name for name in files if not (here.parent / name).is_file()} == set()
    numbers = [int(number) for number in re.findall(r"^(\d+)\. ", document, re.MULTILINE)]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) >= 40
