"""What may run beside what, when the suite runs on several cores."""

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from xdist.scheduler import LoadScopeScheduling

PURE = ("tests/golden/", "tests/property/", "tests/sim/", "tests/unit/")
ON_THE_CLOCK = ("tests/unit/bench/", "tests/unit/client/")
"""Among those, the ones that use real sockets, clocks or programs all the same."""

LAST = "tests/attack/"
"""They measure what another's load would spoil; by then the rest is done."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> "LoadScopeScheduling":
    """Keep tests on the real clock one after the other; all others run beside them.

    `--dist loadgroup` would do it with marks, but finds none with pytest 9.2.
    """
    from xdist.scheduler import LoadScopeScheduling

    class Schedule(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            is_pure = nodeid.startswith(PURE) and not nodeid.startswith(ON_THE_CLOCK)
            return nodeid if is_pure else "on the clock"

    return Schedule(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the measuring tests last."""
    items.sort(key=lambda item: item.nodeid.startswith(LAST))
