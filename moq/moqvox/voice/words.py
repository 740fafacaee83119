"""What the two sides of a call tell each other beside the audio: JSON on the `events` track.

One JSON object a frame, tagged by `type`; unknown types and fields are passed over, so that
either side may be newer. `docs/voice-protocol.md` has them all.
"""

from typing import Annotated, Final

import msgspec

from moqvox.errors import MediaError

__all__ = [
    "MAX_LISTED",
    "Ack",
    "Bye",
    "Cancel",
    "Caption",
    "Event",
    "Heard",
    "Hello",
    "Interrupt",
    "Message",
    "Noted",
    "PlayState",
    "Played",
    "Receipt",
    "decode",
    "encode",
    "is_durable",
    "number_of",
]

MAX_BYTES: Final = 64 * 1024
"""Longest event, encoded."""

MAX_LISTED: Final = 64
"""Speeches that one `hello` tells of."""

Count = Annotated[int, msgspec.Meta(ge=0, lt=2**53)]

PlayState = str
"""`playing`, `ended` (to its last sample), or `interrupted`."""


class Ack(msgspec.Struct, frozen=True, tag="ack", tag_field="type"):
    """Frames of a speech that have arrived so far, from its first on, without a hole."""

    speech: int
    frames: int


class Receipt(msgspec.Struct, frozen=True, tag="receipt", tag_field="type"):
    """What arrived of one utterance or response.

    Attributes:
        speech: its number, the group's sequence.
        frames: Opus packets.
        ms: their duration.
        digest: SHA-256, hex, over every frame: its length as 4 bytes, big-endian, then its
            bytes as they crossed the wire (timestamp and packet).
        added_delay_ms: how much later than the fastest frame the last one came, relative
            to their timestamps: what the network cost the end of the speech.
        complete: the sender's end arrived, so nothing is missing.
        worst_delay_ms: the same for the frame that was latest.
        resumptions: times the speech went on over a new leg of the call.
        path_changes: of the receiver's connection while the speech arrived.
        missing: frames that will never come, as (first, last) by their place in the speech.
    """

    speech: int
    frames: int
    ms: float
    digest: str
    added_delay_ms: float
    complete: bool
    worst_delay_ms: float = 0.0
    resumptions: int = 0
    path_changes: int = 0
    missing: tuple[tuple[int, int], ...] = ()


class Heard(msgspec.Struct, frozen=True, tag="heard", tag_field="type"):
    """How far a response has really been played, exact to the sample.

    Attributes:
        heard_us: of its audio, played.
        silence_us: inserted while it should have sounded, after it began.
        underruns: times the buffer ran dry in it.
        lead_us: audio in hand, not played yet.
    """

    speech: int
    heard_us: int
    state: PlayState
    silence_us: int = 0
    underruns: int = 0
    lead_us: int = 0


class Interrupt(msgspec.Struct, frozen=True, tag="interrupt", tag_field="type"):
    """The listener cut a response short: send no more of it."""

    speech: int


class Cancel(msgspec.Struct, frozen=True, tag="cancel", tag_field="type"):
    """The speaker takes a speech back: play no more of it.

    Its stream is reset as well, but one that was delivered whole can't be any more.
    """

    speech: int


class Caption(msgspec.Struct, frozen=True, tag="caption", tag_field="type"):
    """Text that belongs to a speech, on its clock: `start_us` from the speech's start."""

    speech: int
    text: str
    start_us: int = 0
    final: bool = True


class Message(msgspec.Struct, frozen=True, tag="message", tag_field="type"):
    """The application's own, reliable and in order."""

    name: str
    data: msgspec.Raw = msgspec.Raw(b"null")


class Hello(msgspec.Struct, frozen=True, tag="hello", tag_field="type", omit_defaults=True):
    """The first event of a leg: who this is, and what is there of the legs before.

    Attributes:
        call, leg, token: the caller's.
        session: the agent's name for its side of the call; from the caller, the last heard.
        grace_ms: how long an agent keeps a session without a connection.
        have: (speech, frames, over) of the other side's speeches.
        next: number the next new speech at least so.
        starts: (speech, frame) where a group of this leg does not begin with frame 0.
        noted: the last numbered event taken.
        again: the word by which an agent asked the caller to begin a leg.
        shows: this first leg shows whether an agent was there; one that no longer does was left.
        short: the agent's speeches that end before they were all said, as their maker died.
    """

    call: Annotated[str, msgspec.Meta(max_length=256)] = ""
    leg: Count = 0
    token: Annotated[str, msgspec.Meta(max_length=128)] = ""
    session: Annotated[str, msgspec.Meta(max_length=64)] = ""
    grace_ms: Count = 0
    have: Annotated[tuple[tuple[Count, Count, int], ...], msgspec.Meta(max_length=MAX_LISTED)] = ()
    next: Count = 0
    starts: Annotated[tuple[tuple[Count, Count], ...], msgspec.Meta(max_length=MAX_LISTED)] = (
        msgspec.field(default=(), name="from")
    )
    noted: Count = 0
    again: Annotated[str, msgspec.Meta(max_length=64)] = ""
    shows: bool = False
    short: Annotated[tuple[Count, ...], msgspec.Meta(max_length=MAX_LISTED)] = ()


class Noted(msgspec.Struct, frozen=True, tag="noted", tag_field="type"):
    """Numbered events up to and including `n` were taken."""

    n: Count


class Bye(msgspec.Struct, frozen=True, tag="bye", tag_field="type"):
    """The last event of who hangs up."""


Event = Ack | Receipt | Heard | Interrupt | Cancel | Caption | Message | Hello | Noted | Bye

_decoder: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)
_encoder = msgspec.json.Encoder()


class _Type(msgspec.Struct):
    type: str = ""
    n: int = 0


_KNOWN: Final = frozenset(
    {
        "ack",
        "bye",
        "cancel",
        "caption",
        "heard",
        "hello",
        "interrupt",
        "message",
        "noted",
        "receipt",
    },
)


class Played(msgspec.Struct, frozen=True):
    """What became of a response: the answer to `await response.played()`.

    Attributes:
        ms: really heard.
        sent_ms: written in all.
        complete: heard to its last sample.
        interrupted: cut short, by either side.
        silence_ms: silence inserted within it.
        underruns: times the listener's buffer ran dry in it.
        reported: the listener told so; False when it never did, and `ms` is an estimate.
    """

    ms: float
    sent_ms: float
    complete: bool
    interrupted: bool
    silence_ms: float = 0.0
    underruns: int = 0
    reported: bool = True


def is_durable(event: Event) -> bool:
    """Tell whether an event must arrive, so that it is numbered and told again on a new leg."""
    if isinstance(event, Heard):
        return event.state != "playing"
    return isinstance(event, Receipt | Interrupt | Cancel | Caption | Message)


def encode(event: Event, number: int = 0) -> bytes:
    """Write one event, with its number if it has one.

    Raises:
        MediaError: longer than 64 KiB.
    """
    text = _encoder.encode(event)
    if number:
        text = b'%s,"n":%d}' % (text[:-1], number)
    if len(text) > MAX_BYTES:
        raise MediaError(f"event of {len(text)} bytes; {MAX_BYTES} are allowed")
    return text


def number_of(text: bytes) -> int:
    """Read the number of an event that `decode` has read; 0 when it has none."""
    return msgspec.json.decode(text, type=_Type).n


def decode(text: bytes) -> Event | None:
    """Read one event; None for a type that this version does not know.

    Raises:
        MediaError: not JSON, too long, or a known type with wrong fields.
    """
    if len(text) > MAX_BYTES:
        raise MediaError(f"event of {len(text)} bytes; {MAX_BYTES} are allowed")
    try:
        kind = msgspec.json.decode(text, type=_Type).type
        if kind not in _KNOWN:
            return None
        return _decoder.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise MediaError(f"bad event: {exc}") from exc
