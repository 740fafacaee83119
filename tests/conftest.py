"""What may run beside what, when the suite runs on several cores (`--dist loadgroup`)."""

from pathlib import Path

import pytest

MEASURING = ("interop", "browser", "attack", "loopback")
"""Folders whose tests use real sockets, clocks and programs."""

LAST = "attack"
"""That which measures what another's load would spoil; by then the rest is done."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep tests on the real clock one after the other; all others run beside them."""
    here = Path(__file__).parent
    for item in items:
        folder = item.path.relative_to(here).parts[0]
        if folder in MEASURING or item.get_closest_marker("net") or item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.xdist_group("real clock"))
    items.sort(key=lambda item: item.path.is_relative_to(here / LAST))
