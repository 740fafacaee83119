"""Word from elsewhere that a server is there, for dials that it has not answered yet."""

from collections.abc import Callable

__all__ = ["Urge"]


class Urge:
    """Dials under way. Who hears that their server is back lets the latest of them ask again.

    A dial that nobody answers asks ever more rarely, and one that begins anew has its keys to
    make first.
    """

    def __init__(self) -> None:
        self._waiting: dict[object, Callable[[], None]] = {}

    def add(self, dial: object, ask_again: Callable[[], None]) -> None:
        """Note a dial, until `discard`."""
        self._waiting[dial] = ask_again

    def discard(self, dial: object) -> None:
        """Forget a dial. Idempotent."""
        self._waiting.pop(dial, None)

    def now(self) -> bool:
        """Let the latest dial ask again at once; False when there is none."""
        for ask_again in reversed(self._waiting.values()):
            ask_again()
            return True
        return False
