"""Beginning sooner: resumption, early data, its refusal, Retry, NEW_TOKEN, the first flight."""

import inspect
import random

import pytest
from aioquic import tls
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import HandshakeCompleted, ProtocolNegotiated, StreamDataReceived
from aioquic.quic.packet import encode_quic_retry
from tests.unit.transport.aioquic.wires import SERVER, Wire, configuration

from moqvox.transport.aioquic import Limits
from moqvox.transport.aioquic.headers import parse_long_header
from moqvox.transport.aioquic.private import Engine
from moqvox.transport.aioquic.tickets import Tickets
from moqvox.transport.quic.keys import Keys

DELAY = 0.05
"""Half a round trip."""


class Clock:
    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


def office(early: str = "x", limits: Limits | None = None, seed: int = 0) -> Tickets:
    """Begin a register; all share one secret."""
    clock = Clock()
    made = Tickets(
        Keys(bytes([seed]) * 32),
        limits or Limits(),
        early_for=frozenset([early]),
        wall_clock=clock,
    )
    made.clock = clock
    return made


def a_ticket(tickets: Tickets, **options):
    """Connect once and be given a ticket."""
    tickets.clock.now += 1
    wire = Wire(tickets=tickets, **options).handshake()
    wire.run(0.2)
    (ticket,) = wire.tickets
    return ticket


class Timed(Wire):
    """Notes when each side had the application's bytes, in round trips since the start."""

    def __init__(self, *, ticket=None, tickets=None, server=None, early=b"", first=b"", **options):
        super().__init__(ticket=ticket, tickets=tickets, delay=DELAY, **options)
        self.first = first
        self.arrivals = {self.client: [], self.server: []}
        self.completed = {}
        if early:
            stream = self.client.open_stream(bidirectional=False, priority=0)
            self.client.table.feed(stream, early, fin=True)

    def _send(self):
        super()._send()
        for engine, events in self.events.items():
            while events:
                self._take(engine, events.pop(0))

    def _take(self, engine, event):
        rounds = self.now / (2 * DELAY)
        if isinstance(event, StreamDataReceived):
            engine.table.hand_over(event.stream_id, len(event.data))
            self.arrivals[engine].append((round(rounds, 1), event.data))
        elif isinstance(event, HandshakeCompleted):
            self.completed[engine] = event
        elif isinstance(event, ProtocolNegotiated) and engine is self.server and self.first:
            stream = engine.open_stream(bidirectional=False, priority=0)
            engine.table.feed(stream, self.first, fin=True)
            super()._send()


def test_upstream_reads_early_data_as_it_did():
    source = inspect.getsource(tls.Context._server_handle_hello)
    accepted = source.index("self.early_data_accepted = True")
    asked = source.index("Epoch.ZERO_RTT", accepted)
    told = source.index("early_data=self.early_data_accepted")
    assert source.index("expected_binder") < accepted < asked < told


def test_upstream_still_forgets_early_data_at_a_retry():
    source = inspect.getsource(QuicConnection._connect) + inspect.getsource(
        QuicConnection._receive_retry_packet
    )
    assert "_on_packets_lost" not in source
    assert "reschedule" not in source


def test_what_a_server_says_first_arrives_with_its_first_flight():
    wire = Timed(first=b"subscribe")
    wire.run(1.0)
    assert wire.arrivals[wire.client] == [(1.0, b"subscribe")]


def test_a_resumed_session_has_early_data_half_a_round_trip_after_the_start():
    tickets = office()
    wire = Timed(ticket=a_ticket(tickets), tickets=tickets, early=b"hello")
    wire.run(1.0)
    assert wire.arrivals[wire.server] == [(0.5, b"hello")]
    assert wire.completed[wire.client].early_data_accepted
    assert wire.completed[wire.client].session_resumed
    assert wire.server.recovery.lost_packets == wire.client.recovery.lost_packets == 0


def test_a_ticket_is_good_at_any_server_with_the_same_keys_but_early_only_where_it_is_new():
    ticket = a_ticket(office())
    elsewhere = office()
    elsewhere.clock.now += 3600
    elsewhere._begun_at += 3600
    wire = Timed(ticket=ticket, tickets=elsewhere, early=b"hello")
    wire.run(1.0)
    completed = wire.completed[wire.client]
    assert completed.session_resumed
    assert not completed.early_data_accepted
    assert wire.arrivals[wire.server] == [(1.5, b"hello")]


def test_other_keys_mean_a_full_handshake_and_nothing_lost():
    wire = Timed(ticket=a_ticket(office()), tickets=office(seed=1), early=b"hello")
    wire.run(1.0)
    assert not wire.completed[wire.client].session_resumed
    assert wire.arrivals[wire.server] == [(1.5, b"hello")]


@pytest.mark.parametrize(
    "tickets",
    [
        office(early="another protocol"),
        office(limits=Limits(max_uni_streams=3)),
        office(limits=Limits(stream_window_bytes=1000)),
    ],
    ids=["protocol", "streams", "window"],
)
def test_early_data_is_refused_where_it_has_no_business(tickets):
    ticket = a_ticket(office())
    tickets._begun_at = 0.0
    wire = Timed(ticket=ticket, tickets=tickets, early=b"hello")
    wire.run(1.0)
    assert not wire.completed[wire.client].early_data_accepted
    assert wire.arrivals[wire.server] == [(1.5, b"hello")]


def test_a_protocol_without_early_data_has_tickets_that_say_so():
    assert a_ticket(office(early="another protocol")).max_early_data_size is None


def test_a_ticket_is_good_for_early_data_once():
    tickets = office()
    ticket = a_ticket(tickets)
    for expected in (0.5, 1.5, 1.5):
        wire = Timed(ticket=ticket, tickets=tickets, early=b"hello")
        wire.run(1.0)
        assert wire.arrivals[wire.server] == [(expected, b"hello")]


def test_a_replayed_flight_is_not_read():
    tickets = office()
    wire = Timed(ticket=a_ticket(tickets), tickets=tickets, early=b"vote")
    flight = [data for data, _ in wire.client.datagrams_to_send(0.0)]
    votes = 0
    for _ in range(5):
        server = Engine(
            configuration(is_client=False, limits=Limits()),
            Limits(),
            original_destination_connection_id=wire.client.original_destination_connection_id,
            tickets=tickets,
        )
        for data in flight:
            server.receive_datagram(data, ("192.0.2.1", 1000), 0.0)
        while (event := server.next_event()) is not None:
            votes += isinstance(event, StreamDataReceived)
    assert votes == 1


def test_refused_early_data_obeys_the_limits_that_hold_now():
    small = Limits(stream_window_bytes=1000)
    ticket = a_ticket(office())
    wire = Timed(ticket=ticket, tickets=office(limits=small), early=bytes(5000), limits=small)
    wire.run(2.0)
    assert wire.server.ending() is None
    assert sum(len(data) for _, data in wire.arrivals[wire.server]) == 5000


def retried(wire: Wire) -> Wire:
    """Answer the client's first packets with Retry, as an admission would."""
    flight = [data for data, _ in wire.client.datagrams_to_send(wire.now)]
    header = parse_long_header(flight[0])
    answer = encode_quic_retry(
        version=header.version,
        source_cid=b"retry id",
        destination_cid=header.source,
        original_destination_cid=header.destination,
        retry_token=b"proof",
    )
    wire.now = 2 * DELAY
    wire.client.receive_datagram(answer, SERVER, wire.now)
    wire.server = Engine(
        configuration(is_client=False, limits=Limits()),
        Limits(),
        original_destination_connection_id=header.destination,
        retry_source_connection_id=b"retry id",
        tickets=wire.office,
        is_proven=True,
    )
    wire.events = {wire.client: [], wire.server: []}
    wire.arrivals = {wire.client: [], wire.server: []}
    return wire


def test_early_data_survives_a_retry():
    tickets = office()
    wire = Timed(ticket=a_ticket(tickets), tickets=tickets, early=b"hello")
    wire.office = tickets
    retried(wire).run(1.0)
    assert wire.arrivals[wire.server] == [(1.5, b"hello")]
    assert wire.client.is_settled


@pytest.mark.parametrize("seed", range(10))
def test_early_data_survives_losses(seed):
    rng = random.Random(seed)
    tickets = office()
    early = rng.randbytes(rng.randrange(1, 6000))
    wire = Timed(
        ticket=a_ticket(tickets), tickets=tickets, early=early, lose=lambda: rng.random() < 0.3
    )
    wire.run(20.0)
    assert b"".join(data for _, data in wire.arrivals[wire.server]) == early


def test_a_token_is_sent_until_it_arrives_and_once():
    lost = iter([True] * 3)
    wire = Wire().handshake()
    wire.run(0.1)
    wire.server.offer_token(b"for later")
    wire.server.send_ping(0)
    wire.lose = lambda: next(lost, False)
    wire.run(3.0)
    assert wire.tokens == [b"for later"]
    assert not wire.server._token_pending


def test_a_ticket_is_made_with_the_packet_that_carries_it_and_not_before():
    """A client's first words wait behind its last handshake message: that one shall be short."""
    wire, steps = Wire(tickets=office()), []

    def note(name):
        do = getattr(wire.server, name)

        def noted(*args):
            steps.append(name)
            return do(*args)

        setattr(wire.server, name, noted)

    for name in ("receive_datagram", "datagrams_to_send", "_issue_ticket"):
        note(name)
    wire.handshake()
    wire.run(0.2)
    assert len(wire.tickets) == steps.count("_issue_ticket") == 1
    assert steps[steps.index("_issue_ticket") - 1] == "datagrams_to_send"


def test_a_proven_client_gets_all_of_a_first_flight_at_once():
    """More than three times what it sent, which an unproven one has to wait for."""
    for is_proven, expected in ((False, 2.0), (True, 1.0)):
        wire = Timed(first=bytes(6000))
        wire.server._is_proven = is_proven
        wire.run(1.0)
        assert wire.arrivals[wire.client][-1][0] == expected


def test_a_pinned_certificate_is_not_asked_for_again_on_resumption():
    tickets = office()
    ticket = a_ticket(tickets)
    wire = Timed(ticket=ticket, tickets=tickets, pins=frozenset([bytes(32)]))
    wire.run(1.0)
    assert wire.completed[wire.client].session_resumed
    assert wire.client.ending() is None


def test_a_client_makes_two_key_shares_and_the_server_takes_the_faster():
    wire = Wire()
    assert len(wire.client.tls._ec_private_keys) == 1
    assert wire.client.tls._x448_private_key is None
    wire.handshake()
    assert wire.server.protocol == "x"
    assert wire.server.tls._x25519_private_key is not None
    assert not wire.server.tls._ec_private_keys


def test_a_server_without_the_faster_group_is_reached_by_the_one_that_all_have():
    wire = Wire()
    begin = wire.server._initialize

    def begin_without(peer_cid: bytes) -> None:
        begin(peer_cid)
        wire.server.tls._supported_groups = [tls.Group.SECP256R1]

    wire.server._initialize = begin_without
    wire.handshake()
    assert wire.server.protocol == "x"
    assert wire.server.tls._x25519_private_key is None


def test_upstream_still_makes_a_key_for_each_group_that_it_knows():
    source = inspect.getsource(tls.Context._client_send_hello)
    assert "for group in self._supported_groups" in source


def test_a_first_packet_is_repeated_at_once_when_the_server_is_heard_of():
    is_away = True
    wire = Wire(lose=lambda: is_away)
    wire.run(3.5)
    timer = wire.client.get_timer()
    assert timer is not None
    assert timer > wire.now + 0.5
    is_away = False
    wire.client.repeat_hello(wire.now)
    wire.run(4 * wire.delay)
    assert any(isinstance(event, HandshakeCompleted) for event in wire.events[wire.client])


def test_a_first_packet_that_is_on_its_way_is_not_repeated():
    wire = Wire()
    wire.run(0.001)
    wire.client.repeat_hello(wire.now)
    assert not wire.client.datagrams_to_send(wire.now)
    wire.handshake()
    wire.client.repeat_hello(wire.now)
    assert not wire.client.datagrams_to_send(wire.now)
