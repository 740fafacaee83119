"""What a bad link does to each datagram: pure decisions, no socket, no clock.

Every kind of randomness of each direction has its own seeded stream, and each datagram
draws once from every stream whatever else happens to it. So the n-th datagram of a
direction meets the same fate in every run with that seed, whichever other impairments
are switched on. Bursts are drawn in time, as radio links fade, not per datagram.

Order inside a direction: outage, rate and its queue, loss, delay. A lost datagram has
used the rate; one that comes while the link is dead has not.
"""

import enum
import random
from collections.abc import Iterable
from typing import Final

import msgspec

__all__ = ["Burst", "Cause", "Direction", "Impairment", "Lane", "Outage", "Outages", "Tally"]

MAX_OUTAGES: Final = 1000

IDLE_CYCLES: Final = 1000
"""After so long a silence nobody remembers the spell before, and none is drawn for it."""

SECONDS: Final = 1e-3
"""One millisecond in seconds."""


class Direction(enum.Enum):
    """Which way a datagram goes."""

    UP = "up"
    DOWN = "down"


class Cause(enum.Enum):
    """Why a datagram did not arrive."""

    OUTAGE = "outage"
    QUEUE = "queue"
    LOSS = "loss"
    BURST = "burst"
    HELD = "held"
    SOCKET = "socket"


class Burst(msgspec.Struct, frozen=True):
    """Gilbert-Elliott in time: good and bad spells of exponential length.

    Attributes:
        good_ms: mean length of a good spell.
        bad_ms: mean length of a bad spell.
        loss: percent lost in a bad spell.
    """

    good_ms: float
    bad_ms: float
    loss: float = 100.0


class Impairment(msgspec.Struct, frozen=True, kw_only=True):
    """What one direction of a link does.

    Attributes:
        loss: percent, each datagram by itself.
        burst: losses that come in spells.
        delay_ms: added to every datagram.
        jitter_ms: up to this much more, uniform; order is kept.
        rate_kbps: 1000 bits per second; 0 is no limit.
        queue_ms: a datagram is dropped when more than this is ahead of it.
        reorder: percent held back `reorder_ms` longer, so that others overtake them.
        duplicate: percent that arrive twice.
    """

    loss: float = 0.0
    burst: Burst | None = None
    delay_ms: float = 0.0
    jitter_ms: float = 0.0
    rate_kbps: float = 0.0
    queue_ms: float = 100.0
    reorder: float = 0.0
    reorder_ms: float = 20.0
    duplicate: float = 0.0

    def __post_init__(self) -> None:
        percents = {"loss": self.loss, "reorder": self.reorder, "duplicate": self.duplicate}
        amounts = {
            "delay_ms": self.delay_ms,
            "jitter_ms": self.jitter_ms,
            "rate_kbps": self.rate_kbps,
            "queue_ms": self.queue_ms,
            "reorder_ms": self.reorder_ms,
        }
        if self.burst is not None:
            percents["burst loss"] = self.burst.loss
            for name, mean in (("good", self.burst.good_ms), ("bad", self.burst.bad_ms)):
                if not 1 <= mean < 1e9:
                    raise ValueError(f"a mean {name} spell of {mean} ms, at least 1 is needed")
        for name, value in percents.items():
            if not 0 <= value <= 100:
                raise ValueError(f"{name} of {value} %, 0 to 100 is possible")
        for name, value in amounts.items():
            if not 0 <= value < 1e9:
                raise ValueError(f"{name} of {value}, 0 or more is possible")


class Outage(msgspec.Struct, frozen=True):
    """Both directions are dead from `start` for `duration` seconds."""

    start: float
    duration: float


class Outages:
    """The dead times of a link, shared by its two lanes."""

    def __init__(self, planned: Iterable[Outage] = ()) -> None:
        self._dead: list[Outage] = []
        for outage in planned:
            self.add(outage)

    def add(self, outage: Outage) -> None:
        """Plan one more.

        Raises:
            ValueError: it has no length, or there are too many.
        """
        if outage.duration <= 0:
            raise ValueError(f"an outage of {outage.duration} s, above 0 is needed")
        if len(self._dead) >= MAX_OUTAGES:
            raise ValueError(f"more than {MAX_OUTAGES} outages on one link")
        self._dead.append(outage)
        self._dead.sort(key=lambda one: one.start)

    def dead(self, now: float) -> bool:
        """Tell whether a datagram that enters now is lost; what is over is forgotten."""
        while self._dead and self._dead[0].start + self._dead[0].duration <= now:
            self._dead.pop(0)
        return any(one.start <= now < one.start + one.duration for one in self._dead)


class Tally(msgspec.Struct):
    """What one direction has done so far; duplicates count as out only."""

    in_packets: int = 0
    in_bytes: int = 0
    out_packets: int = 0
    out_bytes: int = 0
    duplicated: int = 0
    reordered: int = 0
    dropped: dict[Cause, int] = msgspec.field(default_factory=dict)

    def drop(self, cause: Cause) -> None:
        """Count a datagram that will not arrive."""
        self.dropped[cause] = self.dropped.get(cause, 0) + 1

    def copy(self) -> "Tally":
        """Return a snapshot."""
        return msgspec.structs.replace(self, dropped=dict(self.dropped))


class Lane:
    """One direction: decides for each datagram when it comes out, if it does.

    Times are seconds on the caller's clock, which must not run backwards.

    Args:
        impairment: what it does; `impairment` may be replaced at any time.
        outages: when the whole link is dead.
        seed: with the direction's name, decides everything that is random.
    """

    def __init__(
        self, direction: Direction, impairment: Impairment, outages: Outages, seed: int
    ) -> None:
        self.impairment = impairment
        self.tally = Tally()
        self._outages = outages
        self._streams = {
            kind: random.Random(f"{seed}/{direction.value}/{kind}")  # noqa: S311 - not a secret
            for kind in ("loss", "spell", "bad", "jitter", "reorder", "duplicate")
        }
        self._busy_until = 0.0
        self._last_release = 0.0
        self._is_bad = False
        self._spell_ends: float | None = None

    def admit(self, now: float, size_bytes: int) -> list[float]:
        """Decide one datagram's fate: the times at which it is released, none if it is lost."""
        tally = self.tally
        tally.in_packets += 1
        tally.in_bytes += size_bytes
        draws = {kind: stream.random() for kind, stream in self._streams.items() if kind != "spell"}
        cause, queued = self._obstacle(now, size_bytes, draws)
        if cause is not None:
            tally.drop(cause)
            return []
        releases = [self._release(now + queued, draws)]
        if draws["duplicate"] * 100 < self.impairment.duplicate:
            tally.duplicated += 1
            releases.append(releases[0])
        return releases

    def released(self, size_bytes: int) -> None:
        """Count a datagram that the caller has passed on."""
        self.tally.out_packets += 1
        self.tally.out_bytes += size_bytes

    def _obstacle(
        self, now: float, size_bytes: int, draws: dict[str, float]
    ) -> tuple[Cause | None, float]:
        """Find what stops a datagram, or else the seconds it spends in the queue."""
        settings = self.impairment
        is_bad = self._spell(now)
        if self._outages.dead(now):
            return Cause.OUTAGE, 0.0
        queued = 0.0
        if settings.rate_kbps:
            backlog = max(0.0, self._busy_until - now)
            if backlog > settings.queue_ms * SECONDS:
                return Cause.QUEUE, 0.0
            queued = backlog + size_bytes * 8 / (settings.rate_kbps * 1000)
            self._busy_until = now + queued
        if draws["loss"] * 100 < settings.loss:
            return Cause.LOSS, 0.0
        if is_bad and settings.burst and draws["bad"] * 100 < settings.burst.loss:
            return Cause.BURST, 0.0
        return None, queued

    def _release(self, sent: float, draws: dict[str, float]) -> float:
        settings = self.impairment
        release = sent + (settings.delay_ms + draws["jitter"] * settings.jitter_ms) * SECONDS
        release = max(release, self._last_release)
        if draws["reorder"] * 100 < settings.reorder:
            self.tally.reordered += 1
            return release + settings.reorder_ms * SECONDS
        self._last_release = release
        return release

    def _spell(self, now: float) -> bool:
        """Advance the good and bad spells to `now` and tell which one it is in."""
        burst = self.impairment.burst
        if burst is None:
            self._is_bad, self._spell_ends = False, None
            return False
        draw = self._streams["spell"]
        cycle = (burst.good_ms + burst.bad_ms) * SECONDS
        if self._spell_ends is None or now - self._spell_ends > IDLE_CYCLES * cycle:
            self._is_bad = False
            self._spell_ends = now + draw.expovariate(1 / burst.good_ms) * SECONDS
        while self._spell_ends <= now:
            self._is_bad = not self._is_bad
            mean = burst.bad_ms if self._is_bad else burst.good_ms
            self._spell_ends += draw.expovariate(1 / mean) * SECONDS
        return self._is_bad
