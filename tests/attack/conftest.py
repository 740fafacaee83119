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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is here: it loads the machine for two minutes."""
    for item in items:
        if "tests/attack/" in item.nodeid:
            item.add_marker(pytest.mark.attack)
