"""A server that prefers another address of its own: what it says, and who goes there."""

import inspect

import pytest
from aioquic.quic.connection import QuicConnection
from tests.unit.transport.aioquic.wires import SERVER, Wire

from moqvox.errors import LocalError
from moqvox.transport.quic import Issuer, Keys, Preferred, RandomIds

ELSEWHERE = ("192.0.2.77", 4444)
KEYS = Keys(b"server" * 8)


def issuer(size: int = 8, **preferred: tuple[str, int]) -> Issuer:
    return Issuer(RandomIds(size=size), KEYS, Preferred(**preferred))


def test_upstream_serialises_parameters_where_it_did():
    assert list(inspect.signature(QuicConnection._serialize_transport_parameters).parameters) == [
        "self"
    ]
    source = inspect.getsource(QuicConnection._serialize_transport_parameters)
    assert "preferred_address" not in source


@pytest.mark.parametrize("size", [4, 8, 20])
def test_a_client_hears_of_it_with_an_id_and_its_token(size):
    ipv6 = ("2001:db8::7", 4445)
    wire = Wire(issuer=issuer(size, ipv4=ELSEWHERE, ipv6=ipv6))
    heard = []
    probe = wire.client._probe_preferred_address

    def note() -> None:
        heard.append(wire.client._remote_preferred_address)
        probe()

    wire.client._probe_preferred_address = note
    wire.handshake()
    assert heard[0].ipv4_address == ELSEWHERE
    assert heard[0].ipv6_address == ipv6
    assert len(heard[0].connection_id) == size
    assert heard[0].stateless_reset_token == KEYS.reset_token(heard[0].connection_id)
    held = {one.sequence_number: one.cid for one in wire.server._host_cids}
    assert held[1] == heard[0].connection_id
    assert len(held) == 8


def test_the_client_goes_there_under_that_id_and_starts_over():
    wire = Wire(issuer=issuer(ipv4=ELSEWHERE)).handshake()
    wire.run(1.0)
    assert wire.client.peer == (ELSEWHERE, True)
    assert wire.client._peer_cid.sequence_number == 1
    stream = wire.client.open_stream(bidirectional=False, priority=0)
    wire.client.table.feed(stream, b"hello", fin=True)
    wire.run(1.0)
    assert any(getattr(event, "data", b"") == b"hello" for event in wire.events[wire.server])


def test_a_client_of_the_other_family_stays():
    wire = Wire(issuer=issuer(ipv6=("2001:db8::7", 443))).handshake()
    wire.run(1.0)
    assert wire.client.peer == (SERVER, True)


@pytest.mark.parametrize(
    ("addresses", "expected"),
    [
        ([], None),
        ([("192.0.2.1", 4)], Preferred(ipv4=("192.0.2.1", 4))),
        (
            [("[2001:db8::1]", 6), ("192.0.2.1", 4)],
            Preferred(("192.0.2.1", 4), ("2001:db8::1", 6)),
        ),
    ],
)
def test_addresses_are_sorted_by_family(addresses, expected):
    assert Preferred.parse(addresses) == expected


@pytest.mark.parametrize(
    ("addresses", "words"),
    [
        ([("relay.example", 4)], "no name"),
        ([("::", 4)], "nobody can go on"),
        ([("224.0.0.1", 4)], "nobody can go on"),
        ([("192.0.2.1", 0)], "nobody can go on"),
        ([("192.0.2.1", 4), ("192.0.2.2", 4)], "two preferred addresses of IPv4"),
    ],
)
def test_addresses_that_no_client_can_use_are_refused(addresses, words):
    with pytest.raises(LocalError, match=words):
        Preferred.parse(addresses)
