"""What playout decides, and by which rules: the vocabulary of `moqvox.media.playout`.

Every value is an integer, an Enum or one of these structs, so that the same JSON vectors
drive this player and the browser's. Samples are per channel.
"""

from enum import Enum

from msgspec import Struct

from moqvox.errors import LocalError

__all__ = [
    "FRAME_OVERHEAD_BYTES",
    "Began",
    "CatchUp",
    "Decision",
    "Ended",
    "Ending",
    "Fade",
    "Late",
    "Outcome",
    "Play",
    "Policy",
    "Pushed",
    "Reason",
    "Remove",
    "Repeat",
    "Silence",
    "Skip",
    "State",
    "Stats",
    "Totals",
]

FRAME_OVERHEAD_BYTES = 128
"""Counted for each frame held, beside its payload."""


class Late(Enum):
    """What happens to audio that arrives after it was due."""

    WAIT = "wait"
    """Play all of it: playback is delayed, nothing is dropped."""

    SKIP = "skip"
    """Stay live: past `Policy.skip_over_us` of lead the oldest audio is dropped."""


class CatchUp(Enum):
    """When playback runs faster than real time."""

    NEVER = "never"
    REBUFFERED = "rebuffered"
    """Until the silence that underruns put in is won back; right for audio pushed ahead."""

    LIVE = "live"
    """Also whenever more than the target is in hand for a while; right for a live source,
    whose clock may run faster than ours."""


class Policy(Struct, frozen=True, kw_only=True):
    """The rules of one playout; defaults suit speech over a reliable stream.

    `target_min_us` equal to `target_max_us` fixes the target lead.
    """

    sample_rate: int = 48_000
    target_min_us: int = 60_000
    target_max_us: int = 500_000
    start_deadline_us: int = 500_000
    """Longest wait for the target, counted from the first frame that waits."""

    resume_us: int = 20_000
    """Lead, if the target is no lower, that suffices to go on after an underrun."""

    relapses_borne: int = 3
    """How often in a row an item may run dry soon after it went on before `resume_us` is doubled
    for it, each time anew. Bursts of loss do it a few times, and what is withheld then is
    silence that nothing asks for; a sender that is too slow does it for good."""

    spread_fall_ppm: int = 20_000
    """How fast the measured spread falls: microseconds per second of arrival time."""

    floor_rise_ppm: int = 10_000
    """How fast the earliest-arrival mark follows a sender that became slower for good."""

    late: Late = Late.WAIT
    skip_over_us: int = 500_000
    catch_up: CatchUp = CatchUp.REBUFFERED
    stretch_ppm: int = 60_000
    """Most source samples removed or repeated per million played; 0 turns it off."""

    splice_max_us: int = 15_000
    """Most that one splice removes or repeats: a period of the lowest voice."""

    catch_up_after_us: int = 1_000_000
    """How long the lead must exceed the target before a live source is caught up with."""

    gap_max_us: int = 5_000_000
    """Longest silence a jump in timestamps may ask for; longer ones are cut to this."""

    snap_us: int = 5_000
    """Timestamps this close to the end of the previous frame mean `directly after it`."""

    lead_max_us: int = 300_000_000
    """Bound on everything unplayed. Items behind the first may use half of it together; the
    first one always has half for itself, so that it never waits for those behind it."""

    bytes_max: int = 8 << 20
    """The same in bytes, `FRAME_OVERHEAD_BYTES` added for each frame."""

    items_max: int = 32

    def __post_init__(self) -> None:
        """Refuse rules that contradict each other.

        Raises:
            LocalError: a field is out of its range.
        """
        ranges = {
            "sample_rate": (1_000, 192_000),
            "target_max_us": (self.target_min_us, 60_000_000),
            "stretch_ppm": (0, 100_000),
            "spread_fall_ppm": (0, 100_000),
            "floor_rise_ppm": (0, 100_000),
            "splice_max_us": (1_000, 100_000),
            "items_max": (1, 1_024),
            "relapses_borne": (0, 1_000),
            "lead_max_us": (4_000_000, 3_600_000_000),
            "bytes_max": (4_096, 1 << 40),
            "gap_max_us": (0, self.lead_max_us // 2 - 1_000_000),
        }
        for name, (low, high) in ranges.items():
            if not low <= getattr(self, name) <= high:
                raise LocalError(f"{name} is {getattr(self, name)}, allowed {low} to {high}")
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if isinstance(value, int) and value < 0:
                raise LocalError(f"{name} is {value}, allowed 0 and up")


class Outcome(Enum):
    """What became of something pushed."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    LATE = "late"
    """Its place has passed in silence."""

    STALE = "stale"
    """Its item is over: flushed, reset, or heard to the end."""

    FULL = "full"
    """Over a bound; nothing was kept. Stop reading the stream, push again after a pull."""

    INVALID = "invalid"
    """No frame is like this: below one sample, above one second or half of `bytes_max`."""


class Pushed(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The fate of one frame: `kept + duplicate + late` is its length unless refused."""

    outcome: Outcome
    index: int | None = None
    """Names the frame in later decisions: counts an item's accepted frames from 0."""

    kept: int = 0
    duplicate: int = 0
    late: int = 0
    clamped: bool = False
    """Its timestamp was absurd and its place is a guess."""


class Reason(Enum):
    """Why nothing sounds."""

    IDLE = "idle"
    BUFFERING = "buffering"
    UNDERRUN = "underrun"
    GAP = "gap"
    """The sender left it out: a pause in the timestamps."""

    PAUSED = "paused"


class Ending(Enum):
    """How an item ended."""

    PLAYED = "played"
    FLUSHED = "flushed"
    RESET = "reset"


class Totals(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The account of one item, exact to the sample.

    Of the audio accepted, `heard + skipped + dropped` samples are all there is; those
    `removed` by time-stretch count as heard, those `repeated` don't count again.
    """

    heard_samples: int = 0
    heard_us: int = 0
    """Media time from the item's first sample to the end of the last one heard, gaps
    included: the position to cut a transcript at."""

    heard_timestamp_us: int | None = None
    """The same point on the sender's clock; none before the first sample."""

    gap_samples: int = 0
    silence_samples: int = 0
    """Silence inserted by underruns, between the first sample and the last."""

    underruns: int = 0
    late_samples: int = 0
    duplicate_samples: int = 0
    skipped_samples: int = 0
    dropped_samples: int = 0
    """Unplayed when the item was flushed or reset."""

    removed_samples: int = 0
    repeated_samples: int = 0
    clamped_frames: int = 0


class Began(Struct, frozen=True, tag_field="kind", tag="began"):
    """The item's first sample is the next thing heard. Takes no output."""

    item: int


class Play(Struct, frozen=True, tag_field="kind", tag="play", omit_defaults=True):
    """Play `samples` of frame `index`, from `offset` within it."""

    item: int
    index: int
    timestamp_us: int
    """The sender's timestamp of the frame (not of `offset`)."""

    offset: int
    samples: int


class Fade(Struct, frozen=True, tag_field="kind", tag="fade", omit_defaults=True):
    """Play like `Play`, at a gain that falls to zero in a line.

    Sample k has the gain `(total - start - k) / total`.
    """

    item: int
    index: int
    timestamp_us: int
    offset: int
    samples: int
    start: int
    total: int


class Silence(Struct, frozen=True, tag_field="kind", tag="silence", omit_defaults=True):
    """Output `samples` of nothing; `item` is the one that waits, if any."""

    reason: Reason
    samples: int
    item: int | None = None


class Skip(Struct, frozen=True, tag_field="kind", tag="skip", omit_defaults=True):
    """Pass over `samples` of frame `index` unheard, to stay live. Takes no output."""

    item: int
    index: int
    timestamp_us: int
    offset: int
    samples: int


class Remove(Struct, frozen=True, tag_field="kind", tag="remove", omit_defaults=True):
    """Leave out `samples` of frame `index` to catch up. Takes no output.

    Cross-fade from the audio here to the audio after it, so that no edge is heard.
    """

    item: int
    index: int
    timestamp_us: int
    offset: int
    samples: int


class Repeat(Struct, frozen=True, tag_field="kind", tag="repeat", omit_defaults=True):
    """Output `samples` that repeat what was just heard, to slow down. Takes no source."""

    item: int
    samples: int


class Ended(Struct, frozen=True, tag_field="kind", tag="ended", omit_defaults=True):
    """Nothing of the item will be heard any more. Takes no output."""

    item: int
    how: Ending
    totals: Totals


Decision = Began | Play | Fade | Silence | Skip | Remove | Repeat | Ended


class State(Enum):
    """What playout does, for a user interface."""

    IDLE = "idle"
    BUFFERING = "buffering"
    PLAYING = "playing"
    UNDERRUN = "underrun"
    """Ran dry in the middle and buffers again."""

    PAUSED = "paused"


class Stats(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A snapshot. `lead_us` is what the current item has in hand, `queued_us` all items."""

    state: State
    item: int | None = None
    lead_us: int = 0
    queued_us: int = 0
    target_us: int = 0
    spread_us: int = 0
    pace: int = 0
    """1 while catching up, -1 while slowing down."""

    items: int = 0
    frames: int = 0
    held_bytes: int = 0
