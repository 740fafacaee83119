"""Packs frames into packets, sends them as the lane takes them, repeats what was lost."""

import asyncio
import heapq
from collections import deque
from collections.abc import Callable
from typing import Final

from moqvox.transport.memory.lane import EPSILON, Lane
from moqvox.transport.memory.packet import (
    PACKET_BYTES,
    Frame,
    Message,
    Packet,
    size_of,
)
from moqvox.transport.memory.unheard import Unheard
from moqvox.transport.streams.receiving import Receiving
from moqvox.transport.streams.sending import Sending

__all__ = ["Courier"]

MIN_TIMEOUT: Final = 0.025
MAX_TIMEOUT: Final = 2.0
MAX_DOUBLINGS: Final = 8

TIMEOUT_RTTS: Final = 1.5
"""A lost packet is repeated after this many round trips and `MIN_TIMEOUT`, then ever later."""

SMOOTHING: Final = 0.125


class _Lost:
    """Frames to send once more.

    A class without order: entries of a heap are told apart by their serial number.
    """

    __slots__ = ("attempt", "frames", "size_bytes")

    def __init__(self, frames: tuple[Frame, ...], attempt: int) -> None:
        self.frames = frames
        self.attempt = attempt
        self.size_bytes = sum(map(size_of, frames))


class Courier:
    """One side's way out.

    The lane tells it of losses; the peer's acknowledgements take the way back and are seen
    when somebody looks, so that an idle connection sets no timer.

    Attributes:
        rtt: smoothed round trip in seconds.
        is_hasty: acknowledgements are awaited now, for the connection is closing.
        unheard: what was sent of the streams and is not acknowledged.
    """

    def __init__(
        self,
        out: Lane,
        back: Lane,
        sending: Sending,
        receiving: Receiving,
        flushed: Callable[[float], None],
    ) -> None:
        self.rtt = out.delay + back.delay
        self.is_hasty = False
        self.sent_bytes = self.sent_packets = self.lost_packets = 0
        self._loop = asyncio.get_running_loop()
        self._out = out
        self._back = back
        self._sending = sending
        self._receiving = receiving
        self.unheard = Unheard()
        self._words: list[Frame] = []
        self._flushed = flushed
        self._datagrams: deque[bytes] = deque()
        self._lost: list[tuple[float, int, _Lost]] = []
        self._lost_bytes = self._flying_bytes = self._serial = 0
        self._is_late = False
        self._acknowledgements: deque[tuple[float, Packet]] = deque()
        self._soon: asyncio.Handle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_stopped = False

    # What is to be sent.

    def touch(self) -> None:
        """Send what there is at the end of this turn of the loop."""
        if self._soon is None and not self._is_stopped:
            self._soon = self._loop.call_soon(self._flush_soon)

    def wake_at(self, when: float) -> None:
        """Send again at a time; every flush forgets earlier wishes."""
        if self._is_stopped:
            return
        if self._timer is not None:
            if self._timer.when() <= when:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(when, self._on_timer)

    def add_datagram(self, data: bytes, most: int) -> bool:
        """Queue a datagram; False when `most` wait."""
        if len(self._datagrams) >= most:
            return False
        self._datagrams.append(data)
        self.touch()
        return True

    def say(self, frame: Frame) -> None:
        """Send a frame that is about no stream, ahead of everything else."""
        self._words.append(frame)
        self.touch()

    def hurry(self) -> None:
        """Repeat at once what was not taken."""
        now = self._loop.time()
        self._lost = [(min(due, now), serial, lost) for due, serial, lost in self._lost]
        heapq.heapify(self._lost)
        self.touch()

    def new_path(self) -> None:
        """Estimate the round trip anew."""
        self.rtt = self._out.delay + self._back.delay

    def stop(self) -> None:
        """Send nothing more."""
        self._is_stopped = True
        for handle in (self._soon, self._timer):
            if handle is not None:
                handle.cancel()
        self._soon = self._timer = None
        self._lost.clear()
        self._datagrams.clear()
        self._acknowledgements.clear()
        self._lost_bytes = self._flying_bytes = 0

    # What is known of it.

    @property
    def unacked_bytes(self) -> int:
        """Bytes sent and not acknowledged, by now."""
        self._reap(self._loop.time())
        return self._flying_bytes + self._lost_bytes

    @property
    def is_settled(self) -> bool:
        """Whether everything was sent and acknowledged."""
        waiting = self._sending.queue.waiting_bytes or self._sending.queue.is_ready
        control = self._words or self._sending.control or self._receiving.credit
        return not (waiting or control or self._datagrams or self.unacked_bytes)

    @property
    def timeout(self) -> float:
        """Seconds after which a lost packet is repeated for the first time."""
        return self.rtt * TIMEOUT_RTTS + MIN_TIMEOUT

    # The lane's sender.

    def packet_lost(self, packet: Packet) -> None:
        """Arrange the repetition of all that is not a datagram."""
        if self._is_stopped:
            return
        self.lost_packets += 1
        self._flying_bytes -= packet.size_bytes
        frames = tuple(frame for frame in packet.frames if not isinstance(frame, Message))
        if frames:
            wait = min(self.timeout * 2 ** min(packet.attempt, MAX_DOUBLINGS), MAX_TIMEOUT)
            due = self._loop.time() + wait
            self._keep(due, _Lost(frames, packet.attempt + 1))
            self._is_late = self._is_late or packet.attempt > 0
            self.wake_at(due)

    def packet_arrived(self, packet: Packet, at: float) -> None:
        """Expect the acknowledgement; it also shows what is missing."""
        if self._is_stopped:
            return
        heard_at = at + self._back.delay
        self._acknowledgements.append((heard_at, packet))
        if self.is_hasty:
            self.wake_at(heard_at)
        if self._is_late and self._lost:
            self._lost = [
                (min(due, heard_at) if lost.attempt > 1 else due, serial, lost)
                for due, serial, lost in self._lost
            ]
            heapq.heapify(self._lost)
            self.wake_at(self._lost[0][0])
        self._is_late = False

    def listen(self) -> None:
        """Take the acknowledgements that have come; otherwise the next flush does."""
        self._reap(self._loop.time())

    # Sending.

    def _flush_soon(self) -> None:
        self._soon = None
        self._flush()

    def _on_timer(self) -> None:
        self._timer = None
        self._flush()

    def _flush(self) -> None:
        now = self._loop.time()
        self._reap(now)
        while self._out.free_at <= now + EPSILON:
            packet = self._next(now)
            if packet is None:
                break
            self._send(packet)
        else:
            self.wake_at(self._out.free_at)
        if self._lost:
            self.wake_at(max(self._lost[0][0], self._out.free_at))
        if self.is_hasty and self._acknowledgements and self._acknowledgements[0][0] > now:
            self.wake_at(self._acknowledgements[0][0])
        self._flushed(now)

    def _send(self, packet: Packet) -> None:
        self.sent_packets += 1
        self.sent_bytes += packet.size_bytes
        self._flying_bytes += packet.size_bytes
        self._out.send(packet)

    def _next(self, now: float) -> Packet | None:
        """Build the next packet: first what was lost, then control, datagrams, streams."""
        while self._lost and self._lost[0][0] <= now + EPSILON:
            _, _, lost = heapq.heappop(self._lost)
            self._lost_bytes -= lost.size_bytes
            wanted = tuple(frame for frame in lost.frames if self.unheard.is_wanted(frame))
            if wanted:
                return Packet(wanted, now, lost.attempt, is_early=self._sending.is_early)
        frames = self._words
        self._words = []
        frames.extend(self._sending.control)
        self._sending.control.clear()
        if self._receiving.credit:
            frames.extend(self._receiving.take_credit())
        if not frames and self._datagrams:
            frames.append(Message(self._datagrams.popleft()))
        else:
            room = PACKET_BYTES - sum(map(size_of, frames))
            frames.extend(self._sending.take(room))
        self.unheard.sent(frames)
        return Packet(tuple(frames), now, is_early=self._sending.is_early) if frames else None

    def _keep(self, due: float, lost: _Lost) -> None:
        self._lost_bytes += lost.size_bytes
        self._serial += 1
        heapq.heappush(self._lost, (due, self._serial, lost))

    def _reap(self, now: float) -> None:
        """Take the acknowledgements that have come; none comes through a dead lane."""
        horizon = now if self._back.dead_since is None else self._back.dead_since
        while self._acknowledgements and self._acknowledgements[0][0] <= horizon + EPSILON:
            heard_at, packet = self._acknowledgements.popleft()
            self._flying_bytes -= packet.size_bytes
            self.rtt += (heard_at - packet.sent_at - self.rtt) * SMOOTHING
            for frame in packet.frames:
                self.unheard.heard(frame)
