"""The bytes that browsers look for in a server's SETTINGS, and the CONNECTs that they send."""

import pytest
from aioquic.h3.connection import Setting, parse_settings

from moqvox.transport.aioquic.exchange import parse_request
from moqvox.transport.aioquic.http3 import WebTransportSetting, settings_frame
from moqvox.transport.aioquic.varint import encode_varint, pull_varint

WT_INITIAL_MAX = (0x2B61, 0x2B64, 0x2B65)
"""Initial flow control of sessions: data, and streams of either direction."""


def sent() -> dict[int, int]:
    frame = settings_frame()
    assert frame[0] == 0x04
    length = pull_varint(frame, 1)
    assert length is not None
    assert length[0] == len(frame) - length[1]
    return parse_settings(frame[length[1] :])


def test_safari_finds_one_session_and_so_asks_for_no_initial_limits():
    assert encode_varint(0x14E9CD29) + b"\x01" in settings_frame()
    assert sent()[WebTransportSetting.MAX_SESSIONS_DRAFT_13] == 1
    assert not set(WT_INITIAL_MAX) & set(sent())


@pytest.mark.parametrize(
    ("browser", "setting"),
    [("chromium", 0x2B603742), ("firefox", 0xC671706A), ("draft 15", 0x2C7CF000)],
)
def test_each_draft_that_browsers_speak_is_announced(browser, setting):
    assert encode_varint(setting) + b"\x01" in settings_frame()
    assert sent()[setting] == 1


def test_datagrams_and_extended_connect_are_on_and_the_dynamic_table_is_off():
    settings = sent()
    assert settings[Setting.H3_DATAGRAM] == 1
    assert settings[Setting.ENABLE_CONNECT_PROTOCOL] == 1
    assert settings[Setting.QPACK_MAX_TABLE_CAPACITY] == 0
    assert settings[Setting.QPACK_BLOCKED_STREAMS] == 0
    assert settings[Setting.MAX_FIELD_SECTION_SIZE] == 16384


@pytest.mark.parametrize("name", [b"webtransport", b"webtransport-h3"])
def test_the_old_and_the_new_name_of_the_protocol_are_taken(name):
    fields = [
        (b":method", b"CONNECT"),
        (b":scheme", b"https"),
        (b":authority", b"localhost"),
        (b":path", b"/room"),
        (b":protocol", name),
    ]
    request = parse_request(fields)
    assert request is not None
    assert request.path == "/room"
