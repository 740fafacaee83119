"""What the network does to a call, and the named sets of it: pure values, text in and out."""

import re
from collections.abc import Sequence
from typing import Final

import msgspec

__all__ = ["SETS", "Event", "Path", "Scenario", "named", "parse_event", "parse_path"]

MAX_EVENTS: Final = 200
MAX_AT_S: Final = 600.0
MAX_FRAMES: Final = 15_000

AFTERMATH_MS: Final = 500.0
"""So long after a change it may still be what holds frames up."""

_EVENT: Final = re.compile(r"(?P<at>\d+(?:\.\d+)?):(?P<what>[a-z]+)(?:=(?P<value>.+))?")

KINDS: Final = {
    "switch": "switch[=GAP[,keep]]: the radio dies, GAP ms later the other network is there",
    "outage": "outage=MS: nothing gets through",
    "nat": "nat[=ADDR]: from now on the client's packets come from other ports (and ADDR)",
    "kill": "kill: the server, or the first of two relays, is killed; a server is started anew",
    "drain": "drain: the first of two relays is asked to end, and hands its callers over",
}
OF_PROCESSES: Final = ("kill", "drain")
"""Kinds that the network has no part in."""


class Event(msgspec.Struct, frozen=True):
    """Something that happens to the network.

    Attributes:
        at: seconds after the caller began to speak.
        kind: of `KINDS`.
        ms: how long; for a switch the time with no network. A negative one is how long both
            networks are alive before the old one dies.
        keep: the client's system does not take the old address away.
        address: of a `nat`; "" for the same.
    """

    at: float
    kind: str
    ms: float = 0.0
    keep: bool = False
    address: str = ""

    def __str__(self) -> str:
        value = self.address if self.kind == "nat" else f"{self.ms:g}"
        value += ",keep" if self.keep else ""
        return f"{self.at:g}:{self.kind}" + (f"={value}" if value not in ("", "0") else "")


class Path(msgspec.Struct, frozen=True, kw_only=True):
    """One network between caller and server, the same in both directions.

    Attributes:
        rtt_ms: round trip, half of it in each direction.
        loss: percent of the packets.
        burst: mean ms of good and of bad spells, and the share lost in the bad ones; None
            for none.
        jitter_ms: up to so much more delay, in order.
        rate_kbps: 0 for no limit.
    """

    rtt_ms: float = 0.0
    loss: float = 0.0
    burst: tuple[float, float, float] | None = None
    jitter_ms: float = 0.0
    rate_kbps: float = 0.0


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """A call and its network.

    Attributes:
        name: as a table heads it.
        path: what the call begins on.
        cell: what a switch goes to.
        frames: of the prompt, 20 ms each.
        answer_frames: of the answer; 0 for none.
        pace: of the answer, as a multiple of real time; 0 hands it over at once.
        relays: caller and agent meet at the first of two relays.
        again: frames spoken in a second prompt, once a server that was killed is back.
        watched: seconds after the caller began to speak at which others of its network have a
            change, and this one has none: what to compare theirs with.
    """

    name: str
    path: Path = Path()
    cell: Path = Path(rtt_ms=80.0)
    events: tuple[Event, ...] = ()
    frames: int = 400
    answer_frames: int = 400
    pace: float = 0.0
    relays: bool = False
    again: int = 0
    watched: float | None = None

    @property
    def network_events(self) -> tuple[Event, ...]:
        """Those of the events that happen to the network."""
        return tuple(event for event in self.events if event.kind not in OF_PROCESSES)

    @property
    def process_events(self) -> tuple[Event, ...]:
        """Those that happen to servers and relays, in order."""
        events = (event for event in self.events if event.kind in OF_PROCESSES)
        return tuple(sorted(events, key=lambda event: event.at))

    @property
    def changes_often(self) -> bool:
        """Whether the client goes from one network to the other more than once."""
        return sum(event.kind == "switch" for event in self.events) > 1

    @property
    def nothing_ms(self) -> float:
        """The longest time in which no network was there, from the events."""
        return max((max(0.0, event.ms) for event in self.events), default=0.0)

    @property
    def change_ms(self) -> tuple[float, float] | None:
        """From the network's first change until soon after there is a network again, if any."""
        at = min((event.at for event in self.network_events), default=self.watched)
        return None if at is None else (1000 * at, 1000 * at + self.nothing_ms + AFTERMATH_MS)

    @property
    def seconds(self) -> float:
        """How long a run of it should take, at most."""
        patience = (6.0 if self.answer_frames else 3.0) + 2 * self.nothing_ms / 1000
        patience += 5.0 * len(self.process_events)
        return (self.frames + self.answer_frames + self.again) * 0.02 + patience


def parse_event(text: str) -> Event:
    """Read `T:WHAT`, as `--event` takes it.

    Raises:
        ValueError: it is no such thing; the message says what would be.
    """
    match = _EVENT.fullmatch(text.strip())
    if match is None or match["what"] not in KINDS:
        known = "; ".join(KINDS.values())
        raise ValueError(f"{text!r} is no event: write SECONDS:WHAT, with WHAT of {known}")
    at = float(match["at"])
    if at > MAX_AT_S:
        raise ValueError(f"{text!r} is later than {MAX_AT_S:g} s into the call")
    kind, value = match["what"], match["value"] or ""
    if kind in OF_PROCESSES:
        if value:
            raise ValueError(f"{text!r}: {kind} takes no value")
        return Event(at, kind)
    if kind == "nat":
        if value and not re.fullmatch(r"\d{1,3}(\.\d{1,3}){3}", value):
            raise ValueError(f"{value!r} in {text!r} is not an IPv4 address")
        return Event(at, kind, address=value)
    number, *options = value.split(",") if value else ["0"]
    try:
        ms = float(number)
    except ValueError:
        raise ValueError(f"{number!r} in {text!r} is not a number of ms") from None
    if options and (kind != "switch" or options != ["keep"]):
        raise ValueError(f"{text!r}: {kind} has no option {','.join(options)!r}")
    if not (ms > 0 if kind == "outage" else ms >= -60_000) or ms > 60_000:
        raise ValueError(f"{text!r}: {number} ms is out of range")
    return Event(at, kind, ms=ms, keep=bool(options))


def parse_burst(text: str) -> tuple[float, float, float]:
    """Read `GOOD,BAD[,LOSS]`: two mean times in ms, and the share lost in bad spells.

    Raises:
        ValueError: it is no such thing.
    """
    wanted = "write GOOD,BAD[,LOSS]: mean ms, mean ms, the share lost in bad times (0 to 1)"
    try:
        good, bad, *rest = [float(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(f"{text!r} is no burst; {wanted}") from None
    share = rest[0] if rest else 1.0
    if len(rest) > 1 or not (1 <= good < 1e9 and 1 <= bad < 1e9 and 0 <= share <= 1):
        raise ValueError(f"{text!r} is no burst; {wanted}")
    return good, bad, share


def parse_path(text: str) -> Path:
    """Read `rtt=80 loss=1 burst=1500,100,.8`, as `--cell` takes it.

    Raises:
        ValueError: an unknown key, or a value that makes no sense.
    """
    numbers: dict[str, float] = {}
    burst = None
    for part in text.split():
        key, equals, value = part.partition("=")
        if not equals or key not in ("rtt", "loss", "burst", "jitter", "rate"):
            raise ValueError(f"{part!r} is not one of rtt=MS loss=PERCENT burst= jitter= rate=")
        if key == "burst":
            burst = parse_burst(value)
            continue
        try:
            numbers[key] = float(value)
        except ValueError:
            raise ValueError(f"{value!r} in {part!r} is not a number") from None
        most = 100.0 if key == "loss" else 1e6
        if not 0 <= numbers[key] <= most:
            raise ValueError(f"{part!r} is out of range, 0 to {most:g}")
    return Path(
        rtt_ms=numbers.get("rtt", 80.0),
        loss=numbers.get("loss", 0.0),
        burst=burst,
        jitter_ms=numbers.get("jitter", 0.0),
        rate_kbps=numbers.get("rate", 0.0),
    )


BURST: Final = (1500.0, 100.0, 0.8)
"""Mean spells of 1.5 s good and 0.1 s bad, 80 % lost in the bad ones: 5 % in all."""

WIFI: Final = Path(rtt_ms=30.0)
CELL: Final = Path(rtt_ms=80.0)

ANSWER_S: Final = 8.0
"""About when the answer to a prompt of 400 frames begins."""


def _matrix() -> list[Scenario]:
    cells = []
    for rtt in (50.0, 100.0):
        for loss in (0.0, 1.0, 5.0, 10.0):
            path = Path(rtt_ms=rtt, loss=loss)
            cells.append(Scenario(name=f"rtt{rtt:g}-loss{loss:g}", path=path))
        cells.append(Scenario(name=f"rtt{rtt:g}-bursts", path=Path(rtt_ms=rtt, burst=BURST)))
    return cells


def _switches() -> list[Scenario]:
    """Let the caller leave the WiFi in mid-prompt (at 3 s) and in mid-answer (at 11 s)."""
    found = []
    for label, at in (("prompt", 3.0), ("answer", 11.0)):
        for gap in (-1000.0, 0.0, 500.0, 2000.0, 5000.0):
            name = "both" if gap < 0 else f"gap{gap / 1000:g}"
            found.append(
                Scenario(
                    name=f"switch-{label}-{name}",
                    path=WIFI,
                    cell=CELL,
                    events=(Event(at, "switch", ms=gap, keep=gap < 0),),
                    pace=0.0 if label == "prompt" else 1.0,
                )
            )
    return found


def _changes() -> list[Scenario]:
    """Address changes: one NAT rebinding, 20 in a row, one in bursts of loss; up and down."""
    burst = Path(rtt_ms=30.0, burst=(400.0, 400.0, 0.8))
    found = []
    for label, since in (("", 0.0), ("-answer", ANSWER_S)):
        twenty = tuple(
            Event(since + 1.0 + 0.3 * n, "nat", address=f"10.77.1.{100 + n}") for n in range(20)
        )
        to_and_fro = tuple(Event(since + 1.0 + 0.3 * n, "switch", ms=100.0) for n in range(20))
        nat, anew = Event(since + 3.0, "nat"), Event(since + 3.0, "nat", address="10.77.1.99")
        for name, path, events in (
            ("nat", WIFI, (nat,)),
            ("nat-address", WIFI, (anew,)),
            ("nat-twenty", WIFI, twenty),
            ("switch-twenty", WIFI, to_and_fro),
            ("nat-in-bursts", burst, (nat,)),
            ("switch-in-bursts", burst, (Event(since + 3.0, "switch", ms=500.0),)),
        ):
            pace = 1.0 if label else 0.0
            found.append(
                Scenario(name=name + label, path=path, cell=CELL, events=events, pace=pace)
            )
    found.append(Scenario(name="in-bursts", path=burst, watched=3.0))
    return found


def _outages() -> list[Scenario]:
    return [
        Scenario(
            name=f"outage{ms / 1000:g}",
            path=Path(rtt_ms=50.0),
            events=(Event(3.0, "outage", ms=ms),) if ms else (),
            answer_frames=0,
        )
        for ms in (0.0, 1000.0, 1500.0, 3000.0)
    ]


def _ladder() -> list[Scenario]:
    return [
        Scenario(
            name=f"setup-rtt{rtt:g}-loss{loss:g}",
            path=Path(rtt_ms=rtt, loss=loss),
            frames=50,
            answer_frames=0,
        )
        for rtt, loss in ((50.0, 0.0), (100.0, 0.0), (50.0, 5.0))
    ]


def _restarts() -> list[Scenario]:
    """Kill the server, or kill or drain the relay, in mid-prompt and in mid-answer."""
    found = []
    for name, kind, relays in (
        ("server-kill", "kill", False),
        ("relay-kill", "kill", True),
        ("relay-drain", "drain", True),
    ):
        for label, at in (("prompt", 3.0), ("answer", 11.0)):
            found.append(
                Scenario(
                    name=f"{name}-{label}",
                    path=Path(rtt_ms=50.0),
                    events=(Event(at, kind),),
                    answer_frames=50 if label == "prompt" else 400,
                    pace=1.0,
                    relays=relays,
                    again=50 if not relays and label == "answer" else 0,
                )
            )
    return found


SETS: Final = {
    "matrix": _matrix,
    "switch": _switches,
    "changes": _changes,
    "outage": _outages,
    "setup": _ladder,
    "restart": _restarts,
}
"""Named sets of scenarios, as `moqvox lab NAME` takes them."""


def named(names: Sequence[str]) -> list[Scenario]:
    """Find scenarios: a whole set, or one of its members by name.

    Raises:
        ValueError: there is none of that name.
    """
    members = {one.name: one for make in SETS.values() for one in make()}
    found: list[Scenario] = []
    for name in names:
        if name in SETS:
            found += SETS[name]()
        elif name in members:
            found.append(members[name])
        else:
            known = ", ".join((*SETS, *members))
            raise ValueError(f"no scenario {name!r}; there are {known}")
    return found
