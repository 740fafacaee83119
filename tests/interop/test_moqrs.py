"""Every row of the matrix, with the programs of this checkout, against moq-rs."""

from collections.abc import Iterator

import pytest
from interop.cases import CASES
from interop.matrix import Row, read_matrix
from tests.interop.together import Together

from interop import environment

ROWS = [row for row in read_matrix() if row.peer == "moq-rs"]
CLEARING_S = 15


PARAMETERS = [
    pytest.param(row, id=row.name, marks=pytest.mark.timeout(row.limit + CLEARING_S))
    for row in ROWS
]


@pytest.fixture(scope="module")
def together(request: pytest.FixtureRequest) -> Iterator[Together]:
    if environment.built("moq-rs") is None:
        pytest.skip("no environment of moq-rs; python -m interop.environment moq-rs makes it")
    asked = [item for item in request.session.items if item.module is request.module]
    rows = [item.callspec.params["row"] for item in asked if hasattr(item, "callspec")]
    playing = Together(rows)
    yield playing
    playing.close()


@pytest.mark.interop
@pytest.mark.net
@pytest.mark.slow
@pytest.mark.parametrize("row", PARAMETERS)
def test_moqvox_and_moqrs_understand_each_other(row: Row, together: Together):
    outcome = together.outcome(row)
    if outcome.skipped:
        pytest.skip(outcome.verdict)
    assert outcome.passed, "\n".join([outcome.verdict, *map(repr, outcome.programs)])


def test_every_case_is_in_the_matrix():
    assert {row.case for row in read_matrix()} == set(CASES)


def test_every_version_is_forced_on_both_transports_in_both_roles():
    for case in ("relay", "push-pull"):
        rows = {(row.transport.value, row.version.value) for row in ROWS if row.case == case}
        for transport in ("quic", "webtransport"):
            for version in ("moq-lite-06", "moq-lite-05", "moq-lite-04", "moq-lite-03"):
                assert (transport, version) in rows
