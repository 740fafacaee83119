"""QMux frames: the shared vectors, what is written is read, and any bytes at all."""

import json
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moqvox.errors import RemoteError
from moqvox.transport.streams.frames import Segment
from moqvox.transport.streams.violation import Violation
from moqvox.transport.websocket import frames
from moqvox.transport.websocket.frames import Frame, decode_record, encode_frame
from moqvox.transport.websocket.parameters import DEFAULT_RECORD_BYTES, Parameters
from moqvox.wire.varint import MAX_VARINT

FILE = Path(__file__).parents[3] / "vectors" / "qmux.json"
VECTORS = json.loads(FILE.read_text())

NUMBERS = st.one_of(st.integers(0, 100), st.integers(0, MAX_VARINT))
DATA = st.binary(max_size=200)
KINDS = [
    st.builds(frames.Hello, st.builds(Parameters, **dict.fromkeys(
        [name for name in Parameters.__struct_fields__ if name != "max_record_bytes"], NUMBERS
    ), max_record_bytes=st.integers(DEFAULT_RECORD_BYTES, MAX_VARINT))),
    st.builds(Segment, NUMBERS, NUMBERS, DATA, st.booleans()),
    st.builds(frames.ResetStream, NUMBERS, NUMBERS, NUMBERS),
    st.builds(frames.StopSending, NUMBERS, NUMBERS),
    st.builds(frames.MaxData, NUMBERS),
    st.builds(frames.MaxStreamData, NUMBERS, NUMBERS),
    st.builds(frames.MaxStreams, st.booleans(), NUMBERS),
    st.builds(frames.Ping, NUMBERS),
    st.builds(frames.Pong, NUMBERS),
    st.builds(frames.Datagram, DATA),
    st.builds(frames.Close, NUMBERS, st.booleans(), st.text(max_size=50)),
]  # fmt: skip


def expected(row: dict[str, object]) -> Frame:
    fields = dict(row)
    kind = getattr(frames, fields.pop("type"))
    if "data" in fields:
        fields["data"] = bytes.fromhex(fields["data"])
    if "parameters" in fields:
        fields["parameters"] = msgspec.convert(fields["parameters"], Parameters)
    return kind(**fields)


@pytest.mark.parametrize("row", VECTORS["records"], ids=lambda row: row["name"])
def test_records_are_read_as_the_vectors_say(row):
    data = bytes.fromhex(row["bytes"])
    found = decode_record(data)
    assert found == [expected(frame) for frame in row["frames"]]
    if row["canonical"]:
        assert b"".join(map(encode_frame, found)) == data


@pytest.mark.parametrize("row", VECTORS["refused"], ids=lambda row: row["name"])
def test_what_is_wrong_is_refused(row):
    with pytest.raises(RemoteError) as caught:
        decode_record(bytes.fromhex(row["bytes"]))
    code = caught.value.transport_code if isinstance(caught.value, Violation) else None
    assert code == row["code"]


@given(st.lists(st.one_of(KINDS), max_size=8))
def test_what_is_written_is_read(sent):
    assert decode_record(b"".join(map(encode_frame, sent))) == sent


def settled(frame: Frame) -> Frame:
    """Return what comes back of a frame: we always write the offset."""
    if isinstance(frame, Segment) and frame.offset is None:
        return msgspec.structs.replace(frame, offset=0)
    return frame


@given(st.binary(max_size=100))
def test_any_bytes_are_frames_or_the_peers_fault(data):
    found = []
    with suppress(RemoteError):
        found = decode_record(data)
    assert len(found) <= len(data)
    assert decode_record(b"".join(map(encode_frame, found))) == [settled(f) for f in found]


@given(st.lists(st.one_of(KINDS), max_size=4), st.data())
def test_a_record_that_is_cut_or_changed_is_frames_or_the_peers_fault(sent, data):
    record = bytearray(b"".join(map(encode_frame, sent)))
    if record:
        record[data.draw(st.integers(0, len(record) - 1))] = data.draw(st.integers(0, 255))
        del record[data.draw(st.integers(0, len(record))) :]
    found = []
    with suppress(RemoteError):
        found = decode_record(bytes(record))
    assert len(found) <= len(record)


def test_long_reasons_are_cut():
    frame = frames.Close(1, False, "x" * 5000)
    (found,) = decode_record(encode_frame(frame))
    assert found.reason == "x" * 1024
