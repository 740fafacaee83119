"""Which missing packet numbers are a sign of loss, and which a peer's own doing."""

import pytest
from tests.unit.transport.aioquic.wires import CLIENT, SERVER, Wire


def seen_losses(*, missing: set[int], by_client: bool = False, packets: int = 200) -> int:
    """Let one side send packets of which some never come; count the other's signs of loss."""
    wire = Wire().handshake()
    sender, watcher = (wire.server, wire.client) if by_client else (wire.client, wire.server)
    source = SERVER if by_client else CLIENT
    stream = sender.open_stream(bidirectional=False, priority=0)
    sender.table.feed(stream, b"first", fin=False)
    wire.run(0.5)
    signs = []
    watcher.redundancy.on_loss = watcher.redundancy.on_guess = signs.append
    for number in range(packets):
        sender.table.feed(stream, bytes(60), fin=False)
        for data, _ in sender.datagrams_to_send(wire.now):
            if number not in missing:
                watcher.receive_datagram(data, source, wire.now)
        wire.now += 0.0005
    return len(signs)


@pytest.mark.parametrize("missing", [set(), {10}, {10, 80}, {10, 80, 180}])
def test_a_number_left_out_in_each_doubling_is_no_sign_of_loss(missing):
    assert seen_losses(missing=missing) == 0


@pytest.mark.parametrize("missing", [{10, 11}, {10, 14}, {80, 100}, {70, 71, 150}])
def test_numbers_missing_together_or_more_often_are(missing):
    assert seen_losses(missing=missing) > 0


def test_a_client_takes_the_first_missing_number_for_a_loss():
    assert seen_losses(missing={10}, by_client=True) > 0


def test_a_gap_is_told_at_once_and_not_with_the_ack_timer():
    wire = Wire().handshake()
    stream = wire.client.open_stream(bidirectional=False, priority=0)
    wire.client.table.feed(stream, b"first", fin=False)
    wire.run(0.5)
    for lost in (True, False):
        wire.client.table.feed(stream, bytes(60), fin=False)
        ((data, _),) = wire.client.datagrams_to_send(wire.now)
        if not lost:
            wire.server.receive_datagram(data, CLIENT, wire.now)
    assert wire.server.has_cause_to_send
    assert len(wire.server.datagrams_to_send(wire.now)) == 1
    assert not wire.server.has_cause_to_send
