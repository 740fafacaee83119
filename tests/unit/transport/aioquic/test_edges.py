"""Small parts: sockets' buffers, pins, addresses, endings."""

import logging
import socket

import pytest

from moqvox.errors import LocalError
from moqvox.transport.address import show
from moqvox.transport.aioquic.alerts import explain_alert
from moqvox.transport.aioquic.ending import Ending
from moqvox.transport.credentials import Verify
from moqvox.transport.failures import (
    CertificateRefused,
    ConnectFailed,
    NoCommonProtocol,
)
from moqvox.transport.interface import Closed
from moqvox.transport.quic import sockets


@pytest.mark.net
def test_a_kernel_that_grants_less_is_named_with_its_remedy_once(monkeypatch, caplog):
    monkeypatch.setattr(sockets, "_warned", set())
    with caplog.at_level(logging.WARNING, "moqvox.transport.quic"):
        for _ in range(2):
            sockets.bind(socket.AF_INET, ("127.0.0.1", 0), 1 << 30).close()
    assert ["rmem_max" in record.message for record in caplog.records] == [True, False]
    assert f"sysctl -w net.core.rmem_max={1 << 30}" in caplog.records[0].message
    assert f"sysctl -w net.core.wmem_max={1 << 30}" in caplog.records[1].message


@pytest.mark.net
def test_an_address_of_ours_only_is_bound_and_its_socket_closed_on_failure():
    with sockets.bind(socket.AF_INET, ("127.0.0.1", 0), 1 << 16) as bound:
        with pytest.raises(OSError, match="in use"):
            sockets.bind(socket.AF_INET, bound.getsockname(), 1 << 16)
        sockets.report_errors(bound, enabled=True)
        sockets.report_errors(bound, enabled=False)


def test_pins_are_read_with_and_without_colons():
    digest = bytes(range(32))
    spelled = [digest.hex(), digest.hex(":"), digest.hex().upper()]
    assert Verify.pinned(spelled).fingerprints == {digest}


@pytest.mark.parametrize("pins", [[], [""], ["00" * 31], ["zz" * 32], ["00" * 33]])
def test_a_malformed_pin_is_the_callers_error(pins):
    with pytest.raises(LocalError, match="fingerprint"):
        Verify.pinned(pins)


@pytest.mark.parametrize(
    ("address", "text"),
    [
        (("127.0.0.1", 80), "127.0.0.1:80"),
        (("::1", 80, 0, 0), "[::1]:80"),
        (("::ffff:192.0.2.1", 80, 0, 0), "192.0.2.1:80"),
        (("fe80::1%eth0", 80, 0, 2), "[fe80::1%eth0]:80"),
        (("relay.example", 443), "relay.example:443"),
    ],
)
def test_addresses_are_shown_as_people_write_them(address, text):
    assert show(address) == text


@pytest.mark.parametrize(
    ("ending", "closed"),
    [
        (Ending(7, is_transport=False, reason="a", remote=True), Closed(7, "a", remote=True)),
        (Ending(0, is_transport=True, reason=""), Closed(0, "")),
        (
            Ending(0xA, is_transport=True, reason="bad", remote=True),
            Closed(3, "transport error 0xa: bad", remote=True),
        ),
        (Ending(0x178, is_transport=True, reason=""), Closed(3, "transport error 0x178")),
        (
            Ending(1, is_transport=True, reason="Idle timeout", lost=True),
            Closed(0, "idle timeout", lost=True),
        ),
    ],
)
def test_an_ending_is_told_in_the_applications_codes(ending, closed):
    assert ending.closed() == closed


@pytest.mark.parametrize(
    ("code", "kind"),
    [(0x178, NoCommonProtocol), (0x12A, CertificateRefused), (0x2, ConnectFailed)],
)
def test_a_transport_error_is_told_in_words(code, kind):
    failure = explain_alert("relay:443", code, "")
    assert type(failure) is kind
    assert "relay:443" in str(failure)
