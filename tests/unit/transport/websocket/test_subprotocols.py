"""Names of subprotocols, and who prefers which."""

import pytest
from websockets.exceptions import NegotiationError
from websockets.server import ServerProtocol

from moqvox.transport.websocket.subprotocols import VERSIONS, names, parse_name
from moqvox.wire.version import LITE_ALPNS


def test_the_protocol_matters_more_than_the_framing_below_it():
    assert names(["moq-lite-06", "moq-lite-05"]) == [
        "qmux-02.moq-lite-06",
        "qmux-01.moq-lite-06",
        "qmux-00.moq-lite-06",
        "qmux-02.moq-lite-05",
        "qmux-01.moq-lite-05",
        "qmux-00.moq-lite-05",
    ]


def test_late_drafts_of_moq_transport_ride_on_qmux_01_alone():
    assert names(["moqt-18", "moqt-17"]) == [
        "qmux-01.moqt-18",
        "qmux-02.moqt-17",
        "qmux-01.moqt-17",
        "qmux-00.moqt-17",
    ]


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)
@pytest.mark.parametrize("protocol", LITE_ALPNS)
def test_a_name_is_split_again(version, protocol):
    assert parse_name(f"{version.name}.{protocol}") == (version, protocol)


@pytest.mark.parametrize("name", ["qmux-01", "qmux-01.", "webtransport", "qmux-99.moq-lite-06", ""])
def test_names_without_a_protocol_are_not_ours(name):
    with pytest.raises(ValueError, match="no QMux subprotocol"):
        parse_name(name)


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        (["qmux-01.moq-lite-05"], "qmux-01.moq-lite-05"),
        (["qmux-00.moq-lite-04", "qmux-01.moq-lite-05"], "qmux-01.moq-lite-05"),
        (["qmux-00.moq-lite-05", "qmux-01.moq-lite-05"], "qmux-01.moq-lite-05"),
        (["qmux-02", "qmux-01", "webtransport"], None),
        (["qmux-01.moqt-18"], None),
        ([], None),
    ],
)
def test_the_server_chooses_by_its_own_order(offered, chosen):
    server = ServerProtocol(subprotocols=names(LITE_ALPNS))
    if chosen is None:
        with pytest.raises(NegotiationError):
            server.select_subprotocol(offered)
    else:
        assert server.select_subprotocol(offered) == chosen
