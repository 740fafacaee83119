"""What tests do with a tab, whichever browser it is of."""

import asyncio
from abc import ABC, abstractmethod
from pathlib import Path


class Tab(ABC):
    """One tab of a browser that is driven from outside."""

    def __init__(self) -> None:
        self.console: list[str] = []
        """What the page logged, and exceptions nobody caught."""

    @abstractmethod
    async def open(self, url: str) -> None:
        """Go there, and wait until everything is loaded."""

    @abstractmethod
    async def run(self, script: str) -> object:
        """Evaluate an expression, or the body of an async function that returns."""

    @abstractmethod
    async def press(self, key: str, *, down: bool = True, up: bool = True) -> None:
        """Press or release a key."""

    @abstractmethod
    async def screenshot(self, path: Path) -> None:
        """Keep what is seen as a PNG."""

    async def until(self, condition: str, *, seconds: float = 20.0) -> object:
        """Wait until an expression is true; returns its value."""
        try:
            async with asyncio.timeout(seconds):
                while not (value := await self.run(condition)):  # noqa: ASYNC110 - not our loop
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"never true: {condition}\nconsole: {self.console}") from None
        return value


def keep(path: Path, content: bytes) -> None:
    """Write a file, and its folder if there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
