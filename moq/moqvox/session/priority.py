"""The order of sending: which stream's bytes go first. Lower numbers are sent first.

Control streams come before groups, groups of live subscriptions before fetches. Among live
groups the subscriber's priority decides, then the publisher's, then the order of groups:
in ordered tracks the older first, in others the newer first (draft-lcurley-moq-lite,
section "Prioritization").

Bulk has no class of its own, as nothing on the wire tells it from what fills a gap: both are
fetches, and only who asks knows how much he is in want of them. He says so by the priority, 0
for bulk, and fetches are in the order of that. A track of bulk that is subscribed to is live
like any other, behind those of a higher priority and ahead of all fetches.

Sequence numbers of different tracks say nothing about each other, so groups are placed by
when they were opened. An ordered track then waits for older bytes only, whosever they are,
and of several tracks of equal priority none starves for having lived longer.
"""

from typing import Final

__all__ = ["CONTROL", "Places", "fetch_priority", "group_priority", "ordered_by_age"]

CONTROL: Final = 0
"""Requests, replies and announcements: small, and data is of no use without them."""

_LIVE: Final = 1
_FETCH: Final = 2

_STEP: Final = 1 << 16
_LAST_PLACE: Final = 1 << 62

_ORDERED_FROM_MS: Final = 10_000


def group_priority(subscriber: int, publisher: int, *, ordered: bool, place: int) -> int:
    """Place a live group.

    Args:
        subscriber: 0 to 255, higher is sent first.
        publisher: likewise; decides among equals.
        ordered: older groups go first.
        place: from `Places`, rising with the group's age.
    """
    return _number(_LIVE, subscriber, publisher, place if ordered else _LAST_PLACE - place)


def fetch_priority(subscriber: int, place: int) -> int:
    """Place a fetched group: behind all live ones, the one asked for first among equals.

    Args:
        subscriber: 0 to 255, higher is sent first; so what fills a gap goes before bulk.
        place: from `Places`, when it was accepted.
    """
    return _number(_FETCH, subscriber, 0, place)


def ordered_by_age(max_age_ms: int) -> bool:
    """Tell whether a subscription without an `ordered` field wants older groups first.

    Who allows ten seconds of age or more wants everything, in order; who allows less wants
    what is new.
    """
    return max_age_ms >= _ORDERED_FROM_MS


class Places:
    """Hands out places in one session's order of opening."""

    __slots__ = ("_last",)

    def __init__(self) -> None:
        self._last = 0

    def next(self, before: int | None = None) -> int:
        """Return the next place, or one just before the place `before`.

        The latter serves a group that is opened after a newer one of its track.
        """
        if before is not None:
            return before - 1
        self._last += _STEP
        return self._last


def _number(kind: int, subscriber: int, publisher: int, order: int) -> int:
    urgency = (kind << 16) | (255 - subscriber) << 8 | (255 - publisher)
    return (urgency << 63) | order
