"""Stateless resets: when one is sent, how it looks, and who believes it."""

import inspect

import pytest
from aioquic.quic.connection import QuicConnection, QuicConnectionId
from tests.unit.transport.aioquic.wires import CLIENT, SERVER, Wire

from moqvox.transport.aioquic.resets import Resets
from moqvox.transport.quic.connection_ids import Issuer, RandomIds, Steering
from moqvox.transport.quic.keys import Keys

KEYS = Keys(b"server" * 8)


def issuer(keys: Keys = KEYS, *, size: int = 8) -> Issuer:
    return Issuer(RandomIds(size=size), keys)


def packet(connection_id: bytes, size: int = 1200) -> bytes:
    return (b"\x41" + connection_id).ljust(size, b"x")


def test_upstream_makes_its_ids_where_it_did():
    """`IdentifiedConnection` replaces the first ID and all that are made later."""
    source = inspect.getsource(QuicConnection)
    assert source.count("os.urandom(configuration.connection_id_length)") == 2  # ours, the peer's
    assert source.count("os.urandom(self._configuration.connection_id_length)") == 1
    assert "os.urandom" in inspect.getsource(QuicConnection._replenish_connection_ids)
    assert "stateless_reset_token" not in inspect.getsource(QuicConnection.receive_datagram)
    assert list(QuicConnectionId.__dataclass_fields__) == [
        *("cid", "sequence_number", "stateless_reset_token", "was_sent"),
    ]
    wire = Wire(issuer=issuer()).handshake()
    assert wire.server._host_cid_seq == 8
    assert wire.client._peer_cid.sequence_number == 0
    assert wire.client._close_pending is False
    assert [path.peer_cid for path in wire.client._network_paths] == [None]


@pytest.mark.parametrize("size", [8, 4, 20])
def test_every_id_that_a_peer_gets_is_the_issuers_and_has_its_token(size):
    wire = Wire(issuer=issuer(size=size)).handshake()
    ids = [wire.client._peer_cid, *wire.client._peer_cid_available]
    assert len(ids) == 8
    for one in ids:
        assert len(one.cid) == size
        assert one.stateless_reset_token == KEYS.reset_token(one.cid)
    for _ in range(20):
        wire.client.move(wire.now, wire.open_way(("192.0.2.8", 8)))
        wire.run(0.1)
    used = wire.client._peer_cid
    assert used.sequence_number >= 20
    assert used.stateless_reset_token == KEYS.reset_token(used.cid)


def test_a_reset_ends_the_connection_as_lost():
    wire = Wire(issuer=issuer()).handshake()
    reset = Resets(issuer(), per_second=10).answer(packet(wire.client._peer_cid.cid), 0.0)
    assert wire.client.is_reset(reset, SERVER)
    wire.client.on_reset(wire.now)
    assert wire.client.is_closing
    closed = wire.client.ending().closed()
    assert (closed.lost, closed.remote, closed.code) == (True, False, 0)
    assert "stateless reset" in closed.reason
    assert wire.client.datagrams_to_send(wire.now) == []
    wire.run(10.0)
    assert wire.client.is_terminated
    assert wire.client.ending().closed() == closed


def test_a_reset_for_something_else_ends_nothing():
    wire = Wire(issuer=issuer()).handshake()
    resets = Resets(issuer(), per_second=100)
    used, spare = wire.client._peer_cid.cid, wire.client._peer_cid_available[0].cid
    good = resets.answer(packet(used), 0.0)
    assert not wire.client.is_reset(good, CLIENT), "from another address than we send to"
    assert not wire.client.is_reset(good[:-1], SERVER)
    assert not wire.client.is_reset(good[-20:], SERVER), "too short to be one"
    assert not wire.client.is_reset(resets.answer(packet(spare), 0.0), SERVER), "an unused ID"
    stranger = Resets(issuer(Keys.generate()), per_second=10).answer(packet(used), 0.0)
    assert not wire.client.is_reset(stranger, SERVER)
    way = wire.open_way(("192.0.2.8", 8))
    wire.client.move(wire.now, way)
    wire.run(0.2)
    assert not wire.client.is_reset(good, way), "of an ID that is retired by now"
    assert wire.client.is_reset(resets.answer(packet(spare), 0.0), way)


def test_a_peer_that_gives_no_tokens_is_never_taken_to_have_reset():
    wire = Wire().handshake()
    assert wire.server._peer_cid.stateless_reset_token == b""
    assert not wire.server.is_reset(b"\x40" + bytes(40), CLIENT)


def test_a_reset_looks_like_a_packet_and_is_shorter_than_what_it_answers():
    resets = Resets(issuer(), per_second=1e9)
    connection_id = issuer().make()
    for size in range(1, 1500):
        answer = resets.answer(packet(connection_id, size), 0.0)
        if size <= 21:
            assert answer is None
            continue
        assert 21 <= len(answer) < size
        assert answer[0] & 0xC0 == 0x40
        assert answer[-16:] == KEYS.reset_token(connection_id)
        assert len(answer) >= min(size - 1, 43)


def test_two_servers_without_memory_soon_have_nothing_more_to_say():
    one, other = (Resets(issuer(Keys.generate()), per_second=1e9) for _ in range(2))
    said, data = 0, packet(issuer().make())
    while (data := one.answer(data, 0.0)) is not None:
        said += 1
        one, other = other, one
    assert said <= 40


def test_long_headers_and_other_protocols_get_no_reset():
    resets = Resets(issuer(), per_second=10)
    for first in (0x00, 0x3F, 0x80, 0xC0, 0xFF):
        assert resets.answer(bytes((first,)) + bytes(1199), 0.0) is None


def test_nobody_gets_a_token_from_the_wrong_worker():
    """It would let everybody who can choose the worker end others' connections."""
    theirs = Issuer(RandomIds(Steering(0, 2)), KEYS)
    resets = Resets(Issuer(RandomIds(Steering(1, 2)), KEYS), per_second=10)
    assert resets.answer(packet(theirs.make()), 0.0) is None
    assert resets.misdirected == 1


def test_so_many_resets_in_a_second_and_no_more():
    resets = Resets(issuer(), per_second=10)
    data = packet(issuer().make())

    def count(now: float) -> int:
        return sum(resets.answer(data, now) is not None for _ in range(100))

    assert [count(now) for now in (0.0, 0.0, 0.5, 1.5, 100.0)] == [20, 0, 5, 10, 20]
    assert resets.unanswered == 500 - 55
