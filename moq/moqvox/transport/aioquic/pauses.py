"""When nobody who is there is about to speak, as far as one can know.

A step of a handshake takes a millisecond in one piece, and whoever speaks meanwhile waits for
it. Voice comes in time, though, a packet each 20 ms or so: right after one of them, there is room
for a step until the next. What comes of whom is looked at apart from the others, so that neither
newcomers nor those who send what they like blur the time that somebody keeps. Where many speak,
or nobody keeps time, there is no room to be found, and only the share that steps have of the time
says how often somebody waits.
"""

from typing import Final

__all__ = ["MAX_KNOWN", "Pauses", "Rhythm"]

SAME_SECONDS: Final = 0.0005
"""What comes within so short a time came at once."""

LONGEST_TIME: Final = 0.1
"""Between one packet and the next; what is longer was a silence and says nothing of the next."""

LOST: Final = 2.0
"""Usual times at least without a packet: one did not come, or more. It says no more than this."""

PROVEN_SECONDS: Final = 1.0
"""Of speech, before somebody counts among those who keep time."""

STEADY: Final = 0.25
"""A part of the usual time, by which those who keep it may be off as a rule."""

WEIGHT: Final = 0.125
"""Of the newest time among all."""

WIDTH: Final = 2.0
"""Deviations from the usual time, within which a packet is expected."""

LATE: Final = 1.5
"""Usual times, for which somebody is waited for who should have spoken."""

GONE_SECONDS: Final = 2.0
"""Who has been silent for so long makes room for others."""

MAX_KNOWN: Final = 32
"""People whose time is kept in view; of more than these, nobody can avoid all."""

CROWDED: Final = 0.7
"""The share of the time in which any of several is expected; beyond it there is no use in
waiting. A single one leaves room in any case, if only right after each word of his."""

ROOMY: Final = 1.2
"""Steps that must find room between two packets of somebody's, or he can't be spared."""

LONGEST_STEP: Final = 0.005
FADING: Final = 0.98
TOWARDS: Final = 0.3
"""What is expected of a step fades with each that was shorter, and goes a part of the way towards
one that was longer, which may have been the collector's doing."""


class Rhythm:
    """The time that one peer keeps. It refers to nobody.

    Attributes:
        heard_at: when the peer spoke last.
        usual: seconds between one packet and the next.
        off: by how much they are off, mostly.
        is_known: whether `Pauses` has it in view.
    """

    __slots__ = ("_proven", "heard_at", "is_known", "off", "usual")

    def __init__(self) -> None:
        self.heard_at = self.usual = self.off = self._proven = 0.0
        self.is_known = False

    def heard(self, now: float, since: float | None = None) -> None:
        """Note that the peer spoke now, or at some time since then: when it was expected, if so.

        What a step of ours kept from being read is not what the peer is off by.
        """
        if since is not None:
            now = max(since, min(now, self.heard_at + self.usual))
        passed = now - self.heard_at
        self.heard_at = now
        if passed < SAME_SECONDS or passed > LONGEST_TIME:
            return
        if not self._proven:
            self.usual, self.off = passed, passed / 2
        else:
            beyond = min(passed, LOST * self.usual) - self.usual
            self.off += WEIGHT * (abs(beyond) - self.off)
            self.usual += WEIGHT * beyond
        self._proven += passed

    @property
    def is_kept(self) -> bool:
        """Whether the peer has kept time for long enough, and does so now."""
        return self._proven >= PROVEN_SECONDS and self.off <= STEADY * self.usual


class Pauses:
    """Knows who speaks when, and how long a step takes. Pure: the clock is an argument."""

    __slots__ = ("_known", "_step")

    def __init__(self) -> None:
        self._known: list[Rhythm] = []
        self._step = 0.0

    def __len__(self) -> int:
        return len(self._known)

    def heard(self, rhythm: Rhythm, now: float, since: float | None = None) -> None:
        """Note that somebody spoke who is there, now or at some time since then."""
        rhythm.heard(now, since)
        if not rhythm.is_known and rhythm.is_kept:
            self._forget_silent(now)
            if len(self._known) < MAX_KNOWN:
                self._known.append(rhythm)
                rhythm.is_known = True

    def _forget_silent(self, now: float) -> None:
        """Keep who still speaks in time."""
        kept: list[Rhythm] = []
        for rhythm in self._known:
            rhythm.is_known = rhythm.is_kept and now - rhythm.heard_at < GONE_SECONDS
            if rhythm.is_known:
                kept.append(rhythm)
        self._known = kept

    def stepped(self, seconds: float) -> None:
        """Note how long a step took, with what it brought about."""
        faded = FADING * self._step
        self._step = faded + TOWARDS * max(0.0, min(seconds, LONGEST_STEP) - faded)

    def room_at(self, now: float) -> float | None:
        """When a step may begin so that it is over before somebody speaks; None: nobody can say.

        Who does not speak when it is time has stopped, or is late; he is waited for until half
        of the usual time has passed once more.
        """
        self._forget_silent(now)
        taken: list[tuple[float, float]] = []
        share, expected = 0.0, 0
        for rhythm in self._known:
            soonest = rhythm.usual - WIDTH * rhythm.off
            if soonest < ROOMY * self._step:
                continue
            expected += 1
            share += (self._step + WIDTH * rhythm.off) / rhythm.usual
            until = rhythm.heard_at + max(LATE * rhythm.usual, rhythm.usual + WIDTH * rhythm.off)
            if now < until:
                taken.append((rhythm.heard_at + soonest - self._step, until))
        if not taken or (expected > 1 and share > CROWDED):
            return None
        room_at = now
        for begin, until in sorted(taken):
            if begin <= room_at < until:
                room_at = until
        return room_at
