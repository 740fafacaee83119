import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moqvox.errors import LocalError, MediaError
from moqvox.media.container import (
    ContainerKind,
    MediaFrame,
    decode_frame,
    decode_legacy,
    encode_frame,
    encode_legacy,
    end_marker,
)

VECTORS = json.loads((Path(__file__).parents[2] / "vectors/legacy_frames.json").read_text())
READABLE = st.sampled_from([ContainerKind.LEGACY, ContainerKind.LOC])


@pytest.mark.parametrize("vector", VECTORS["frames"], ids=lambda vector: vector["name"])
def test_a_legacy_frame_is_a_varint_and_the_payload(vector):
    data = bytes.fromhex(vector["frame"])
    frame = MediaFrame(int(vector["timestamp_us"]), bytes.fromhex(vector["payload"]))
    assert decode_legacy(data) == frame
    assert frame.is_end is (vector["payload"] == "")
    if vector.get("canonical", True):
        assert encode_legacy(frame.timestamp_us, frame.payload) == data


@pytest.mark.parametrize("vector", VECTORS["invalid"], ids=lambda vector: vector["name"])
def test_a_legacy_frame_cut_short_is_refused(vector):
    with pytest.raises(MediaError, match="inside its timestamp"):
        decode_legacy(bytes.fromhex(vector["frame"]))


@given(READABLE, st.integers(0, 2**62 - 1), st.binary(max_size=64))
def test_a_frame_comes_back_from_every_container(kind, timestamp_us, payload):
    data = encode_frame(kind, timestamp_us, payload)
    assert decode_frame(kind, data) == MediaFrame(timestamp_us, payload)


@given(READABLE, st.integers(0, 2**62 - 1))
def test_an_end_marker_is_known_as_one(kind, timestamp_us):
    assert decode_frame(kind, end_marker(timestamp_us, kind)).is_end


@given(READABLE, st.binary(max_size=40))
def test_garbage_is_a_media_error_or_a_frame(kind, garbage):
    try:
        decode_frame(kind, garbage)
    except MediaError as error:
        assert str(error)  # noqa: PT017 - some garbage is a frame


@pytest.mark.parametrize("timestamp_us", [-1, 2**62])
@pytest.mark.parametrize("kind", [ContainerKind.LEGACY, ContainerKind.LOC])
def test_a_timestamp_out_of_range_is_refused(kind, timestamp_us):
    with pytest.raises(LocalError):
        encode_frame(kind, timestamp_us, b"x")


def test_cmaf_is_refused_by_name():
    with pytest.raises(MediaError, match="cmaf"):
        decode_frame(ContainerKind.CMAF, b"")
    with pytest.raises(MediaError, match="cmaf"):
        encode_frame(ContainerKind.CMAF, 0, b"")
