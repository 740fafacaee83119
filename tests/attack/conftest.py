"""The victims: one that the quick tests share, and fresh ones."""

import pytest
from tests.attack.processes import Victim


@pytest.fixture(scope="session")
def ours():
    """A server that all quick tests attack, one after the other."""
    with Victim("ours") as victim:
        yield victim
        assert victim.is_running
        assert victim.complaints() == []


@pytest.fixture
def fresh():
    with Victim("ours") as victim:
        yield victim


@pytest.fixture
def naive():
    with Victim("naive") as victim:
        yield victim
