"""Each private name of aioquic's that is touched is there, and means what it did.

When upstream changes, these name the module, the line and the name. Then `private` is to be read
against the new version, and what is written here brought up to date with it.
"""

import inspect

import pytest
from aioquic import tls
from aioquic.quic.connection import QuicConnection
from aioquic.quic.crypto import CryptoContext, CryptoPair
from aioquic.quic.recovery import QuicPacketRecovery
from aioquic.quic.stream import QuicStream
from tests.unit.transport.aioquic import touches

from moqvox.transport.aioquic.private.compact import FRAME_HANDLERS, OFFERS
from moqvox.transport.aioquic.private.engine import KEPT
from moqvox.transport.aioquic.private.written import SPENT

OURS_BY_CLASS = {
    "QuicConnection": """
        _adopt _allow_repetition _ask_again _bulk_bytes _bulk_since _challenge_active_path
        _challenged_at _challenges_active _check_certificate _churn _count_churn _desk
        _followed _gaps _has_silent_paths _identify _insist _insistence _is_initiator
        _is_more_due _is_proven _is_vouched_for _issue_ticket _issuer _known_losses _left
        _limits _next_packet _note_received _on_gap _on_keys _on_token_delivery _origin
        _owes_ticket _path _pins _raise_max_data _redeem _redeemed _repeats_from _roots
        _sending_at _sends_early _settle_early _skip_at _survey _take_ack _take_close
        _take_frames _take_issuer _take_received_ack _takes _takes_early _tells_gap
        _tickets _token_pending _usual _watch_bulk _write_token
    """,
    "QuicPacketRecovery": """
        _is_guessing _judge _learn_lateness _note_passed _sample _silent_since _suspects
    """,
    "QuicStreamSender": """
        _arrived _copied_stop _flies _flying _lost _missing _name
    """,
}
"""Private names that ours alone have, by the class of upstream's that they derive from."""

OURS = {owner: frozenset(names.split()) for owner, names in OURS_BY_CLASS.items()}

METHODS = """
Context._build_session_ticket: self, new_session_ticket, other_extensions
QuicConnection.__init__: self, configuration, original_destination_connection_id,
    retry_source_connection_id, session_ticket_fetcher, session_ticket_handler, token_handler
QuicConnection._add_network_path: self, network_path
QuicConnection._close_begin: self, is_initiator, now
QuicConnection._connect: self, now
QuicConnection._find_network_path: self, addr
QuicConnection._get_or_create_stream_for_send: self, stream_id
QuicConnection._handle_crypto_frame: self, context, frame_type, buf
QuicConnection._handle_max_stream_data_frame: self, context, frame_type, buf
QuicConnection._handle_path_response_frame: self, context, frame_type, buf
QuicConnection._handle_reset_stream_frame: self, context, frame_type, buf
QuicConnection._handle_stop_sending_frame: self, context, frame_type, buf
QuicConnection._idle_timeout: self
QuicConnection._initialize: self, peer_cid
QuicConnection._log_key_updated: self, key_type, trigger
QuicConnection._on_ack_delivery: self, delivery, space, highest_acked
QuicConnection._on_max_stream_data_delivery: self, delivery, stream
QuicConnection._parse_transport_parameters: self, data, from_session_ticket
QuicConnection._push_crypto_data: self
QuicConnection._replenish_connection_ids: self
QuicConnection._retire_peer_cid: self, connection_id
QuicConnection._send_probe: self
QuicConnection._send_probing_frames: self, network_path, now
QuicConnection._serialize_transport_parameters: self
QuicConnection._unblock_streams: self, is_unidirectional
QuicConnection._update_traffic_key: self, direction, epoch, cipher_suite, secret
QuicConnection._use_reserved_peer_cid: self, network_path
QuicConnection._write_application: self, builder, network_path, now
QuicConnection._write_connection_limits: self, builder, space
QuicConnection._write_path_challenge_frame: self, builder, network_path
QuicConnection._write_stream_frame: self, builder, space, stream, max_offset
QuicConnection._write_stream_limits: self, builder, space, stream
QuicConnection.change_connection_id: self
QuicConnection.datagrams_to_send: self, now
QuicConnection.get_timer: self
QuicConnection.handle_timer: self, now
QuicConnection.receive_datagram: self, data, addr, now
QuicConnection.request_key_update: self
QuicPacketRecovery.__init__: self, congestion_control_algorithm, initial_rtt, max_datagram_size,
    peer_completed_address_validation, send_probe, logger, quic_logger
QuicPacketRecovery._on_packets_lost: self, congestion_event, now, packets,
    persistent_congestion, space
QuicPacketRecovery.congestion_window: property
QuicPacketRecovery.on_ack_received: self, ack_rangeset, ack_delay, now, space
QuicPacketRecovery.on_loss_detection_timeout: self, now
QuicPacketRecovery.reschedule_data: self, now, speed_up_handshake
QuicStream.is_finished: property
QuicStreamReceiver.handle_frame: self, frame
QuicStreamReceiver.on_stop_sending_delivery: self, delivery
QuicStreamSender.__init__: self, stream_id, writable
QuicStreamSender.get_frame: self, max_size, max_offset
QuicStreamSender.on_data_delivery: self, delivery, start, stop, fin
QuicStreamSender.on_reset_delivery: self, delivery
QuicStreamSender.reset: self, error_code
RenoCongestionControl.on_packets_lost: self, now, packets
"""
"""Upstream's methods that are overridden, or called by a private name, and their parameters."""


def methods():
    """Read the list; a line that is indented goes on with the one before."""
    lines = METHODS.strip().replace("\n    ", " ").splitlines()
    return dict(line.split(": ") for line in lines)


@pytest.fixture
def held():
    return {name: touches.has(one) for name, one in touches.bare().items()}


def test_every_private_name_is_upstreams_or_ours(held):
    assert touches.missing(touches.all_touches(), OURS, held) == []


def test_no_name_is_both_upstreams_and_ours(held):
    """A new attribute of upstream's with a name of ours would be written over."""
    assert {name: held[name] & names for name, names in OURS.items() if held[name] & names} == {}


def test_no_name_is_listed_that_nothing_touches():
    found = {(touch.owner, touch.name) for touch in touches.all_touches()}
    assert {(owner, name) for owner, names in OURS.items() for name in names} - found == set()


def test_a_name_that_upstream_has_no_more_is_told_each_time(held):
    found = touches.all_touches()
    theirs = {(one.owner, one.name) for one in found} - {
        (owner, name) for owner, names in OURS.items() for name in names
    }
    assert len(theirs) > 100
    for owner, name in theirs:
        without = {**held, owner: held[owner] - {name}}
        told = touches.missing(found, OURS, without)
        assert told
        assert all(line.endswith(f": {owner}.{name}") for line in told)


@pytest.mark.parametrize(
    "source",
    [
        "return self._invented",
        "self._invented = 1",
        "super()._invented()",
        "self._streams_queue = self._invented",
    ],
)
def test_an_invented_name_is_told(held, source):
    kinds = {"Ours": type("Ours", (QuicConnection,), {})}
    text = f"class Ours(QuicConnection):\n    def f(self):\n        {source}\n"
    found = list(touches.touches("usual", text, kinds))
    assert touches.missing(found, OURS, held) == ["usual:3: QuicConnection._invented"]


def test_an_override_of_nothing_is_told(held):
    kinds = {"Ours": type("Ours", (QuicStream,), {})}
    text = "class Ours(QuicStream):\n    def _invented(self): pass\n"
    found = list(touches.touches("streams", text, kinds))
    assert touches.missing(found, OURS, held) == ["streams:2: QuicStream._invented"]


def test_a_private_name_of_something_unknown_is_refused():
    with pytest.raises(LookupError, match="usual:1: what is thing, that it has _invented"):
        list(touches.touches("usual", "thing._invented", {}))


def test_nobody_outside_touches_what_is_private(held):
    theirs = frozenset(filter(touches.is_private, set().union(*held.values())))
    read = dict(touches.outsiders())
    assert {"moqvox.connect", "moqvox.transport.aioquic.link", "moqvox.bound"} <= read.keys()
    assert [
        one for name, text in read.items() for one in touches.trespasses(name, text, theirs)
    ] == []


@pytest.mark.parametrize(
    "source",
    [
        "from aioquic._buffer import Buffer",
        "from aioquic.quic.connection import _private",
        "import aioquic._crypto",
        "import aioquic; aioquic.connection._close_at",
        "import aioquic\nclass A(QuicConnection):\n    def f(self): self._close_at = 1",
    ],
)
def test_who_touches_it_outside_is_told(source):
    assert list(touches.trespasses("moqvox.session", source, frozenset({"_close_at"})))


def test_methods_that_are_overridden_or_called_have_the_parameters_that_they_had():
    found = {*touches.overridden(), *touches.called(touches.all_touches())}
    now = {
        f"{kind.__name__}.{name}": touches.parameters(kind, name)
        for kind, name in found
        if name == "__init__" or not name.startswith("__")
    }
    assert now == methods()


def test_names_that_are_written_as_strings_are_there(held):
    bare = touches.bare()
    context, connection = held["Context"], held["QuicConnection"]
    assert set(OFFERS) | SPENT - {"server_random"} <= context
    assert "self.server_random = " in inspect.getsource(tls.Context._server_handle_hello)
    assert all(isinstance(getattr(bare["Context"], name), list) for name in OFFERS)
    assert KEPT - {"was_reset", "_is_initiator"} <= connection
    table = getattr(bare["QuicConnection"], FRAME_HANDLERS)
    assert all(handler.__self__ is bare["QuicConnection"] for handler, _ in table.values())
    assert len(table) > 30
    looked_at = set(OFFERS) | SPENT | KEPT | {FRAME_HANDLERS}
    for module in touches.MODULES:
        assert touches.underscored(inspect.getsource(module)) <= looked_at


FACTS = [
    (QuicConnection._write_application, "if self._handshake_done_pending:"),
    (QuicConnection._handle_crypto_frame, "self._handshake_done_pending = True"),
    (QuicConnection._serialize_transport_parameters, "self._local_initial_source_connection_id"),
    (QuicConnection._replenish_connection_ids, "self._remote_active_connection_id_limit"),
    (QuicConnection._parse_transport_parameters, 'setattr(self, "_remote_" + param, value)'),
    (
        QuicConnection._get_or_create_stream_for_send,
        "max_stream_data_remote = self._remote_max_stream_data_uni",
    ),
    (QuicConnection._retire_peer_cid, "self._retire_connection_ids.append("),
    (QuicConnection._use_reserved_peer_cid, "self._retire_peer_cid(self._peer_cid)"),
    (QuicConnection._use_reserved_peer_cid, "self._peer_cid = network_path.peer_cid"),
    (QuicConnection._use_reserved_peer_cid, "self._spin_bit = False"),
    (QuicConnection._log_key_updated, "if self._quic_logger is not None:"),
    (QuicConnection.next_event, "return self._events.popleft()"),
    (QuicConnection._write_stream_frame, "frame = stream.sender.get_frame("),
    (CryptoPair.encrypt_packet, "if self._update_key_requested:"),
    (CryptoContext.setup, 'self._setup_cb("tls")'),
    (CryptoContext.teardown, 'self._teardown_cb("tls")'),
    (tls.Context._set_peer_certificate, "self._peer_certificate_chain = ["),
    (QuicPacketRecovery.on_ack_received, "self._rtt_first_sample_time = now"),
    (QuicPacketRecovery.get_probe_timeout, "return 2 * self._rtt_initial"),
    (QuicPacketRecovery.on_packet_sent, "_time_of_last_sent_ack_eliciting_packet = packet.sent"),
]
"""What names are for that no other test speaks of."""


@pytest.mark.parametrize(("where", "said"), FACTS)
def test_upstream_uses_a_name_for_what_it_did(where, said):
    assert said in inspect.getsource(where)


def test_what_is_read_before_it_is_written_begins_as_it_did():
    bare = touches.bare()
    connection, recovery = bare["QuicConnection"], bare["QuicPacketRecovery"]
    assert connection._handshake_done_pending is False
    assert connection._quic_logger is None
    assert connection._local_initial_source_connection_id == connection.host_cid
    assert connection._remote_active_connection_id_limit == 2
    assert connection._remote_max_stream_data_uni == 0
    assert connection._cryptos[tls.Epoch.ONE_RTT]._update_key_requested is False
    assert connection.tls._peer_certificate is None
    assert connection.tls._peer_certificate_chain == []
    assert recovery._rtt_first_sample_time == 0.0
    assert recovery._rtt_initial == 0.1
    assert recovery._time_of_last_sent_ack_eliciting_packet == 0.0
