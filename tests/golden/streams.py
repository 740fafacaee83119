"""Takes one direction of one captured moq-lite stream apart, into messages and their bytes."""

from moqvox.frame import Frame
from moqvox.wire.framing import Framer
from moqvox.wire.lite.announce import (
    AnnounceBroadcast,
    AnnounceOk,
    AnnounceRequest,
    decode_announcing,
    encode_announcing,
)
from moqvox.wire.lite.message import decode, encode
from moqvox.wire.lite.messages import (
    Fetch,
    Subscribe,
    SubscribeUpdate,
    Track,
    TrackReply,
    decode_reply,
    encode_reply,
)
from moqvox.wire.lite.setup import Goaway, Probe, Setup
from moqvox.wire.lite.streams import (
    BidiType,
    FrameParser,
    GroupHeader,
    UniType,
    encode_frame_header,
)
from moqvox.wire.varint import encode_varint
from moqvox.wire.version import LiteVersion

REQUESTS = {
    BidiType.ANNOUNCE: [AnnounceRequest],
    BidiType.SUBSCRIBE: [Subscribe, SubscribeUpdate],
    BidiType.FETCH: [Fetch],
    BidiType.PROBE: [Probe],
    BidiType.GOAWAY: [Goaway],
    BidiType.TRACK: [Track],
}


class Taken:
    """What was read, and what it encodes to."""

    def __init__(self, version: LiteVersion) -> None:
        self.version = version
        self.messages: list = []
        self.encoded = b""

    def add(self, message, encoded: bytes) -> None:
        self.messages.append(message)
        self.encoded += encoded


def take_opener(version: LiteVersion, data: bytes, *, bidirectional: bool) -> Taken:
    """Take what the stream's opener sent."""
    taken, framer = Taken(version), Framer(16 * 1024)
    framer.feed(data)
    number = framer.varint()
    if not bidirectional and number == UniType.GROUP:
        taken.add(UniType.GROUP, encode_varint(number))
        header = decode(GroupHeader, framer.message(), version)
        taken.add(header, encode(header, version))
        _take_frames(taken, framer.rest())
        return taken
    kind = BidiType(number) if bidirectional else UniType(number)
    taken.add(kind, encode_varint(number))
    structs = REQUESTS[kind] if bidirectional else [Setup]
    while (body := framer.message()) is not None:
        message = decode(structs[min(len(taken.messages) - 1, len(structs) - 1)], body, version)
        taken.add(message, encode(message, version))
    assert framer.buffered == 0
    return taken


def take_replies(version: LiteVersion, kind: BidiType, data: bytes) -> Taken:
    """Take what came back on a bidirectional stream."""
    taken, framer = Taken(version), Framer(16 * 1024)
    framer.feed(data)
    match kind:
        case BidiType.ANNOUNCE:
            _take_announcements(taken, framer)
        case BidiType.SUBSCRIBE:
            while (typed := framer.typed()) is not None:
                reply = decode_reply(*typed, version)
                taken.add(reply, encode_reply(reply, version))
        case BidiType.FETCH:
            _take_frames(taken, framer.rest())
        case _:
            struct = TrackReply if kind is BidiType.TRACK else Probe
            while (body := framer.message()) is not None:
                message = decode(struct, body, version)
                taken.add(message, encode(message, version))
    assert framer.buffered == 0
    return taken


def _take_announcements(taken: Taken, framer: Framer) -> None:
    version = taken.version
    if version.announce_ok:
        ok = decode(AnnounceOk, framer.message(), version)
        taken.add(ok, encode(ok, version))
    while True:
        if version.announce_typed:
            typed = framer.typed()
            message = None if typed is None else decode_announcing(*typed, version)
        else:
            body = framer.message()
            message = None if body is None else decode(AnnounceBroadcast, body, version)
        if message is None:
            return
        taken.add(message, encode_announcing(message, version))


def _take_frames(taken: Taken, data: bytes) -> None:
    parser = FrameParser(taken.version, 1 << 20)
    previous = 0 if taken.version.timestamps else None
    for frame in parser.feed(data):
        assert isinstance(frame, Frame)
        header = encode_frame_header(len(frame.payload), frame.timestamp, previous)
        taken.add(frame, header + frame.payload)
        previous = frame.timestamp
    assert parser.failed is None
    assert parser.buffered == 0
