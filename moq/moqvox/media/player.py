"""Turn packets into the samples to output: playout decisions, decoder, stretch and fades.

Packets are held encoded and decoded just before they sound, in the order they sound and at
most once. Everything is a function of its arguments; the caller owns clock and device.
"""

from collections import deque
from collections.abc import Callable

import msgspec
import numpy as np

from moqvox.errors import LocalError, MediaError
from moqvox.media.clock import rescale
from moqvox.media.decision import (
    Began,
    Decision,
    Ended,
    Ending,
    Fade,
    Outcome,
    Play,
    Policy,
    Pushed,
    Reason,
    Remove,
    Repeat,
    Silence,
    Skip,
    Stats,
    Totals,
)
from moqvox.media.edge import Edge
from moqvox.media.opus import SAMPLE_RATE, packet_samples
from moqvox.media.playout import FADE_US, Playout
from moqvox.media.stretch import Pcm, Stretch

__all__ = ["Decode", "Player"]

Decode = Callable[[bytes], bytes]
"""Decodes one packet to interleaved s16le; keeps its own state between packets."""

_PREROLL_PACKETS = 4
"""Decoded and thrown away after a skip, so that the decoder settles (RFC 7845, section 4.6)."""

_ENDED_REMEMBERED = 256
_STEPS_PER_SECOND = 50
"""A long render is decided in steps of 20 ms, so that there is room for a cut in each."""


class _Held(msgspec.Struct):
    packet: bytes
    samples: int


class Player:
    """Plays items of timestamped packets, and knows exactly what was heard.

    `open_decoder` makes a fresh decoder for each item. `samples_of` tells a packet's length
    at `sample_rate`, per channel; by default the packets are Opus. Of `policy`, the sample
    rate is replaced by `sample_rate`. What is held is bounded by the policy; the verbs
    are those of `Playout`.
    """

    def __init__(
        self,
        sample_rate: int,
        open_decoder: Callable[[], Decode],
        *,
        channels: int = 1,
        policy: Policy | None = None,
        samples_of: Callable[[bytes], int] | None = None,
    ) -> None:
        if channels not in (1, 2):
            raise LocalError(f"{channels} channels, allowed 1 and 2")
        rules = msgspec.structs.replace(policy or Policy(), sample_rate=sample_rate)
        self.playout = Playout(rules)
        self.channels = channels
        self.undecodable = 0
        """Packets the decoder refused; silence of their length was played instead."""

        self.decisions: list[Decision] = []
        """What the last `render` consisted of."""

        self._sample_rate = sample_rate
        self._open_decoder = open_decoder
        self._samples_of = samples_of or self._opus_samples
        self._decode: Decode | None = None
        self._packets: dict[int, dict[int, _Held]] = {}
        self._decoded: dict[tuple[int, int], Pcm] = {}
        self._skipped: deque[_Held] = deque(maxlen=_PREROLL_PACKETS)
        self._at: tuple[int, int] | None = None
        self._ended: deque[Ended] = deque(maxlen=_ENDED_REMEMBERED)
        self._stretch = Stretch(sample_rate, channels, rules.splice_max_us)
        self._edge = Edge(sample_rate, channels)
        self._sounding = False
        self._broken = False

    def push_packet(self, item: int, timestamp_us: int, packet: bytes, now_us: int) -> Pushed:
        """Offer one packet; on `Outcome.FULL` stop reading and offer it again later."""
        try:
            samples = self._samples_of(packet)
        except MediaError:
            return Pushed(outcome=Outcome.INVALID)
        pushed = self.playout.push(item, timestamp_us, samples, now_us, len(packet))
        if pushed.index is not None:
            held = self._packets.setdefault(item, {})
            held[pushed.index] = _Held(packet, samples)
        return pushed

    def open(self, item: int) -> Outcome:
        """Announce an item before its first packet."""
        return self.playout.open(item)

    def end(self, item: int) -> Outcome:
        """Note that an item is complete."""
        return self.playout.end(item)

    def reset(self, item: int, fade_us: int = FADE_US) -> Ended | None:
        """Drop what is unplayed of one item, after a short fade if it sounds."""
        ended = self.playout.reset(item, fade_us)
        if ended is not None:
            self._forget(ended)
        return ended

    def flush(self, fade_us: int = FADE_US, through: int | None = None) -> list[Ended]:
        """Drop everything unplayed at once, after a short fade of what sounds."""
        ended = self.playout.flush(fade_us, through)
        for each in ended:
            self._forget(each)
        return ended

    def pause(self, fade_us: int = FADE_US) -> None:
        """Hold playback where it is, after a short fade."""
        self.playout.pause(fade_us)

    def resume(self) -> None:
        """Go on from where `pause` held."""
        self.playout.resume()

    def heard(self, item: int) -> Totals | None:
        """The account so far of an item that is not over; None for any other."""
        return self.playout.totals(item)

    def take_ended(self) -> list[Ended]:
        """Take the accounts of items heard to their end, the last 256 of them.

        Those that `flush` and `reset` returned are not repeated here.
        """
        ended = list(self._ended)
        self._ended.clear()
        return ended

    def stats(self, now_us: int) -> Stats:
        """Take a snapshot for a user interface."""
        return self.playout.stats(now_us)

    def render(self, samples: int, now_us: int) -> bytes:
        """Make exactly the next `samples` of output, interleaved s16le."""
        if samples < 0:
            raise LocalError(f"asked for {samples} samples, allowed 0 and up")
        self.decisions = []
        parts: list[Pcm] = []
        step = max(1, self._sample_rate // _STEPS_PER_SECOND)
        for start in range(0, samples, step):
            parts.extend(self._step(min(step, samples - start), now_us))
        return b"".join(part.astype("<i2", copy=False).tobytes() for part in parts)

    def _step(self, samples: int, now_us: int) -> list[Pcm]:
        """Decide and make one short run of output."""
        ahead, cut = self._choose_cut()
        decisions = self.playout.pull(samples, now_us, cut)
        if any(isinstance(each, Remove) for each in decisions):
            self._stretch.remove(ahead)
        elif cut < 0 and any(isinstance(each, Repeat) for each in decisions):
            self._stretch.repeat(ahead, -cut)
        self.decisions.extend(decisions)
        return [self._edge.join(part) for part in map(self._make, decisions) if part is not None]

    def _choose_cut(self) -> tuple[Pcm, int]:
        """Look for a place to cut when enough room was saved up; returns the audio ahead too."""
        room = self.playout.stretch_room
        if abs(room) * 3 < self._stretch.longest * 2 or self._broken:
            return self._silent(0), 0
        ahead = [self._pcm_of(piece) for piece in self.playout.ahead(self._stretch.reach)]
        pcm = np.concatenate(ahead) if ahead else self._silent(0)
        return pcm, self._stretch.choose(pcm, room)

    def _make(self, decision: Decision) -> Pcm | None:
        """Make the output of one decision, or note what it says."""
        match decision:
            case Play() | Fade():
                return self._sound(decision)
            case Silence():
                return self._fall_silent(decision)
            case Repeat():
                return self._stretch.repeated(decision.samples)
            case Skip():
                self._move(decision.item, decision.index)
                self._broken = True
            case Remove():
                self._move(decision.item, decision.index)
            case Began():
                self._decode = self._open_decoder()
                self._skipped.clear()
                self._stretch.forget()
            case Ended():
                self._forget(decision)
                self._ended.append(decision)
        return None

    def _sound(self, piece: Play | Fade) -> Pcm:
        self._move(piece.item, piece.index)
        if self._broken:
            self._edge.cut()
            self._stretch.forget()
        self._broken, self._sounding = False, True
        pcm = self._stretch.play(self._pcm_of(piece))
        if isinstance(piece, Fade):
            gain = piece.total - piece.start - np.arange(piece.samples)
            pcm = (pcm * (gain / piece.total)[:, None]).astype(np.int16)
            self._broken = piece.start + piece.samples == piece.total
        return pcm

    def _fall_silent(self, silence: Silence) -> Pcm:
        if self._sounding:
            self._edge.cut()
            self._stretch.forget()
        self._sounding = False
        self._broken = silence.reason in (Reason.UNDERRUN, Reason.PAUSED)
        return self._silent(silence.samples)

    def _silent(self, samples: int) -> Pcm:
        return np.zeros((samples, self.channels), np.int16)

    def _pcm_of(self, piece: Play | Fade) -> Pcm:
        """The audio of a piece, decoding its packet if that was not done yet."""
        key = (piece.item, piece.index)
        if key not in self._decoded:
            while self._skipped:
                self._decode_packet(self._skipped.popleft())
            held = self._take(*key)
            if held is None:
                raise LocalError(f"frame {piece.index} of item {piece.item} was not pushed here")
            self._decoded[key] = self._decode_packet(held)
        return self._decoded[key][piece.offset : piece.offset + piece.samples]

    def _take(self, item: int, index: int) -> _Held | None:
        packets = self._packets.get(item, {})
        held = packets.pop(index, None)
        if not packets:
            self._packets.pop(item, None)
        return held

    def _decode_packet(self, held: _Held) -> Pcm:
        """Decode one packet to exactly its length; one that can't be decoded is silent."""
        if self._decode is None:
            self._decode = self._open_decoder()
        pcm = self._silent(held.samples)
        try:
            made = self._decode(held.packet)
        except MediaError:
            self.undecodable += 1
            return pcm
        whole = np.frombuffer(made[: len(made) // pcm.itemsize * pcm.itemsize], "<i2")
        count = min(len(whole) // self.channels, held.samples)
        pcm[:count] = whole[: count * self.channels].reshape(-1, self.channels)
        return pcm

    def _move(self, item: int, index: int) -> None:
        """Note which packet sounds or is passed over; the one before it is done with."""
        if self._at == (item, index):
            return
        if self._at is not None:
            self._decoded.pop(self._at, None)
            held = self._take(*self._at)
            if held is not None and self._at[0] == item:
                self._skipped.append(held)
        self._at = (item, index)

    def _forget(self, ended: Ended) -> None:
        """Let go of an item's packets, but for those a fade still needs."""
        needed = {
            each.index
            for each in self.playout.committed()
            if isinstance(each, Fade) and each.item == ended.item
        }
        if not needed and self._at and self._at[0] == ended.item:
            self._broken = self._broken or ended.how is not Ending.PLAYED
        packets = self._packets.pop(ended.item, {})
        kept = {index: held for index, held in packets.items() if index in needed}
        if kept:
            self._packets[ended.item] = kept
        for key in [key for key in self._decoded if key[0] == ended.item]:
            if key[1] not in needed:
                del self._decoded[key]

    def _opus_samples(self, packet: bytes) -> int:
        return rescale(packet_samples(packet), SAMPLE_RATE, self._sample_rate)
