"""What holds for all tests: who may be asked a second time."""

from typing import Final

import pytest

STRANGERS: Final = ("browser", "interop")
"""Chromium and other people's programs, in real time on whatever machine this is."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Ask strangers once more when they fail; the report then says RERUN.

    They have deadlines of their own that a busy machine breaks. Nothing else is asked twice.
    """
    for item in items:
        if any(item.get_closest_marker(mark) for mark in STRANGERS):
            item.add_marker(pytest.mark.flaky(reruns=1))
