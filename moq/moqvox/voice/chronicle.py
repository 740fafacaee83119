"""What is written down of an agent's side of a call, and what another process reads out of it.

A file is `MAGIC` and then records: length and CRC-32 of the body (4 bytes each, big-endian),
and the body, one of the structs below in MessagePack. A last record that is not all there was
being written when the process died, and is passed over; anything else wrong makes the file
worthless.
"""

import struct
import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from moqvox.errors import MediaError
from moqvox.media.container import decode_legacy
from moqvox.media.opus import packet_duration_us
from moqvox.voice.keep import MAX_EVENTS
from moqvox.voice.proof import Guard
from moqvox.voice.words import (
    Cancel,
    Caption,
    Event,
    Heard,
    Hello,
    Interrupt,
    Message,
    Receipt,
    decode,
)

__all__ = [
    "MAGIC",
    "Began",
    "Chronicle",
    "ChronicleError",
    "Dropped",
    "Ended",
    "Framed",
    "HungUp",
    "Listened",
    "Opened",
    "Read",
    "Record",
    "Said",
    "Shown",
    "Told",
    "Took",
    "pack",
    "read",
    "written",
]

MAGIC: Final = b"moqvox journal 1\n"

MAX_RECORD: Final = 1024 * 1024
"""Longest body."""

HEAD: Final = struct.Struct(">II")


class ChronicleError(Exception):
    """A file that is not what a session wrote."""


class Began(msgspec.Struct, frozen=True, tag="began", array_like=True):
    """The first record: who is on the call, and where it stands.

    Attributes:
        call: its name.
        session: the agent's name for its side of it.
        leg, token: the last link that the caller has shown, hex; it proves nothing any more.
        next: number of the next response.
        told, taken: numbers of the last event of ours, and of theirs.
        newest: the latest utterance that has begun, -1 for none.
        media_us: media time up to which something was said.
    """

    call: str
    session: str
    leg: int
    token: str
    next: int = 0
    told: int = 0
    taken: int = 0
    newest: int = -1
    media_us: int = 0


class Shown(msgspec.Struct, frozen=True, tag="shown", array_like=True):
    """The caller has come back with this link."""

    leg: int
    token: str


class Opened(msgspec.Struct, frozen=True, tag="opened", array_like=True):
    """A response has begun."""

    speech: int
    start_us: int


class Framed(msgspec.Struct, frozen=True, tag="framed", array_like=True, gc=False):
    """A frame of it, as it crosses the wire."""

    speech: int
    payload: bytes


class Ended(msgspec.Struct, frozen=True, tag="ended", array_like=True):
    """No more of it comes; `short`: because its maker died."""

    speech: int
    short: bool = False


class Told(msgspec.Struct, frozen=True, tag="told", array_like=True):
    """A numbered event of ours."""

    number: int
    payload: bytes


class Dropped(msgspec.Struct, frozen=True, tag="dropped", array_like=True):
    """The caller shall not get a numbered event of ours: the utterance is heard again."""

    number: int


class Took(msgspec.Struct, frozen=True, tag="took", array_like=True):
    """A numbered event of the caller's."""

    number: int
    payload: bytes


class Listened(msgspec.Struct, frozen=True, tag="listened", array_like=True):
    """An utterance has begun."""

    utterance: int


class Read(msgspec.Struct, frozen=True, tag="read", array_like=True):
    """The application has taken the oldest message."""


class HungUp(msgspec.Struct, frozen=True, tag="hung-up", array_like=True):
    """The agent says no more."""


Record = Began | Shown | Opened | Framed | Ended | Told | Dropped | Took | Listened | Read | HungUp

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Record] = msgspec.msgpack.Decoder(Record)


def pack(record: Record) -> bytes:
    """Write one record."""
    body = _encoder.encode(record)
    return HEAD.pack(len(body), zlib.crc32(body)) + body


def read(text: bytes) -> tuple["Chronicle", int]:
    """Read a file; returns what it tells, and how many bytes of it are whole records.

    Raises:
        ChronicleError: it is none, or damaged.
    """
    if not text.startswith(MAGIC):
        raise ChronicleError("no journal of this version")
    chronicle: Chronicle | None = None
    end = len(MAGIC)
    try:
        for record, after in _records(text):
            end = after
            if chronicle is None:
                chronicle = Chronicle(record)
            else:
                chronicle.add(record)
    except (MediaError, msgspec.DecodeError) as exc:
        raise ChronicleError(str(exc)) from exc
    if chronicle is None:
        raise ChronicleError("nothing was written")
    return chronicle, end


def _records(text: bytes) -> Iterator[tuple[Record, int]]:
    """Read the records, each with where it ends."""
    at, view = len(MAGIC), memoryview(text)
    while len(text) - at >= HEAD.size:
        length, checksum = HEAD.unpack_from(text, at)
        if length > MAX_RECORD:
            raise ChronicleError(f"a record of {length} bytes")
        begin, at = at + HEAD.size, at + HEAD.size + length
        if at > len(text):
            return
        if zlib.crc32(view[begin:at]) != checksum:
            raise ChronicleError(f"a record is damaged at byte {begin}")
        yield _decoder.decode(view[begin:at]), at


class Said:
    """A response that is not done with: not all of it arrived, or was heard.

    Attributes:
        payloads: its frames.
        duration_us: of them.
        ended: its maker had finished it.
        short: it ends before its end, as its maker died.
        cut: either side cut it; how far it was heard is not known yet.
        receipt: the caller's, once it has all.
        heard: the caller's last word on how far it was played, of those that are numbered.
    """

    def __init__(self, number: int, start_us: int) -> None:
        self.number = number
        self.start_us = start_us
        self.payloads: list[bytes] = []
        self.duration_us = 0
        self.ended = self.short = self.cut = False
        self.receipt: Receipt | None = None
        self.heard: Heard | None = None


class Chronicle:
    """Where a call stood when its agent's process died, record by record.

    Attributes:
        began: the first record.
        leg, token: the last link that the caller showed.
        said: responses that are not done with.
        told: the last events of ours, at most those that are kept for a caller.
        receipts: of utterances, the number of the event that told of it.
        answered: the last event that was told before a response began.
        unread: messages that the application has not taken.
        hung_up: the agent said no more.
    """

    def __init__(self, first: Record) -> None:
        if not isinstance(first, Began):
            raise ChronicleError("it has no beginning")
        self.began = first
        self.leg, self.token = first.leg, first.token
        self.next = first.next
        self.last_told, self.taken = first.told, first.taken
        self.answered, self.newest = 0, first.newest
        self.media_us = first.media_us
        self.hung_up = False
        self.said: dict[int, Said] = {}
        self.told: deque[tuple[int, Event]] = deque(maxlen=MAX_EVENTS)
        self.receipts: dict[int, int] = {}
        self.unread: list[Message | Caption] = []

    def proves(self, hello: Hello) -> bool:
        """Tell whether a `hello` shows the link that was shown last, or a later one."""
        guard = Guard(self.leg, self.token)
        return guard.was_shown(hello.leg, hello.token) or guard.accept(hello.leg, hello.token)

    def add(self, record: Record) -> None:
        """Take the next record.

        Raises:
            ChronicleError, MediaError: it can't be one of a session's.
        """
        match record:
            case Framed() | Opened() | Ended():
                self._say(record)
            case Dropped(number=number):
                self._drop(number)
            case Told(number=number, payload=payload):
                self._tell(number, decode(payload))
            case Took(number=number, payload=payload):
                self.taken = number
                self._take(decode(payload))
            case Shown(leg=leg, token=token):
                self.leg, self.token = leg, token
            case Listened(utterance=number):
                self.newest = max(self.newest, number)
            case Read():
                del self.unread[:1]
            case HungUp():
                self.hung_up = True
            case Began():
                raise ChronicleError("it begins twice")

    def _say(self, record: Framed | Opened | Ended) -> None:
        match record:
            case Framed(speech=number, payload=payload):
                said = self._find(number)
                if said is not None:
                    self._frame(said, payload)
            case Opened(speech=number, start_us=start_us):
                self.said[number] = Said(number, start_us)
                self.next = max(self.next, number + 1)
                self.answered = self.last_told
            case Ended(speech=number, short=short):
                said = self._find(number)
                if said is not None:
                    said.ended, said.short = True, short

    def _find(self, number: int) -> Said | None:
        """Look for a response; None for one that the caller is done with."""
        if not 0 <= number < self.next:
            raise ChronicleError(f"response {number} has no beginning")
        return self.said.get(number)

    def _frame(self, said: Said, payload: bytes) -> None:
        said.payloads.append(payload)
        said.duration_us += packet_duration_us(decode_legacy(payload).payload)
        self.media_us = max(self.media_us, said.start_us + said.duration_us)

    def _tell(self, number: int, event: Event | None) -> None:
        self.last_told = number
        if event is None:
            return
        self.told.append((number, event))
        if isinstance(event, Receipt):
            self.receipts[event.speech] = number
        elif isinstance(event, Cancel):
            self._settle(event.speech, is_cut=True)

    def _drop(self, number: int) -> None:
        self.told = deque((each for each in self.told if each[0] != number), MAX_EVENTS)
        self.receipts = {speech: n for speech, n in self.receipts.items() if n != number}

    def _take(self, event: Event | None) -> None:
        if isinstance(event, Message | Caption):
            self.unread.append(event)
            del self.unread[:-MAX_EVENTS]
            return
        if not isinstance(event, Receipt | Heard | Interrupt):
            return
        said = self.said.get(event.speech)
        if said is None:
            return
        if isinstance(event, Receipt):
            said.receipt = event
        elif isinstance(event, Heard):
            said.heard = event
        is_cut = isinstance(event, Interrupt) or (
            isinstance(event, Heard) and event.state == "interrupted"
        )
        self._settle(event.speech, is_cut=is_cut)

    def _settle(self, number: int, *, is_cut: bool) -> None:
        """Let go of what is not needed any more of a response."""
        said = self.said.get(number)
        if said is None:
            return
        said.cut = said.cut or is_cut
        if said.cut:
            said.payloads.clear()
        if said.heard is not None and (said.cut or said.receipt is not None):
            del self.said[number]


def written(records: Iterable[Record]) -> bytes:
    """Write a whole file."""
    return MAGIC + b"".join(map(pack, records))
