"""What bounds copies, by itself: the budget that live bytes earn, and the congestion window."""

import pytest
from tests.unit.transport.aioquic.speech import FRAME_BYTES, INTERVAL, Talk

from moqvox.transport.aioquic import Limits
from moqvox.transport.aioquic.redundancy import (
    LEAST_WINDOW_BYTES,
    OVERDRAFT_BYTES,
    PACKET_BYTES,
    RESERVE,
    SAVINGS_BYTES,
    Redundancy,
)

RTT = 0.1
PLENTY = 1 << 20
UNDER_WAY = 40
"""Frames that are lost again and again before they arrive."""


class Table:
    """Streams on which each byte is lost until `UNDER_WAY` frames have followed it."""

    watches_live = False

    def __init__(self) -> None:
        self.live: list[tuple[int, int, int]] = []
        self.end = 0

    def write(self) -> None:
        self.live.append((0, self.end, self.end + FRAME_BYTES))
        self.end += FRAME_BYTES

    def take_live(self) -> list[tuple[int, int, int]]:
        live, self.live = self.live, []
        return live

    def under_way(self, _thin_bytes: int) -> list[tuple[int, int, int]]:
        return []

    def lacks(self, _stream: int, _start: int, stop: int, _thin_bytes: int) -> bool:
        return stop > self.end - UNDER_WAY * FRAME_BYTES

    def repeat(self, _stream: int, start: int, stop: int) -> int:
        return stop - start


class Path:
    """Copies on a path whose losses go on; `are_heard` says whether any ACK ever comes."""

    def __init__(self, share: float, burstiness: float, *, are_heard: bool = True) -> None:
        self.table = Table()
        self.copies = Redundancy(Limits(redundancy=share), self.table)
        self.copies.on_loss(0.0)
        self.copies.losses.burstiness = burstiness
        self.share = share
        self.are_heard = are_heard
        self.frames = self.probed = 0

    def leave(self, now: float, *, room: int = PLENTY, window: int = LEAST_WINDOW_BYTES) -> int:
        """Take one turn; how many bytes go along."""
        before = self.copies.copied_bytes
        self.copies.advance(now, RTT, room, window)
        return self.copies.copied_bytes - before

    def speak(self, frames: int) -> None:
        """Write frames, with all turns and probes that the time between them has."""
        for _ in range(frames):
            now = self.frames * INTERVAL
            self.frames += 1
            self.copies.on_loss(now)
            if self.are_heard:
                self.copies.on_fates(now, 1, 1)
            self.table.write()
            self.leave(now)
            while (due_at := self.copies.due_at) is not None and due_at < now + INTERVAL:
                self.leave(due_at + 1e-6)
                before = self.copies.copied_bytes
                self.copies.take_probe(due_at + 1e-6)
                self.probed += self.copies.copied_bytes - before

    @property
    def planned(self) -> int:
        """Bytes that went along, without those of probes, which congestion control lets pass."""
        return self.copies.copied_bytes - self.probed

    @property
    def most(self) -> float:
        """What was earned, saved and lent."""
        written = self.table.end + self.frames * PACKET_BYTES
        return self.share * written + SAVINGS_BYTES + OVERDRAFT_BYTES


@pytest.mark.parametrize("are_heard", [True, False])
@pytest.mark.parametrize("burstiness", [0.0, 0.7])
@pytest.mark.parametrize("share", [0.1, 1.4])
def test_where_all_is_lost_copies_cost_what_was_earned_saved_and_lent(share, burstiness, are_heard):
    path = Path(share, burstiness, are_heard=are_heard)
    for _ in range(500):
        path.speak(1)
        assert path.planned <= path.most
    assert path.planned > (share * path.table.end / 4 if are_heard else 0)


@pytest.mark.parametrize("burstiness", [0.0, 0.7])
def test_when_nothing_is_left_and_nothing_earned_nothing_is_copied(burstiness):
    path = Path(1e-9, burstiness)
    path.speak(500)
    assert path.copies.copied_bytes > SAVINGS_BYTES / 4
    before = path.copies.copied_bytes
    path.speak(100)
    assert path.copies.copied_bytes == before


@pytest.mark.parametrize("burstiness", [0.0, 0.7])
@pytest.mark.parametrize("window", [LEAST_WINDOW_BYTES, 12_000])
def test_copies_and_what_is_new_leave_the_reserve_of_the_window_alone(burstiness, window):
    reserve = RESERVE * (window - LEAST_WINDOW_BYTES)
    sizes = []
    for room in range(0, 4000, 40):
        path = Path(1.4, burstiness)
        for number in range(5):
            path.table.write()
            path.leave(number * INTERVAL, room=0)
        path.table.write()
        sizes.append(path.leave(5 * INTERVAL, room=room, window=window))
        assert sizes[-1] <= max(0, room - reserve - FRAME_BYTES)
    assert sizes[-1] > 0


def copied_with(talk: Talk, window: int, flight: int) -> int:
    """Let a frame leave while the window is as full as this; how many bytes go along."""
    engine, control = talk.client, talk.client.recovery._cc
    control.congestion_window, control.bytes_in_flight = window, flight
    engine.table.feed(talk.stream, bytes(FRAME_BYTES), fin=False)
    before = engine.redundancy.copied_bytes
    engine.datagrams_to_send(talk.now)
    return engine.redundancy.copied_bytes - before


@pytest.mark.parametrize("window", [LEAST_WINDOW_BYTES, 12_000])
def test_an_engines_copies_leave_the_reserve_of_its_own_window_alone(window):
    reserve = round(RESERVE * (window - LEAST_WINDOW_BYTES))
    sizes = []
    for room in range(0, 800, 100):
        talk = Talk()
        talk.speak(20)
        talk.lose = lambda: True
        talk.speak(2)
        talk.client.on_loss(talk.now)
        sizes.append(copied_with(talk, window, window - reserve - room))
        assert sizes[-1] <= max(0, room - FRAME_BYTES)
    assert sizes[-1] > 0
