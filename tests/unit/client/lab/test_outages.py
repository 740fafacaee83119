"""What an outage costs the ear, by the audio itself: a real player on a virtual clock."""

import numpy as np
import pytest

from moqvox.media.codec import Decoder
from moqvox.media.decision import CatchUp, Policy, Totals
from moqvox.media.player import Player
from moqvox_client.lab.ear import RATE, Heard, listen
from moqvox_client.speech.recordings import TRANSCRIPTS, recording

FRAME_US = 20_000
OUTAGE_AT_US = 1_990_000
PULLED_AT_US = 7_000
BEGAN_NS = 10**12


@pytest.fixture(scope="module")
def packets() -> list[bytes]:
    return [packet for name in TRANSCRIPTS for packet in recording(name).opus]


def arrivals(
    count: int, *, ahead_us: int, gap_us: int, first: int | None = None, delay_us: int = 0
) -> list[int]:
    """When each frame of a real-time source comes, in order, through an outage of the network.

    Of the backlog, only `first` frames come when it ends, and the rest `delay_us` later, as
    from a sender that probes before it sends all. All that follows is `delay_us` later too.
    """
    resumed_us = OUTAGE_AT_US + gap_us
    came = []
    backlog = 0
    for n in range(count):
        due_us = max(0, n * FRAME_US - ahead_us)
        if OUTAGE_AT_US <= due_us < resumed_us:
            backlog += 1
            more = first is not None and backlog > first
            due_us = resumed_us + (delay_us if more else 0)
        elif due_us >= resumed_us:
            due_us += delay_us
        came.append(max(due_us, came[-1] if came else 0))
    return came


def hear(packets: list[bytes], came: list[int]) -> tuple[Heard, Totals]:
    """Play and look for the source in it. Never faster: that would hide silence put in twice."""
    player = Player(RATE, lambda: Decoder(RATE, 1).decode, policy=Policy(catch_up=CatchUp.NEVER))
    totals = None
    played = []
    waiting = list(enumerate(zip(came, packets, strict=True)))[::-1]
    for now_us in range(PULLED_AT_US, came[-1] + 8_000_000, FRAME_US):
        while waiting and waiting[-1][1][0] <= now_us:
            n, (at_us, packet) = waiting.pop()
            player.push_packet(1, n * FRAME_US, packet, at_us)
            if not waiting:
                player.end(1)
        totals = player.playout.totals(1) or totals
        played.append(player.render(RATE // 50, now_us))
    arrived = [BEGAN_NS + at_us * 1_000 for at_us in came]
    assert totals is not None
    heard = listen(b"".join(played), packets, arrived, BEGAN_NS + 1_000 * PULLED_AT_US)
    return heard, totals


@pytest.mark.slow
@pytest.mark.parametrize("first", [None, 5, 9], ids=lambda n: f"{n}-first")
@pytest.mark.parametrize("ahead_ms", [0, 3_000])
@pytest.mark.parametrize("gap_ms", [500, 2_000, 5_000])
def test_an_outage_costs_what_was_not_in_hand(packets, gap_ms, ahead_ms, first) -> None:
    came = arrivals(
        len(packets),
        ahead_us=ahead_ms * 1_000,
        gap_us=gap_ms * 1_000,
        first=first,
        delay_us=80_000 if first else 0,
    )
    heard, totals = hear(packets, came)
    assert heard.expected_ms == pytest.approx(max(0, gap_ms - max(ahead_ms, 70)), abs=25)
    assert heard.longest_ms == pytest.approx(heard.expected_ms, abs=20)
    assert heard.missing_ms == 0
    assert totals.underruns == (heard.expected_ms > 0)


@pytest.mark.slow
@pytest.mark.parametrize("later_ms", [25, 60, 90])
def test_a_path_that_became_longer_costs_what_was_not_in_hand(packets, later_ms) -> None:
    """Each frame from the hundredth on comes later, in real time: no burst fills the lead."""
    came = [n * FRAME_US + (later_ms * 1_000 if n >= 100 else 0) for n in range(len(packets))]
    heard, totals = hear(packets, came)
    assert heard.longest_ms == pytest.approx(heard.expected_ms, abs=20)
    assert totals.underruns == (later_ms > 25)
    assert heard.missing_ms == 0


def test_the_arrivals_of_an_outage_are_in_order_and_all_there() -> None:
    came = arrivals(200, ahead_us=0, gap_us=500_000, first=9, delay_us=80_000)
    assert came == sorted(came)
    assert max(np.diff(came)) == 2_490_000 - 1_980_000
