"""The account of a track's groups, as its groups see it."""

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from moqvox.model.group import Group

__all__ = ["Ledger"]


class Ledger(Protocol):
    """Who keeps a group's account: its track."""

    def began(self, group: "Group") -> None:
        """Note that the first frame is there."""

    def wrote(self, size_bytes: int) -> None:
        """Note that a frame was added. May evict or trim any group, this one included."""

    def finished(self, group: "Group") -> None:
        """Note that the group is whole."""

    def lost(self, group: "Group", code: int) -> None:
        """Note that the group was aborted or evicted: it can't be handed out any more."""

    def left(self, group: "Group") -> None:
        """Note that a reader has closed."""

    def awaited(self, group: "Group") -> bool:
        """Tell whether a reader of the track has yet to be given the group."""
