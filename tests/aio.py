"""Run coroutines in tests, on a clock that jumps.

`run(main())` runs on a loop whose time stands still while anything is ready to run and jumps
to the next timer when all tasks wait: minutes pass in no time, and the order of events is the
same each time. `loop.time()`, `asyncio.sleep`, `asyncio.timeout` and `loop.call_later` all
follow it; the wall clock does not exist. Sockets of this machine may take part: what is on its
way between them arrives before time passes.
"""

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine
from itertools import count
from typing import TypeVar

__all__ = ["Deadlock", "VirtualLoop", "persist", "run", "settle"]

T = TypeVar("T")

THREAD_PATIENCE = 5.0
"""Real seconds to wait for a thread (run_in_executor) before calling it a deadlock."""

ON_ITS_WAY = 0.005
"""Real seconds at most to wait for what was sent to a socket of this machine.

It is there at once, unless the kernel puts that off as it has much to do.
"""

TURN, LOOK = 1e-5, 1e-6
"""Seconds that a turn with sockets takes, and a look at the time.

So what goes on for a few turns, or within one, until its time is over comes to an end.
"""

MAX_TURNS = 200_000
"""Turns of the loop without time passing, after which something turns in a circle."""


class Deadlock(Exception):
    """Every task waits for another one and no timer is set, or time stands still for ever."""


class _JumpingSelector(selectors.DefaultSelector):
    """Lets time jump instead of waiting.

    Sockets are served only when they are ready at once, or within `on_its_way` real seconds;
    with that, they are looked at in each turn, and a turn takes a moment.
    """

    def __init__(self, on_its_way: float) -> None:
        super().__init__()
        self.now = 0.0
        self._on_its_way = on_its_way
        self._turns = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        # What is ready to run is run before anybody is asked: most turns, and looking costs more
        # than many of them do.
        if timeout == 0 and not self._on_its_way:
            ready = []
        else:
            ready = super().select(self._patience(timeout))
            self.now += TURN if self._on_its_way else 0.0
        if ready or timeout == 0:
            self._turns += 1
            if self._turns > MAX_TURNS:
                self._turns = 0
                raise Deadlock(f"{MAX_TURNS} turns of the loop and no time has passed")
            return ready
        if timeout is None:
            ready = super().select(THREAD_PATIENCE)
            if not ready:
                raise Deadlock("all tasks wait and no timer is set")
            return ready
        self._turns = 0
        self.now += max(timeout, 0.0)
        return []

    def look(self) -> float:
        """Return the time."""
        self.now += LOOK if self._on_its_way else 0.0
        return self.now

    def _patience(self, timeout: float | None) -> float:
        """Return the real seconds to poll for, which are rounded up to milliseconds."""
        wait = self._on_its_way if timeout is None else min(timeout, self._on_its_way)
        return wait if wait >= 0.001 else 0.0


class _CountedTask(asyncio.Task):  # type: ignore[type-arg]
    """A task whose place in a set does not depend on where it is in memory.

    Task groups keep sets of tasks, and cancel them in the set's order.
    """

    _made = count()

    def __init__(self, *args: object, **options: object) -> None:
        self._number = next(self._made)
        super().__init__(*args, **options)  # type: ignore[arg-type]

    def __hash__(self) -> int:
        return self._number


def _make_task(
    loop: asyncio.AbstractEventLoop, work: Coroutine[object, None, T], **options: object
) -> asyncio.Task[T]:
    return _CountedTask(work, loop=loop, **options)


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop on virtual time, which starts at 0."""

    def __init__(self, on_its_way: float = 0.0) -> None:
        self._jumping = _JumpingSelector(on_its_way)
        super().__init__(self._jumping)
        self._clock_resolution = 1e-9
        _CountedTask._made = count()
        self.set_task_factory(_make_task)

    def time(self) -> float:
        return self._jumping.look()


def run(main: Coroutine[object, None, T], *, virtual: bool = True, sockets: bool = False) -> T:
    """Run a coroutine to its end; on the real clock unless `virtual`.

    With `sockets`, those are served as well that speak to each other on this machine. What a
    callback raises, which a loop would only log, fails the run as well.
    """
    failures: list[BaseException] = []

    def note(loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        loop.default_exception_handler(context)
        exc = context.get("exception")
        failures.append(exc if isinstance(exc, BaseException) else RuntimeError(str(context)))
        if not isinstance(failures[-1], Exception):
            loop.stop()  # the test's time is over, in the middle of a callback

    on_its_way = ON_ITS_WAY if sockets else 0.0
    factory = functools.partial(VirtualLoop, on_its_way) if virtual else None
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.get_loop().set_exception_handler(note)
        try:
            result = runner.run(main)
        except RuntimeError:
            if failures:
                raise failures[0] from None
            raise
    if failures:
        raise failures[0]
    return result


def persist(check: Callable[[], None], attempts: int = 3) -> None:
    """Judge what needs the real clock by up to three attempts.

    A fault fails each of them, a machine that does something else for a moment only one.
    """
    for left in reversed(range(attempts)):
        try:
            check()
        except (AssertionError, TimeoutError):
            if not left:
                raise
        else:
            return


async def settle(turns: int = 50) -> None:
    """Let everything run that can run without time passing."""
    for _ in range(turns):
        await asyncio.sleep(0)
