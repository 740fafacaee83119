"""Every row of the matrix with clients from npm, in Chromium."""

import asyncio

import pytest
from interop.environment import EnvironmentUnavailable
from interop.matrix import Row, read_matrix
from interop.moqvox import Moqvox
from interop.play import play

from interop import environment, npm

ROWS = [row for row in read_matrix() if row.peer == "npm"]
CLEARING_S = 15

PARAMETERS = [
    pytest.param(row, id=row.name, marks=pytest.mark.timeout(row.limit + CLEARING_S))
    for row in ROWS
]


@pytest.fixture(scope="session")
def packages() -> None:
    if environment.built("npm") is None:
        pytest.skip("no packages from npm; python -m interop.environment npm installs them")
    try:
        npm.chromium()
    except EnvironmentUnavailable as exc:
        pytest.skip(str(exc))


@pytest.mark.interop
@pytest.mark.net
@pytest.mark.slow
@pytest.mark.parametrize("row", PARAMETERS)
def test_moqvox_and_browser_clients_understand_each_other(row: Row, packages):
    outcome = asyncio.run(play(row, Moqvox()))
    if outcome.skipped:
        pytest.skip(outcome.verdict)
    assert outcome.passed, "\n".join([outcome.verdict, *map(repr, outcome.programs)])


@pytest.mark.interop
@pytest.mark.net
@pytest.mark.slow
@pytest.mark.parametrize("row", [row for row in read_matrix() if row.peer == "aioquic"])
@pytest.mark.timeout(110)
def test_moqvox_and_plain_aioquic_understand_each_other(row: Row):
    outcome = asyncio.run(play(row, Moqvox()))
    assert outcome.passed, "\n".join([outcome.verdict, *map(repr, outcome.programs)])


def test_every_version_on_npm_is_forced_on_both_transports():
    rows = {(row.transport.value, row.version.value) for row in ROWS}
    for transport in ("webtransport", "websocket"):
        for version in ("moq-lite-05", "moq-lite-04", "moq-lite-03"):
            assert (transport, version) in rows
