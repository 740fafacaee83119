"""What `moqvox lab continuity` runs, the most important first, and what is promised of it."""

from typing import Final

import msgspec

from moqvox_client.lab.bounds import Bound, Limit, Medians
from moqvox_client.lab.scenario import SETS, Scenario
from moqvox_client.lab.systems import OURS

__all__ = ["SECTIONS", "Part", "Section"]

SEEDS: Final = 5
TWENTY: Final = 20

OTHERS: Final = ("websocket", "grpc", "aiortc")
CHROMIUM: Final = ("chromium-webrtc",)
"""Always in a part of its own: it keeps two cores busy, which others should not suffer from."""

OURS_COLD: Final = (OURS, "moqvox-webtransport")
NOTIFIED: Final = (
    "websocket",
    "websocket-notified",
    "grpc",
    "grpc-notified",
    "aiortc",
    "aiortc-notified",
)

_SWITCHED_MS: Final = 80.0
"""Half a round trip of the network that a switch goes to, and 40 ms."""


class Part(msgspec.Struct, frozen=True):
    """Scenarios that are run by the same systems.

    Attributes:
        jobs: calls at a time that two cores bear.
        loading: runs that are set up or judged meanwhile.
        answer_frames: instead of the scenarios' own.
    """

    scenarios: tuple[str, ...]
    systems: tuple[str, ...] = (OURS,)
    seeds: int = SEEDS
    jobs: int = 4
    loading: int = 2
    answer_frames: int | None = None


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """A table, and what is promised of it.

    Attributes:
        picture: the name of its picture, if it has one.
    """

    name: str
    title: str
    parts: tuple[Part, ...]
    columns: tuple[str, ...]
    bounds: tuple[Bound, ...] = ()
    picture: str = ""


def _members(of: str, prefix: str) -> tuple[str, ...]:
    """Name the scenarios of a set that are called so."""
    return tuple(one.name for one in SETS[of]() if one.name.startswith(prefix))


def _round_trips(count: float, more_ms: float) -> Limit:
    def limit(scenario: Scenario, _medians: Medians) -> float | None:
        return count * scenario.path.rtt_ms + more_ms

    return limit


def _fixed(ms: float) -> Limit:
    return lambda _scenario, _medians: ms


def _nothing_and(more_ms: float) -> Limit:
    return lambda scenario, _medians: scenario.nothing_ms + more_ms


def _quarter_of_the_best(scenario: Scenario, medians: Medians) -> float | None:
    theirs = [medians[name] for name in ("websocket", "grpc") if name in medians]
    return min(theirs) / 4 if theirs and scenario.path.loss >= 5 else None


def _only(names: tuple[str, ...], limit: Limit) -> Limit:
    """Apply a limit in some scenarios."""
    return lambda scenario, medians: limit(scenario, medians) if scenario.name in names else None


WHOLE: Final = Bound("not delivered: 0 s", "undelivered_s", _fixed(0), each=True)
SAID: Final = (
    Bound("not heard of the answer: 0 ms", "ear_missing_ms", _fixed(0), each=True),
    Bound("heard twice, or not of the answer: 0 ms", "ear_strange_ms", _fixed(0), each=True),
)

LOSSLESS: Final = ("setup-rtt50-loss0", "setup-rtt100-loss0")
SETUP: Final = Section(
    name="setup",
    title="Setting a call up",
    parts=(
        Part(
            LOSSLESS,
            (*OURS_COLD, "moqvox-resumed", "aioquic"),
            seeds=15,  # a few ms decide, by which moods of a machine differ
            jobs=1,
            loading=1,
        ),
        Part(LOSSLESS, OTHERS, jobs=1, loading=1),
        Part(LOSSLESS, CHROMIUM, jobs=1, loading=1),
        Part(
            ("setup-rtt50-loss5",),
            (*OURS_COLD, "moqvox-resumed", "websocket", "grpc"),
            seeds=TWENTY,
            jobs=2,
            loading=1,
        ),
    ),
    columns=(
        "complete_pct",
        "connected_ms",
        "session_ms",
        "subscribed_ms",
        "ttfa_ms",
        "ttfa_p95_ms",
    ),
    bounds=(
        Bound("first audio: 1.5 RTT + 20 ms", "ttfa_ms", _only(LOSSLESS, _round_trips(1.5, 20))),
        Bound(
            "first audio: 0.5 RTT + 30 ms",
            "ttfa_ms",
            _only(LOSSLESS, _round_trips(0.5, 30)),
            ("moqvox-resumed",),
        ),
        Bound(
            "first audio: 2.5 RTT + 30 ms",
            "ttfa_ms",
            _only(LOSSLESS, _round_trips(2.5, 30)),
            ("moqvox-webtransport",),
        ),
        Bound(
            "first audio, 19 of 20: 300 ms",
            "ttfa_ms",
            _only(("setup-rtt50-loss5",), _fixed(300)),
            (*OURS_COLD, "moqvox-resumed"),
            of_twenty=True,
        ),
    ),
)

KILLED: Final = _members("restart", "server-kill-")
RELAY_KILLED: Final = _members("restart", "relay-kill-")
RELAY_DRAINED: Final = _members("restart", "relay-drain-")
RESTART: Final = Section(
    name="restart",
    title="Servers and relays that are killed, restarted or drained",
    parts=(
        # Alone, and more often: a few ms decide, and how soon the server is there again.
        Part(KILLED, seeds=15, jobs=1, loading=1),
        Part((*RELAY_KILLED, *RELAY_DRAINED), jobs=2),
    ),
    columns=(
        *("complete_pct", "lost", "twice", "gap_ms", "away_ms", "detected_ms", "resumed_ms"),
        *("answer_pct", "answer_gap_ms", "ear_missing_ms", "ear_strange_ms"),
    ),
    bounds=(
        *SAID,
        Bound("lost: 0 frames", "lost", _fixed(0), each=True),
        Bound("heard twice: 0 frames", "twice", _fixed(0), each=True),
        Bound("noticed and back: 3 RTT", "returned_ms", _only(KILLED, _round_trips(3, 0))),
        Bound(
            "noticed and back: 1 s of silence + 2 RTT",
            "returned_ms",
            _only(RELAY_KILLED, _round_trips(2, 1000)),
        ),
        Bound(
            "drained: no pause beyond a frame + 40 ms",
            "gap_ms",
            _only(RELAY_DRAINED, _fixed(60)),
        ),
    ),
)

SWITCH_PROMPT: Final = Section(
    name="switch-prompt",
    title="From WiFi to cellular in mid-prompt",
    parts=(
        Part(
            _members("switch", "switch-prompt-"),
            jobs=4,
            answer_frames=0,
        ),
        Part(
            ("switch-prompt-both", "switch-prompt-gap0.5"),
            NOTIFIED,
            jobs=6,
            answer_frames=0,
        ),
        Part(("switch-prompt-both", "switch-prompt-gap0.5"), CHROMIUM, jobs=4, answer_frames=0),
    ),
    columns=("complete_pct", "stall_ms", "gap_ms"),
    bounds=(
        WHOLE,
        Bound("gap up: time without a network + 80 ms", "gap_ms", _nothing_and(_SWITCHED_MS)),
    ),
    picture="switch",
)

EAR: Final = (
    *("answer_pct", "answer_gap_ms", "silence_ms", "ear_silence_ms", "ear_longest_ms"),
    *("ear_expected_ms", "ear_error_ms", "ear_missing_ms", "ear_strange_ms"),
)
DUE: Final = Bound("longest silence: what was due, +/- 20 ms", "ear_error_ms", _fixed(20))
SWITCH_ANSWER: Final = Section(
    name="switch-answer",
    title="From WiFi to cellular in mid-answer, at the ear",
    parts=(
        Part(
            _members("switch", "switch-answer-"),
            jobs=4,
        ),
        Part(("switch-answer-gap0.5",), ("websocket", "grpc", "aiortc"), jobs=6),
    ),
    columns=EAR,
    bounds=(*SAID, DUE),
)

BURSTS: Final = "in-bursts"
IN_BURSTS: Final = ("nat-in-bursts", "switch-in-bursts")
ON_NETLAB: Final = ("nat", "nat-address", "nat-twenty", *IN_BURSTS)
TEN: Final = 10
"""Seeds, where much depends on when losses come."""

CHANGES: Final = Section(
    name="changes",
    title="NAT rebindings, twenty changes in a row, changes in bursts of loss",
    parts=(
        Part(ON_NETLAB[:3], jobs=4, answer_frames=100),
        Part((*IN_BURSTS, BURSTS), seeds=TEN, jobs=4, answer_frames=100),
        Part(("switch-twenty",), jobs=3, answer_frames=100),
        Part(ON_NETLAB, OTHERS, jobs=6, answer_frames=0),
        Part(ON_NETLAB, CHROMIUM, jobs=4, answer_frames=0),
        Part(("switch-twenty",), OTHERS, jobs=3, answer_frames=0),
        Part(("switch-twenty",), CHROMIUM, jobs=4, answer_frames=0),
    ),
    columns=(
        "complete_pct",
        "stall_ms",
        "gap_ms",
        "change_ms",
        "answer_pct",
        "ear_missing_ms",
        "ear_strange_ms",
    ),
    bounds=(
        WHOLE,
        *SAID,
        Bound(
            "gap up: half an RTT + 40 ms",
            "gap_ms",
            _only(("nat", "nat-address", "nat-twenty"), _round_trips(0.5, 40)),
        ),
        Bound(
            "gap up: time without a network + 80 ms",
            "gap_ms",
            _only(("switch-twenty",), _nothing_and(_SWITCHED_MS)),
        ),
        Bound(
            "at the change, beyond these bursts without one: time without a network + 80 ms",
            "change_ms",
            _only(IN_BURSTS, _nothing_and(_SWITCHED_MS)),
            beside=BURSTS,
        ),
    ),
)

CHANGES_ANSWER: Final = Section(
    name="changes-answer",
    title="The same in mid-answer, at the ear",
    parts=(
        Part(tuple(f"{name}-answer" for name in ON_NETLAB), jobs=4),
        Part(("switch-twenty-answer",), jobs=3),
    ),
    columns=EAR,
    bounds=(*SAID, DUE),
)

OUTAGE: Final = Section(
    name="outage",
    title="A dead network in mid-prompt",
    parts=(Part(("outage",), (OURS, "moq-rs"), jobs=5),),
    columns=("complete_pct", "delivered_s", "ttfa_ms", "gap_ms"),
    bounds=(WHOLE,),
)

LOSSES: Final = Section(
    name="losses",
    title="Losses",
    parts=(
        Part(("matrix",), (OURS, *OTHERS), jobs=6, answer_frames=0),
        Part(("matrix",), CHROMIUM, jobs=4, answer_frames=0),
    ),
    columns=("complete_pct", "ttfa_ms", "late_p50_ms", "late_p99_ms", "stall_ms"),
    bounds=(
        Bound(
            "late p99: a quarter of the best of WebSocket and gRPC",
            "late_p99_ms",
            _quarter_of_the_best,
        ),
        WHOLE,
    ),
    picture="losses",
)

SECTIONS: Final = {
    section.name: section
    for section in (
        *(SETUP, RESTART, SWITCH_PROMPT, SWITCH_ANSWER, OUTAGE, LOSSES, CHANGES, CHANGES_ANSWER),
    )
}
"""In the order in which they are run, as a run may be cut off."""
