"""How much audio a playout may hold, and who may hold it."""

from collections.abc import Callable, Iterable

from moqvox.media.clock import us_to_samples
from moqvox.media.decision import Policy
from moqvox.media.timeline import Timeline

__all__ = ["fits"]


def fits(
    policy: Policy,
    items: Iterable[Timeline],
    current: Timeline | None,
    timeline: Timeline,
    lead: int,
    cost_bytes: int,
) -> bool:
    """Whether `timeline` may grow to `lead` samples by a frame of `cost_bytes`.

    Items behind the current one share half of each bound, so that they can't starve it. The
    current one may use what is left, and in any case half: it may have come after the rest
    was filled. All together never exceed one and a half times the bound.
    """
    others = [each for each in items if each is not timeline]
    behind = [each for each in others if each is not current]

    def within(limit: int, own: int, measure: Callable[[Timeline], int]) -> bool:
        used = own + sum(measure(each) for each in others)
        if timeline is current:
            return used <= limit or (own <= limit // 2 and used <= limit + limit // 2)
        return own + sum(measure(each) for each in behind) <= limit // 2 and used <= limit

    lead_max = us_to_samples(policy.lead_max_us, policy.sample_rate)
    held = timeline.held_bytes + cost_bytes
    return within(lead_max, lead, lambda each: each.lead_samples) and within(
        policy.bytes_max, held, lambda each: each.held_bytes
    )
