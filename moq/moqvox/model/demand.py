"""What several readers want together, so that one subscription can serve them all."""

from collections.abc import Iterable

from moqvox.frame import Subscription

__all__ = ["combine"]


def combine(subscriptions: Iterable[Subscription]) -> Subscription | None:
    """Widen wishes into one that serves all: None when there are none."""
    wishes = list(subscriptions)
    if not wishes:
        return None
    starts = [w.group_start for w in wishes if w.group_start is not None]
    ends = [w.group_end for w in wishes if w.group_end is not None]
    start = min(starts) if len(starts) == len(wishes) else None
    end = max(ends) if len(ends) == len(wishes) else None
    lasts = [w.frame_end for w in wishes if w.group_end == end]
    bounded = [last for last in lasts if last is not None]
    return Subscription(
        priority=max(w.priority for w in wishes),
        ordered=any(w.ordered for w in wishes),
        max_age_ms=max(w.max_age_ms for w in wishes),
        group_start=start,
        group_end=end,
        frame_start=min(w.frame_start for w in wishes if w.group_start == start),
        frame_end=max(bounded) if end is not None and len(bounded) == len(lasts) else None,
    )
