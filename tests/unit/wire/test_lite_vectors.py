"""The moq-lite vectors, which other implementations in this repository read as well."""

import json
from pathlib import Path

import msgspec
import pytest

from moqvox.errors import RemoteError, SessionCode
from moqvox.frame import Frame
from moqvox.wire.framing import Framer
from moqvox.wire.lite.announce import (
    AnnounceBroadcast,
    AnnounceEnd,
    AnnounceOk,
    AnnounceRequest,
    AnnounceStart,
    AnnounceUpdate,
    decode_announcing,
    encode_announcing,
)
from moqvox.wire.lite.message import decode, encode
from moqvox.wire.lite.messages import (
    Fetch,
    Subscribe,
    SubscribeDrop,
    SubscribeEnd,
    SubscribeOk,
    SubscribeStart,
    SubscribeUpdate,
    Track,
    TrackReply,
    decode_reply,
    encode_reply,
)
from moqvox.wire.lite.setup import Goaway, Probe, Setup
from moqvox.wire.lite.streams import FrameParser, GroupHeader, encode_frame_header
from moqvox.wire.version import LITE_ALPNS, lite_version

FILE = Path(__file__).parents[2] / "vectors" / "lite.json"
VECTORS = json.loads(FILE.read_text())

PLAIN = {
    "ANNOUNCE_REQUEST": AnnounceRequest,
    "ANNOUNCE_OK": AnnounceOk,
    "ANNOUNCE_BROADCAST": AnnounceBroadcast,
    "SUBSCRIBE": Subscribe,
    "SUBSCRIBE_UPDATE": SubscribeUpdate,
    "TRACK": Track,
    "TRACK_INFO": TrackReply,
    "FETCH": Fetch,
    "PROBE": Probe,
    "GOAWAY": Goaway,
    "GROUP": GroupHeader,
    "SETUP": Setup,
}
ANNOUNCING = {
    "ANNOUNCE_START": AnnounceStart,
    "ANNOUNCE_END": AnnounceEnd,
    "ANNOUNCE_UPDATE": AnnounceUpdate,
}
REPLIES = {
    "SUBSCRIBE_OK": SubscribeOk,
    "SUBSCRIBE_START": SubscribeStart,
    "SUBSCRIBE_END": SubscribeEnd,
    "SUBSCRIBE_DROP": SubscribeDrop,
}
STRUCTS = PLAIN | ANNOUNCING | REPLIES

ONLY = {
    "ANNOUNCE_OK": LITE_ALPNS[:2],
    "ANNOUNCE_BROADCAST": LITE_ALPNS[1:],
    "ANNOUNCE_START": LITE_ALPNS[:1],
    "ANNOUNCE_END": LITE_ALPNS[:1],
    "ANNOUNCE_UPDATE": LITE_ALPNS[:1],
    "SUBSCRIBE_OK": LITE_ALPNS[2:],
    "SUBSCRIBE_START": LITE_ALPNS[:2],
    "SUBSCRIBE_END": LITE_ALPNS[:2],
    "TRACK": LITE_ALPNS[:2],
    "TRACK_INFO": LITE_ALPNS[:2],
    "SETUP": LITE_ALPNS[:2],
    "GOAWAY": LITE_ALPNS[:3],
}


def name_of(vector: dict) -> str:
    return f"{vector['message']}-{vector['version']}-{vector['hex'][:12]}"


def take(vector: dict):
    """Decode a vector's bytes the way its stream does."""
    version, message = lite_version(vector["version"]), vector["message"]
    framer = Framer(1 << 14)
    framer.feed(bytes.fromhex(vector["hex"]))
    if message in PLAIN:
        return decode(PLAIN[message], framer.message(), version)
    kind, body = framer.typed()
    if message in ANNOUNCING:
        return decode_announcing(kind, body, version)
    return decode_reply(kind, body, version)


def give(message, version) -> bytes:
    """Encode a message the way its stream does."""
    if type(message) in ANNOUNCING.values():
        return encode_announcing(message, version)
    if type(message) in REPLIES.values():
        return encode_reply(message, version)
    return encode(message, version)


@pytest.mark.parametrize("vector", VECTORS["messages"], ids=name_of)
def test_a_message_decodes_to_its_fields(vector):
    struct = STRUCTS[vector["message"]]
    assert take(vector) == msgspec.convert(vector["fields"], struct, strict=False)


@pytest.mark.parametrize("vector", VECTORS["messages"], ids=name_of)
def test_the_fields_encode_to_the_message(vector):
    message = msgspec.convert(vector["fields"], STRUCTS[vector["message"]], strict=False)
    encoded = give(message, lite_version(vector["version"]))
    if vector["message"] == "SETUP":
        assert sorted(encoded) == sorted(bytes.fromhex(vector["hex"]))  # parameters in any order
    else:
        assert encoded.hex() == vector["hex"]


@pytest.mark.parametrize("vector", VECTORS["refused"], ids=name_of)
def test_a_broken_message_is_a_protocol_violation(vector):
    with pytest.raises(RemoteError) as caught:
        take(vector)
    assert caught.value.code == SessionCode.PROTOCOL_VIOLATION


@pytest.mark.parametrize("vector", VECTORS["messages"], ids=name_of)
def test_a_message_with_a_byte_more_or_less_is_refused(vector):
    if vector["message"] in PLAIN:
        framer = Framer(1 << 14)
        framer.feed(bytes.fromhex(vector["hex"]))
        body = framer.message()
        version = lite_version(vector["version"])
        for broken in (body + b"\0", body[:-1]):
            with pytest.raises(RemoteError):
                decode(PLAIN[vector["message"]], broken, version)


@pytest.mark.parametrize("vector", VECTORS["frames"], ids=lambda v: v["version"] + v["hex"][:8])
def test_frames_decode_and_encode(vector):
    version = lite_version(vector["version"])
    frames = [Frame(bytes.fromhex(payload), at) for at, payload in vector["frames"]]
    assert FrameParser(version, 1000).feed(bytes.fromhex(vector["hex"])) == frames
    previous = 0 if version.timestamps else None
    encoded = b""
    for frame in frames:
        encoded += encode_frame_header(len(frame.payload), frame.timestamp, previous)
        encoded += frame.payload
        previous = frame.timestamp
    assert encoded.hex() == vector["hex"]


def test_every_message_has_a_vector_in_every_version_that_has_it():
    present = {(vector["message"], vector["version"]) for vector in VECTORS["messages"]}
    wanted = {(name, alpn) for name in STRUCTS for alpn in ONLY.get(name, LITE_ALPNS)}
    assert wanted - present == set()
