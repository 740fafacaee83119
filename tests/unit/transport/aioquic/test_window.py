"""The congestion window's least: room for a voice and its copies, and no more."""

import inspect
import types

import aioquic.quic.congestion.cubic  # noqa: F401  # registers itself
import pytest
from aioquic.quic.congestion.reno import RenoCongestionControl
from tests.unit.transport.aioquic.wires import Wire

from moqvox.transport.aioquic.private.window import LEAST_PACKETS, Reno, congestion_control

SIZE = 1200


def lose(window: Reno, now: float) -> int:
    """Lose a packet that left just then; returns the window."""
    window.on_packets_lost(now=now, packets=[types.SimpleNamespace(sent_bytes=0, sent_time=now)])
    return window.congestion_window


def test_losses_halve_the_window_down_to_its_least():
    window = Reno(max_datagram_size=SIZE)
    assert [lose(window, float(n)) for n in range(1, 5)] == [6000, 3600, 3600, 3600]
    assert window.ssthresh == LEAST_PACKETS * SIZE


def test_persistent_congestion_leaves_two_packets_and_a_loss_gives_none_back():
    window = Reno(max_datagram_size=SIZE)
    lose(window, 1.0)
    window.on_persistent_congestion()
    assert window.congestion_window == 2 * SIZE
    assert lose(window, 2.0) == 2 * SIZE


def test_upstreams_window_is_shrunk_where_it_is_expected():
    assert list(inspect.signature(RenoCongestionControl.on_packets_lost).parameters) == [
        "self",
        "now",
        "packets",
    ]
    upstream = RenoCongestionControl(max_datagram_size=SIZE)
    for n in range(1, 5):
        lose(upstream, float(n))
    assert upstream.congestion_window == upstream.ssthresh == 2 * SIZE
    assert upstream._max_datagram_size == SIZE


@pytest.mark.parametrize(("name", "is_ours"), [("reno", True), ("cubic", False)])
def test_only_newreno_is_given_another_least(name, is_ours):
    assert isinstance(congestion_control(name, SIZE), Reno) is is_ours


def test_connections_have_it_from_the_start_and_after_a_change_of_path():
    wire = Wire().handshake()
    recovery = wire.client.recovery
    assert isinstance(recovery._cc, Reno)
    before = recovery._cc
    recovery.restart("reno", SIZE, wire.now)
    assert isinstance(recovery._cc, Reno)
    assert recovery._cc is not before
