"""QMux without a socket: what a peer may do, and what it may not."""

import asyncio
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moqvox.errors import LocalError, RemoteError
from moqvox.transport.inbox import Inbox
from moqvox.transport.interface import (
    DatagramReceived,
    Event,
    StreamData,
    StreamOpened,
    StreamReset,
    StreamStopped,
)
from moqvox.transport.send_queue import Marks
from moqvox.transport.streams.frames import (
    MaxData,
    MaxStreamData,
    MaxStreams,
    ResetStream,
    Segment,
    StopSending,
)
from moqvox.transport.streams.violation import TransportCode, Violation
from moqvox.transport.websocket.frames import (
    Close,
    Datagram,
    Frame,
    Hello,
    Ping,
    Pong,
    decode_record,
    encode_frame,
)
from moqvox.transport.websocket.limits import MAX_MESSAGE_BYTES, Limits
from moqvox.transport.websocket.mux import Mux
from moqvox.transport.websocket.parameters import DEFAULT_RECORD_BYTES, Parameters
from moqvox.transport.websocket.subprotocols import VERSIONS

QMUX_02, QMUX_01, QMUX_00 = VERSIONS

SMALL = Limits(
    stream_window_bytes=1000,
    connection_window_bytes=3000,
    max_bidi_streams=3,
    max_uni_streams=4,
    max_blocked_streams=5,
    max_datagrams=2,
    max_datagram_bytes=100,
)

GENEROUS = Parameters(
    max_data=1 << 30,
    max_stream_data_bidi_local=1 << 20,
    max_stream_data_bidi_remote=1 << 20,
    max_stream_data_uni=1 << 20,
    max_streams_bidi=100,
    max_streams_uni=100,
    max_datagram_frame_bytes=1400,
)


class Side:
    """A mux and its inbox, which is read on demand."""

    def __init__(self, version=QMUX_02, limits=SMALL, *, is_client=False):
        self.inbox = Inbox(max_datagrams=limits.max_datagrams, max_path_changes=0)
        self.mux = Mux(version, limits, self.inbox, is_client=is_client)

    def hear(self, *frames: Frame) -> None:
        self.mux.receive(b"".join(map(encode_frame, frames)))

    def read(self) -> list[Event]:
        """Take the events as the connection does."""
        found = []
        for event in self.inbox.take():
            shown = True
            if isinstance(event, StreamData):
                size = len(event.data)
                shown = self.mux.receiving.hand_over(event.stream, size, is_end=event.fin)
            elif isinstance(event, StreamReset):
                self.mux.receiving.hand_over(event.stream, 0, is_end=True)
            if shown:
                found.append(event)
        return found

    def messages(self) -> list[bytes]:
        """Take all that can be sent now."""
        messages = []
        while more := self.mux.outbox.take():
            messages.extend(more)
        self.mux.settle()
        return messages + self.mux.outbox.take()

    def said(self) -> list[Frame]:
        return [frame for message in self.messages() for frame in decode_record(message)]


def server(version=QMUX_02, limits=SMALL, parameters=GENEROUS) -> Side:
    """A server that has heard the client's parameters."""
    side = Side(version, limits)
    side.hear(Hello(parameters))
    return side


def segment(stream: int, data: bytes = b"", offset: int | None = None, *, fin: bool = False):
    return Segment(stream, offset, data, fin)


def opened(side: Side, stream: int) -> None:
    """Have the client open a stream and send nothing on it."""
    side.hear(segment(stream))


OFFENCES = {
    "parameters twice": ([Hello(GENEROUS)], TransportCode.PROTOCOL_VIOLATION),
    "bytes beyond a stream's window": ([segment(2, bytes(1001))], TransportCode.FLOW_CONTROL_ERROR),
    "bytes beyond the connection's window": (
        [segment(stream, bytes(1000)) for stream in (0, 2, 4, 6)],
        TransportCode.FLOW_CONTROL_ERROR,
    ),
    "bytes that are not the next ones": (
        [segment(2, b"a", 0), segment(2, b"b", 2)],
        TransportCode.PROTOCOL_VIOLATION,
    ),
    "too many bidirectional streams": ([segment(12)], TransportCode.STREAM_LIMIT_ERROR),
    "too many unidirectional streams": ([segment(18)], TransportCode.STREAM_LIMIT_ERROR),
    "a reset of a stream beyond the limit": (
        [ResetStream(18, 0, 0)],
        TransportCode.STREAM_LIMIT_ERROR,
    ),
    "a reset whose size is beyond the window": (
        [ResetStream(2, 0, 1001)],
        TransportCode.FLOW_CONTROL_ERROR,
    ),
    "bytes on our one-way stream": ([segment(3)], TransportCode.STREAM_STATE_ERROR),
    "bytes on a stream that we have not opened": ([segment(1)], TransportCode.STREAM_STATE_ERROR),
    "a reset of our one-way stream": ([ResetStream(3, 0, 0)], TransportCode.STREAM_STATE_ERROR),
    "a stop of the peer's own stream": ([StopSending(2, 0)], TransportCode.STREAM_STATE_ERROR),
    "a stop of a stream that we have not opened": (
        [StopSending(1, 0)],
        TransportCode.STREAM_STATE_ERROR,
    ),
    "a stop of a stream beyond the limit": ([StopSending(12, 0)], TransportCode.STREAM_LIMIT_ERROR),
    "credit for the peer's own stream": ([MaxStreamData(2, 5)], TransportCode.STREAM_STATE_ERROR),
    "credit for a stream that we have not opened": (
        [MaxStreamData(3, 5)],
        TransportCode.STREAM_STATE_ERROR,
    ),
    "a datagram that is too large": ([Datagram(bytes(106))], TransportCode.PROTOCOL_VIOLATION),
}


@pytest.mark.parametrize("offence", OFFENCES)
def test_who_breaks_the_rules_is_told_which_one(offence):
    frames, code = OFFENCES[offence]
    side = server()
    with pytest.raises(Violation) as caught:
        side.hear(*frames)
    assert caught.value.transport_code == code
    assert caught.value.reason


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)
def test_nothing_but_a_close_may_come_before_the_parameters(version):
    for frame in (segment(2), Ping(0), MaxData(5)):
        with pytest.raises(Violation, match="before the transport parameters"):
            Side(version).hear(frame)
    side = Side(version)
    side.hear(Close(3, False, "no"))
    assert side.mux.close == Close(3, False, "no")


def test_datagrams_need_a_version_that_has_them():
    with pytest.raises(Violation, match="datagram"):
        server(QMUX_00).hear(Datagram(b"x"))
    assert not server(QMUX_00).mux.outbox.add_datagram(b"x")


def test_what_follows_a_close_is_not_read():
    side = server()
    side.hear(Close(1, False, "bye"), segment(3))
    assert side.mux.close is not None


def test_our_first_message_tells_our_limits():
    (frame,) = decode_record(Side().mux.hello(30_000))
    assert frame.parameters == Parameters(
        max_idle_timeout_ms=30_000,
        max_data=3000,
        max_stream_data_bidi_local=1000,
        max_stream_data_bidi_remote=1000,
        max_stream_data_uni=1000,
        max_streams_bidi=3,
        max_streams_uni=4,
        max_datagram_frame_bytes=105,
        max_record_bytes=MAX_MESSAGE_BYTES,
    )
    (frame,) = decode_record(Side(QMUX_00).mux.hello(30_000))
    assert frame.parameters.max_datagram_frame_bytes == 0
    assert frame.parameters.max_record_bytes == DEFAULT_RECORD_BYTES


def test_nothing_is_said_of_streams_that_the_peer_has_not_allowed():
    side = Side()
    stream = side.mux.open(bidirectional=True, priority=0)
    abandoned = side.mux.open(bidirectional=False, priority=0)
    side.mux.sending.write(stream, b"early", fin=True)
    side.mux.stop(stream, 4)
    side.mux.sending.write(abandoned, b"never", fin=False)
    assert side.mux.sending.abandon(abandoned, 9)
    assert not side.mux.sending.abandon(abandoned, 9)
    assert side.said() == []
    side.hear(Hello(Parameters(max_data=100, max_stream_data_bidi_remote=100, max_streams_bidi=1)))
    assert side.said() == [StopSending(stream, 4), Segment(stream, 0, b"early", True)]
    side.hear(MaxStreams(False, 1))
    assert side.said() == [ResetStream(abandoned, 9, 0)]
    assert side.mux.outbox.is_settled


def test_each_kind_of_stream_has_the_limit_that_the_peer_gave_it():
    side = Side()
    limits = Parameters(
        max_data=1000,
        max_stream_data_bidi_local=10,
        max_stream_data_bidi_remote=20,
        max_stream_data_uni=30,
        max_streams_bidi=1,
        max_streams_uni=1,
    )
    ours = side.mux.open(bidirectional=True, priority=0)
    one_way = side.mux.open(bidirectional=False, priority=0)
    side.hear(Hello(limits))
    opened(side, 0)
    for stream in (0, ours, one_way):
        side.mux.sending.write(stream, bytes(100), fin=False)
    sent = {frame.stream: len(frame.data) for frame in side.said()}
    assert sent == {0: 10, ours: 20, one_way: 30}
    side.hear(MaxStreamData(0, 15), MaxStreamData(0, 12))
    assert [len(frame.data) for frame in side.said()] == [5]


def test_the_connections_limit_holds_for_all_streams_together():
    side = server(parameters=Parameters(**{**_fields(GENEROUS), "max_data": 50}))
    streams = [side.mux.open(bidirectional=False, priority=0) for _ in range(3)]
    for stream in streams:
        side.mux.sending.write(stream, bytes(40), fin=False)
    assert sum(len(frame.data) for frame in side.said()) == 50
    side.hear(MaxData(60), MaxData(55))
    assert sum(len(frame.data) for frame in side.said()) == 10
    assert not side.mux.outbox.is_settled


def _fields(parameters: Parameters) -> dict[str, int]:
    return {name: getattr(parameters, name) for name in Parameters.__struct_fields__}


def test_streams_that_wait_for_permission_are_bounded():
    side = Side()
    for _ in range(SMALL.max_blocked_streams):
        side.mux.open(bidirectional=False, priority=0)
    with pytest.raises(LocalError, match="permission"):
        side.mux.open(bidirectional=False, priority=0)
    side.mux.open(bidirectional=True, priority=0)


def test_credit_follows_reading():
    side = server()
    side.hear(segment(2, bytes(1000)))
    assert side.said() == []
    assert len(side.read()) == 2
    assert set(side.said()) == {MaxStreamData(2, 2000), MaxData(4000)}
    assert side.said() == []
    side.hear(segment(2, bytes(1000), 1000))
    side.read()
    assert set(side.said()) == {MaxStreamData(2, 3000), MaxData(5000)}


def test_credit_for_a_stream_is_not_told_when_it_has_ended():
    side = server()
    side.hear(segment(2, bytes(1000)))
    side.read()
    side.hear(segment(2, b"", 1000, fin=True))
    side.read()
    assert MaxStreamData not in {type(frame) for frame in side.said()}


def test_stopped_streams_are_credited_and_not_shown():
    side = server()
    side.hear(segment(2, bytes(500)))
    side.mux.stop(2, 7)
    side.mux.stop(2, 8)
    assert side.said() == [StopSending(2, 7)]
    side.hear(segment(2, bytes(500), 500, fin=True))
    assert side.read() == [StreamOpened(2, False)]
    assert MaxData(4000) in side.said()
    side.mux.stop(2, 9)
    assert side.said() == []


def test_a_reset_counts_what_it_swallowed_as_read():
    side = server()
    side.hear(segment(2, bytes(100)), ResetStream(2, 5, 1000))
    assert side.read() == [
        StreamOpened(2, False),
        StreamData(2, bytes(100), False),
        StreamReset(2, 5),
    ]
    assert MaxData(3900) in side.said()


def test_a_reset_with_a_final_size_of_zero_is_taken():
    side = server()
    side.hear(segment(2, bytes(100)), ResetStream(2, 5, 0))
    assert StreamReset(2, 5) in side.read()


def test_what_comes_after_the_end_is_dropped_and_credited():
    side = server()
    side.hear(segment(2, bytes(10), fin=True), segment(2, bytes(900)), ResetStream(2, 1, 10))
    assert [type(event) for event in side.read()] == [StreamOpened, StreamData]
    side.hear(segment(2, bytes(900)))
    assert side.read() == []
    assert [frame for frame in side.said() if isinstance(frame, MaxData)] == [MaxData(4810)]


def test_a_stop_resets_our_side_once():
    side = server()
    opened(side, 0)
    side.mux.sending.write(0, bytes(100), fin=False)
    side.said()
    side.mux.sending.write(0, bytes(100), fin=False)
    side.hear(StopSending(0, 6), StopSending(0, 6))
    assert side.said() == [ResetStream(0, 6, 100)]
    assert side.read() == [StreamOpened(0, True), StreamStopped(0, 6)]


def test_a_stop_after_our_end_changes_nothing():
    side = server()
    opened(side, 0)
    side.mux.sending.write(0, b"all", fin=True)
    side.said()
    side.hear(StopSending(0, 6))
    assert side.said() == []
    assert side.read() == [StreamOpened(0, True)]


def test_a_stop_may_be_the_first_that_is_heard_of_a_stream():
    side = server()
    side.hear(StopSending(0, 6))
    assert side.read() == [StreamOpened(0, True), StreamStopped(0, 6)]
    assert side.said() == [ResetStream(0, 6, 0)]


def test_a_stream_makes_room_for_another_when_both_halves_are_over():
    side = server()
    for stream in (0, 4, 8):
        side.hear(segment(stream, fin=True))
    side.read()
    assert side.said() == []
    side.mux.sending.write(4, b"", fin=True)
    assert side.said() == [Segment(4, 0, b"", True), MaxStreams(True, 4)]
    side.hear(segment(12))


def test_streams_that_were_passed_over_count_as_open_until_they_are_used():
    side = server()
    side.hear(segment(14, fin=True))
    side.read()
    assert side.said() == [MaxStreams(False, 5)]
    side.hear(segment(18, fin=True))
    side.read()
    side.said()
    # Three were passed over; an endless row of others must not come in beside them.
    side.hear(segment(22, fin=True))
    side.hear(segment(2, fin=True), segment(2, fin=True))
    assert StreamOpened(2, False) in side.read()
    arrivals = side.mux.receiving._arrivals[False]
    assert len(arrivals.skipped) <= SMALL.max_uni_streams


def test_the_newest_ping_is_answered_and_our_own_are_numbered():
    side = server()
    side.hear(Ping(3), Ping(4))
    assert side.said() == [Pong(4)]
    side.mux.outbox.ping()
    assert side.said() == [Ping(0)]
    side.mux.outbox.ping()
    assert side.said() == [Ping(1)]
    side.hear(Pong(0), Pong(7))
    assert side.mux.answers == 0
    side.hear(Pong(1))
    assert side.mux.answers == 1


def test_datagrams_beyond_the_bounds_are_dropped_on_both_ways():
    side = server()
    side.hear(*[Datagram(bytes([number])) for number in range(4)])
    assert side.read() == [DatagramReceived(b"\0"), DatagramReceived(b"\1")]
    outbox = side.mux.outbox
    assert not outbox.add_datagram(bytes(outbox.max_datagram_bytes + 1))
    assert [outbox.add_datagram(b"x") for _ in range(3)] == [True, True, False]
    assert side.said() == [Datagram(b"x")] * 2


def test_control_goes_before_datagrams_and_these_before_streams():
    side = server()
    stream = side.mux.open(bidirectional=False, priority=0)
    side.mux.sending.write(stream, b"bytes", fin=True)
    side.mux.outbox.add_datagram(b"datagram")
    side.hear(Ping(0))
    assert [type(frame) for frame in side.said()] == [Pong, Datagram, Segment]


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)
def test_messages_keep_to_the_peers_size(version):
    parameters = Parameters(**{**_fields(GENEROUS), "max_record_bytes": 1 << 40})
    side = server(version, parameters=parameters)
    for _ in range(30):
        stream = side.mux.open(bidirectional=False, priority=0)
        side.mux.sending.write(stream, bytes(3000), fin=True)
    messages = side.messages()
    assert max(map(len, messages)) <= MAX_MESSAGE_BYTES
    sizes = [len(decode_record(message)) for message in messages]
    assert (max(sizes) > 1) is version.has_records
    assert sum(len(f.data) for m in messages for f in decode_record(m)) == 90_000


def test_the_hard_bound_of_unsent_bytes_is_the_callers_error():
    side = server(limits=Limits(marks=Marks(hard=1000)))
    stream = side.mux.open(bidirectional=False, priority=0)
    with pytest.raises(LocalError, match="unsent"):
        side.mux.sending.write(stream, bytes(1001), fin=False)


VERBS = st.lists(
    st.tuples(
        st.sampled_from(["open", "write", "end", "reset", "stop", "read", "carry"]),
        st.integers(0, 1),
        st.integers(0, 7),
        st.integers(0, 700),
    ),
    max_size=80,
)


class Talk:
    """Two sides, the messages between them, and what should have come of it."""

    def __init__(self, version):
        self.sides = [Side(version, is_client=True), Side(version)]
        self.wires: list[list[bytes]] = [[side.mux.hello(30_000)] for side in self.sides]
        self.streams: list[list[int]] = [[], []]
        self.written: dict[tuple[int, int], bytearray] = {}
        self.heard: dict[tuple[int, int], bytearray] = {}
        self.ended: set[tuple[int, int]] = set()
        self.spoiled: set[tuple[int, int]] = set()
        self.finished: set[tuple[int, int]] = set()

    def play(self, verb: str, who: int, which: int, size: int) -> None:
        mux = self.sides[who].mux
        known = self.streams[who]
        stream = known[which % len(known)] if known else None
        if verb == "open":
            try:
                stream = mux.open(bidirectional=which % 2 == 0, priority=which)
            except LocalError:
                return
            known.append(stream)
        elif verb == "read":
            self.read(who)
        elif verb == "carry":
            self.carry(who)
        elif stream is not None:
            self.act(verb, who, stream, bytes([which]) * size)

    def act(self, verb: str, who: int, stream: int, data: bytes) -> None:
        mux = self.sides[who].mux
        key = (who, stream)
        if verb in ("write", "end"):
            if mux.sending.write(stream, data, fin=verb == "end"):
                self.written.setdefault(key, bytearray()).extend(data)
                if verb == "end":
                    self.finished.add(key)
        elif verb == "reset":
            if mux.sending.abandon(stream, 1):
                self.spoiled.add(key)
        else:
            mux.stop(stream, 2)
            self.spoiled.add((1 - who, stream))

    def read(self, who: int) -> None:
        for event in self.sides[who].read():
            key = (1 - who, getattr(event, "stream", -1))
            if isinstance(event, StreamOpened) and event.bidirectional:
                self.streams[who].append(event.stream)
            elif isinstance(event, StreamData):
                self.heard.setdefault(key, bytearray()).extend(event.data)
                if event.fin:
                    self.ended.add(key)
            elif isinstance(event, StreamStopped):
                self.spoiled.add((who, event.stream))

    def carry(self, who: int) -> None:
        """Bring what one side says to the other."""
        side, other = self.sides[who], self.sides[1 - who]
        self.wires[who].extend(side.messages())
        for message in self.wires[who]:
            other.mux.receive(message)
        other.mux.settle()
        self.wires[who].clear()

    def finish(self) -> None:
        for _ in range(60):
            for who in (0, 1):
                self.carry(who)
                self.read(who)


@given(st.sampled_from(VERSIONS), VERBS)
def test_whatever_both_sides_do_each_gets_what_the_other_wrote(version, verbs):
    talk = Talk(version)
    for verb, who, which, size in verbs:
        talk.play(verb, who, which, size)
        for key, heard in talk.heard.items():
            assert talk.written.get(key, b"").startswith(heard)
    talk.finish()
    for key in talk.finished - talk.spoiled:
        if _could_be_opened(talk, key):
            assert talk.heard.get(key, b"") == talk.written[key]
            assert key in talk.ended
    for side in talk.sides:
        receiving = side.mux.receiving
        assert receiving._received - receiving._handed <= SMALL.connection_window_bytes


def _could_be_opened(talk: Talk, key: tuple[int, int]) -> bool:
    """Whether the peer ever had to allow the stream: within its first limit it had."""
    _, stream = key
    return stream // 4 < (SMALL.max_bidi_streams if stream & 2 == 0 else SMALL.max_uni_streams)


@given(st.lists(st.binary(max_size=60), max_size=5))
def test_any_records_are_taken_or_the_peers_fault(records):
    side = server()
    with suppress(RemoteError):
        for record in records:
            side.mux.receive(record)
    side.read()
    assert all(decode_record(message) for message in side.messages())


def test_a_mux_needs_no_loop():
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()
    assert server().mux.peer == GENEROUS
