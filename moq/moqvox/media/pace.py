"""Whether playback should run a little faster or slower, and how far it may."""

from moqvox.media.clock import samples_to_us, us_to_samples
from moqvox.media.decision import CatchUp, Policy
from moqvox.media.timeline import Timeline

__all__ = ["Pace"]

_PPM = 1_000_000


class Pace:
    """Decides the direction of time-stretch and saves up the samples it may move.

    Faster: the target is exceeded by half and there is delay to win back, until the lead is
    down to the target. Slower: what the pull leaves is less than a third of the target and
    more is to come, until it is half. Each sample played earns `Policy.stretch_ppm` millionths of
    one, up to `Policy.splice_max_us`, to be spent on a cut at a place where it is not heard.
    """

    def __init__(self, policy: Policy) -> None:
        self.direction = 0
        self._policy = policy
        self._earned_ppm = 0
        self._earned_for = 0
        self._excess_samples = 0

    @property
    def room(self) -> int:
        """How many samples may be left out (> 0) or repeated (< 0) now."""
        return self.direction * (self._earned_ppm // _PPM)

    def update(
        self, timeline: Timeline | None, samples: int, target_us: int, *, paused: bool
    ) -> None:
        """Choose the direction for a pull of `samples`."""
        if timeline is None or not timeline.playing:
            self.stop()
            return
        if paused or not self._policy.stretch_ppm:
            self.direction = 0
            return
        rate = self._policy.sample_rate
        lead_us = samples_to_us(timeline.lead_samples, rate)
        left_us = samples_to_us(timeline.lead_samples - samples, rate)
        self.direction = self._choose(timeline, lead_us, left_us, target_us)
        if self.direction and self.direction != self._earned_for:
            self._earned_ppm, self._earned_for = 0, self.direction

    def stop(self) -> None:
        """Note that nothing plays."""
        self.direction = self._excess_samples = 0

    def played(self, samples: int) -> None:
        """Earn room from `samples` played as they are."""
        self._excess_samples += samples
        if self.direction:
            cap = us_to_samples(self._policy.splice_max_us, self._policy.sample_rate) * _PPM
            self._earned_ppm = min(cap, self._earned_ppm + samples * self._policy.stretch_ppm)

    def spend(self, samples: int) -> None:
        """Use up room."""
        self._earned_ppm -= samples * _PPM

    def _choose(self, timeline: Timeline, lead_us: int, left_us: int, target_us: int) -> int:
        start_us = target_us if self.direction == 1 else target_us + target_us // 2
        if lead_us <= start_us:
            self._excess_samples = 0
        elif self._may_catch_up(timeline):
            return 1
        low_us = target_us // 2 if self.direction == -1 else target_us // 3
        return -1 if left_us < low_us and not timeline.fin else 0

    def _may_catch_up(self, timeline: Timeline) -> bool:
        policy = self._policy
        if policy.catch_up is CatchUp.NEVER:
            return False
        if timeline.debt_samples:
            return True
        if policy.catch_up is CatchUp.REBUFFERED:
            return False
        after = us_to_samples(policy.catch_up_after_us, policy.sample_rate)
        return self.direction == 1 or self._excess_samples >= after
