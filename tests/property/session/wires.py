"""Strategies: what a moq-lite peer might put on its streams."""

from hypothesis import strategies as st

from moqvox.frame import Frame, Subscription, TrackInfo
from moqvox.wire.lite.announce import (
    AnnounceBroadcast,
    AnnounceEnd,
    AnnounceOk,
    AnnounceRequest,
    AnnounceStart,
    AnnounceStatus,
    AnnounceUpdate,
    encode_announcing,
)
from moqvox.wire.lite.message import encode
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
    encode_reply,
)
from moqvox.wire.lite.setup import Goaway, Probe, ProbeLevel, Role, Setup
from moqvox.wire.lite.streams import (
    BidiType,
    Datagram,
    GroupHeader,
    UniType,
    encode_frame_header,
)
from moqvox.wire.varint import encode_varint
from moqvox.wire.version import LiteVersion

small = st.integers(0, 3)
numbers = small | st.integers(0, 2**62 - 2)
optional = st.none() | numbers
octets = st.integers(0, 255)
names = st.sampled_from(["", "a", "b", "room/a", "room/b", "room", "a/", "x" * 1030, "a\0"])
texts = names | st.text(max_size=20)
hops = st.lists(small | numbers, max_size=4).map(tuple)
wishes = st.builds(
    Subscription, octets, st.booleans(), numbers, optional, optional, numbers, optional
)
setups = st.builds(
    Setup,
    st.sampled_from(ProbeLevel),
    st.none(),
    st.none() | st.sampled_from(Role),
    optional,
    small,
)
frames = st.builds(Frame, st.binary(max_size=40), st.integers(0, 2**61 - 1))

INFO = st.builds(TrackInfo, octets, st.booleans(), numbers, st.integers(1, 2**62 - 1))


def announcings(version: LiteVersion) -> st.SearchStrategy:
    """Announcements in the form of a version."""
    if version.announce_typed:
        return (
            st.builds(AnnounceStart, texts, hops, numbers, numbers)
            | st.builds(AnnounceEnd, small)
            | st.builds(AnnounceUpdate, small, hops, numbers, numbers)
        )
    last = AnnounceStatus.RESTARTED if version.announce_replaces else AnnounceStatus.ACTIVE
    status = st.integers(0, last).map(AnnounceStatus)
    return st.builds(AnnounceBroadcast, status, texts, hops)


def replies(version: LiteVersion) -> st.SearchStrategy:
    """Replies to a subscription."""
    drop = st.builds(SubscribeDrop, numbers, numbers, numbers)
    if version.end_message:
        return st.builds(SubscribeStart, numbers) | st.builds(SubscribeEnd, numbers) | drop
    return st.builds(SubscribeOk, octets, st.booleans(), numbers, optional, optional) | drop


REQUESTS = {
    BidiType.ANNOUNCE: st.builds(AnnounceRequest, texts, small),
    BidiType.SUBSCRIBE: st.builds(Subscribe, small, texts, texts, wishes),
    BidiType.FETCH: st.builds(Fetch, texts, texts, octets, numbers, numbers, optional),
    BidiType.PROBE: st.builds(Probe, numbers, numbers),
    BidiType.GOAWAY: st.builds(Goaway, texts),
    BidiType.TRACK: st.builds(Track, texts, texts),
}


def requests(version: LiteVersion) -> st.SearchStrategy[bytes]:
    """Bytes of a whole request stream."""

    def build(kind: BidiType) -> st.SearchStrategy[bytes]:
        messages = st.lists(REQUESTS[kind], min_size=1, max_size=1)
        if kind is BidiType.SUBSCRIBE:
            updates = st.lists(st.builds(SubscribeUpdate, wishes), max_size=2)
            messages = st.tuples(REQUESTS[kind], updates).map(lambda pair: [pair[0], *pair[1]])
        return messages.map(
            lambda some: encode_varint(kind) + b"".join(encode(each, version) for each in some)
        )

    return st.sampled_from(BidiType).flatmap(build)


def frame_bytes(version: LiteVersion, some: list[Frame]) -> bytes:
    """Encode the frames of a group."""
    wire, previous = b"", 0 if version.timestamps else None
    for frame in some:
        wire += encode_frame_header(len(frame.payload), frame.timestamp, previous) + frame.payload
        previous = previous if previous is None else frame.timestamp
    return wire


def groups(version: LiteVersion) -> st.SearchStrategy[bytes]:
    """Bytes of a whole group stream."""
    headers = st.builds(GroupHeader, small, numbers, small)
    return st.builds(
        lambda header, some: (
            encode_varint(UniType.GROUP) + encode(header, version) + frame_bytes(version, some)
        ),
        headers,
        st.lists(frames, max_size=4),
    )


def data_streams(version: LiteVersion) -> st.SearchStrategy[bytes]:
    """Bytes of a whole unidirectional stream."""
    setup = setups.map(lambda each: encode_varint(UniType.SETUP) + encode(each, version))
    return groups(version) | setup


def answers(version: LiteVersion) -> st.SearchStrategy[bytes]:
    """Bytes that might come back on any of our requests."""
    ok = st.builds(AnnounceOk, small, small).map(lambda each: encode(each, version))
    watch = st.lists(announcings(version), max_size=6).map(
        lambda some: b"".join(encode_announcing(each, version) for each in some)
    )
    if version.announce_ok:
        watch = st.tuples(ok, watch).map(b"".join)
    subscription = st.lists(replies(version), max_size=4).map(
        lambda some: b"".join(encode_reply(each, version) for each in some)
    )
    track = st.builds(TrackReply, INFO).map(lambda each: encode(each, version))
    fetch = st.lists(frames, max_size=4).map(lambda some: frame_bytes(version, some))
    probes = st.lists(st.builds(Probe, numbers, numbers), max_size=3).map(
        lambda some: b"".join(encode(each, version) for each in some)
    )
    return watch | subscription | track | fetch | probes


def datagrams(version: LiteVersion) -> st.SearchStrategy[bytes]:
    """Bytes of a datagram."""
    whole = st.builds(Datagram, small, numbers, numbers, st.binary(max_size=20))
    # without the size that `encode` puts in front: it is one byte for so little
    return whole.map(lambda each: encode(each, version)[1:])


def mutated(valid: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """Valid bytes, cut, with some of them changed, or no sense at all."""

    def change(data: bytes, at: int, byte: int, kept: int) -> bytes:
        out = bytearray(data)
        if out:
            out[at % len(out)] = byte
        return bytes(out[: kept % (len(out) + 1)] if kept else out)

    places = st.integers(0, 200)
    return valid | st.binary(max_size=40) | st.builds(change, valid, places, octets, places)
