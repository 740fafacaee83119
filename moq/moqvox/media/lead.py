"""How much audio to hold before playing: the target lead, from measured arrivals."""

from moqvox.media.decision import Policy

__all__ = ["Floor", "Lead"]

_PPM = 1_000_000

Floor = tuple[int, int]
"""The smallest delay of an item's frames, and when it was seen, in microseconds."""


class Lead:
    """Measures how unevenly audio arrives and names the lead that would have covered it.

    A frame's *delay* is its arrival minus its place in the item. The *floor* is the
    smallest delay seen, rising by `Policy.floor_rise_ppm`, so that a drifting clock or a
    longer path is not taken for unevenness. The *spread* is the largest delay above the
    floor; it rises at once and falls by `Policy.spread_fall_ppm`. Both are kept as a mark
    and the time it was set, so that nothing depends on how often they are read.
    """

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._spread_us = 0
        self._spread_at_us = 0

    def arrived(self, floor: Floor | None, position_us: int, now_us: int) -> Floor:
        """Note an arrival of audio at `position_us` of an item; returns the item's new floor.

        Each item has its own relation to the clock, so its floor starts with None.
        """
        delay_us = now_us - position_us
        if floor is None:
            return delay_us, now_us
        elapsed_us = max(0, now_us - floor[1])
        above_us = delay_us - floor[0] - elapsed_us * self._policy.floor_rise_ppm // _PPM
        if above_us <= 0:
            return delay_us, now_us
        if above_us >= self.spread_us(now_us):
            self._spread_us, self._spread_at_us = above_us, now_us
        return floor

    def spread_us(self, now_us: int) -> int:
        """The unevenness of arrivals as of `now_us`."""
        elapsed_us = max(0, now_us - self._spread_at_us)
        return max(0, self._spread_us - elapsed_us * self._policy.spread_fall_ppm // _PPM)

    def target_us(self, now_us: int) -> int:
        """The lead to gather before playing, within the policy's bounds."""
        policy = self._policy
        return min(max(self.spread_us(now_us), policy.target_min_us), policy.target_max_us)
