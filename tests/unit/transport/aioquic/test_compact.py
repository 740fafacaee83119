"""White-box tests of what `private.compact` shares, or makes only when it is asked for."""

import gc
import sys
import tracemalloc

import pytest
from aioquic import tls
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import MAX_LOCAL_CHALLENGES, QuicConnection, QuicNetworkPath
from aioquic.quic.crypto import CryptoPair
from aioquic.quic.events import StreamDataReceived
from aioquic.quic.packet import QuicErrorCode, QuicProtocolVersion
from tests.unit.transport.aioquic.wires import CLIENT, SERVER, Wire, configuration

from moqvox.transport.aioquic import Limits
from moqvox.transport.aioquic.private import Engine
from moqvox.transport.aioquic.private.compact import (
    InitialKeys,
    Latest,
    LeanContext,
    slim_path,
    thin,
)

MOST_HALF_OPEN_BYTES = 24 * 1024
VERSIONS = (QuicProtocolVersion.VERSION_1, QuicProtocolVersion.VERSION_2)


def table(connection: QuicConnection) -> object:
    return connection._QuicConnection__frame_handlers  # type: ignore[attr-defined]


def test_every_frame_has_the_method_and_the_epochs_that_upstream_gives_it():
    engine = Wire().client
    plain = QuicConnection(configuration=QuicConfiguration(is_client=True))
    upstream = table(plain)
    assert len(upstream) > 30
    for kind, (handler, epochs) in upstream.items():
        ours, ours_in = table(engine)[kind]
        assert ours == getattr(engine, handler.__name__)
        assert ours_in == epochs


def test_an_unknown_frame_is_an_error_still():
    wire = Wire().handshake()
    with pytest.raises(KeyError):
        table(wire.server)[0x42]
    pair, number = wire.client._cryptos[tls.Epoch.ONE_RTT], wire.client._packet_number
    header = bytes((0x41,)) + wire.client._peer_cid.cid + number.to_bytes(2, "big")
    wire.server.receive_datagram(
        pair.encrypt_packet(header, b"\x40\x42" + bytes(20), number), CLIENT, wire.now
    )
    ending = wire.server.ending()
    assert ending is not None
    assert ending.code == QuicErrorCode.FRAME_ENCODING_ERROR


@pytest.mark.parametrize("version", VERSIONS)
def test_initial_keys_of_another_version_are_those_that_upstream_makes(version):
    first = bytes(range(8))
    wanted, known = CryptoPair(), CryptoPair()
    wanted.setup_initial(cid=first, is_client=False, version=version)
    other = next(one for one in VERSIONS if one != version)
    keys = InitialKeys(first, other, known)
    assert list(keys) == [other]
    assert keys[other] is known
    assert keys[version].recv.secret == wanted.recv.secret
    assert keys[version].send.secret == wanted.send.secret
    assert keys[version] is keys[version]


def test_a_client_that_prefers_another_version_than_its_first_packets_is_served_in_it():
    limits, now = Limits(), 0.0
    options = {"supported_versions": [*reversed(VERSIONS)], "original_version": VERSIONS[0]}
    client = Engine(configuration(is_client=True, limits=limits, **options), limits)
    first = client.original_destination_connection_id
    server = Engine(
        configuration(is_client=False, limits=limits),
        limits,
        original_destination_connection_id=first,
    )
    client.connect(SERVER, now)
    for _ in range(6):
        for data, _ in client.datagrams_to_send(now):
            server.receive_datagram(data, CLIENT, now)
        for data, _ in server.datagrams_to_send(now):
            client.receive_datagram(data, SERVER, now)
        now += 0.05
    assert client.recovery.handshake_confirmed
    assert server.recovery.handshake_confirmed
    assert server._version == client._version == VERSIONS[1]


def test_new_keys_end_what_was_taken_as_known():
    wire = Wire().handshake()
    stream = wire.client.open_stream(bidirectional=True, priority=0)
    wire.client.table.feed(stream, b"before", fin=False)
    wire.run(0.2)
    usual = wire.server._survey()
    assert usual is not None
    wire.client.request_key_update()
    wire.client.table.feed(stream, b"after", fin=False)
    wire.run(0.2)
    assert wire.server._cryptos[tls.Epoch.ONE_RTT].recv.key_phase == 1
    assert wire.server._usual is not usual
    assert (
        b"".join(e.data for e in wire.events[wire.server] if isinstance(e, StreamDataReceived))
        == b"beforeafter"
    )


def test_a_change_of_keys_is_told_to_the_connection_and_not_logged():
    wire = Wire().handshake()
    for epoch in (tls.Epoch.HANDSHAKE, tls.Epoch.ONE_RTT):
        pair = wire.server._cryptos[epoch]
        assert pair.recv._setup_cb == pair.send._setup_cb == wire.server._on_keys
    assert wire.server._survey() is not None
    wire.server._cryptos[tls.Epoch.ONE_RTT].recv._setup_cb("remote_update")
    assert wire.server._usual is None


def test_challenges_of_ours_are_remembered_as_far_as_upstream_remembers_them():
    path, upstream = slim_path(QuicNetworkPath(CLIENT)), QuicNetworkPath(CLIENT)
    assert isinstance(path.local_challenges, Latest)
    for number in range(2 * MAX_LOCAL_CHALLENGES):
        path.local_challenges.append(bytes((number,)))
        upstream.local_challenges.append(bytes((number,)))
    assert list(path.local_challenges) == list(upstream.local_challenges)


def test_challenges_of_the_peer_are_answered_in_turn():
    path = slim_path(QuicNetworkPath(CLIENT))
    for number in range(3):
        path.remote_challenges.append(bytes((number,)))
    assert [path.remote_challenges.popleft() for _ in range(3)] == [b"\0", b"\1", b"\2"]
    assert slim_path(path).remote_challenges is path.remote_challenges


def test_a_half_open_connection_stays_small():
    limits = Limits()
    flights = [first_flight(limits) for _ in range(12)]
    server = configuration(is_client=False, limits=limits)

    def answer(first: bytes, datagrams: list[bytes]) -> Engine:
        engine = Engine(server, limits, original_destination_connection_id=first)
        for data in datagrams:
            engine.receive_datagram(data, CLIENT, 0.0)
        assert engine.datagrams_to_send(0.0)
        return engine

    held = [answer(*flights[0])]
    gc.collect()
    tracemalloc.start()
    try:
        held += [answer(*flight) for flight in flights[1:]]
        gc.collect()
        each = tracemalloc.get_traced_memory()[0] / (len(held) - 1)
    finally:
        tracemalloc.stop()
    assert each < MOST_HALF_OPEN_BYTES


def first_flight(limits: Limits) -> tuple[bytes, list[bytes]]:
    client = Engine(configuration(is_client=True, limits=limits), limits)
    client.connect(SERVER, 0.0)
    datagrams = [data for data, _ in client.datagrams_to_send(0.0)]
    return client.original_destination_connection_id, datagrams


def test_what_is_nothing_is_the_classs_until_it_is_something():
    class Thing:
        def __init__(self, late, given):
            self.late, self.given, self.count = late, given, 0

    first, second = Thing(None, False), Thing(None, 7)
    for one in (first, second):
        thin(one)
    assert vars(first) == {"count": 0}
    assert vars(second) == {"given": 7, "count": 0}
    assert (first.late, first.given, second.late, second.given) == (None, False, None, 7)
    second.late = 5
    assert first.late is None


def test_a_connections_attributes_are_upstreams_though_its_class_holds_some():
    limits, first = Limits(), bytes(8)
    given = configuration(is_client=False, limits=limits)
    upstream = QuicConnection(configuration=given, original_destination_connection_id=first)
    engine = Engine(given, limits, original_destination_connection_id=first)
    for name, value in vars(upstream).items():
        if value is None or isinstance(value, bool):
            assert getattr(engine, name) == value, name


def test_a_half_open_connection_has_room_for_no_more_attributes_than_it_needs():
    wire = Wire()
    wire.run(1.5 * wire.delay)
    server = wire.server
    assert server.has_begun
    assert not server.recovery.handshake_confirmed
    # The steps of a dict's size are 42 and 85 entries.
    assert sys.getsizeof(vars(server)) < 1600
    assert sys.getsizeof(vars(server.tls)) < 900


def test_servers_offer_from_one_list_and_a_client_from_its_own():
    one, other = Wire().handshake(), Wire().handshake()
    assert isinstance(one.server.tls, LeanContext)
    for name in ("_cipher_suites", "_signature_algorithms", "_supported_groups"):
        assert getattr(one.server.tls, name) is getattr(other.server.tls, name)
        assert getattr(one.client.tls, name) is not getattr(other.client.tls, name)
