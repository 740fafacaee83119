import ctypes
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.media.signals import opus_packets

from moqvox.errors import MediaError
from moqvox.media.libopus import load
from moqvox.media.opus import (
    MAX_PACKET_BYTES,
    Bandwidth,
    Mode,
    packet_duration_us,
    packet_samples,
    parse_packet,
)

VECTORS = json.loads((Path(__file__).parents[2] / "vectors/opus_packets.json").read_text())


@pytest.mark.parametrize("vector", VECTORS["valid"], ids=lambda vector: vector["name"])
def test_facts_of_a_packet_are_those_of_the_rfc(vector):
    packet = bytes.fromhex(vector["packet"])
    facts = parse_packet(packet)
    assert facts.mode is Mode(vector["mode"])
    assert facts.bandwidth is Bandwidth(vector["bandwidth_hz"])
    assert facts.channels == vector["channels"]
    assert facts.frame_samples == vector["frame_samples"]
    assert list(facts.frame_sizes) == vector["frame_sizes"]
    assert facts.frame_count == len(vector["frame_sizes"])
    assert facts.samples == packet_samples(packet) == vector["samples"]
    assert facts.duration_us == packet_duration_us(packet) == vector["duration_us"]
    assert facts.is_dtx is vector["dtx"]


@pytest.mark.parametrize("vector", VECTORS["invalid"], ids=lambda vector: vector["name"])
def test_a_packet_that_breaks_a_requirement_is_refused(vector):
    with pytest.raises(MediaError):
        parse_packet(bytes.fromhex(vector["packet"]))


def frame_sizes_by_libopus(packet):
    parse = ctypes.CDLL(load_path())["opus_packet_parse"]
    parse.argtypes = [ctypes.c_char_p, ctypes.c_int32] + [ctypes.c_void_p] * 4
    sizes = (ctypes.c_int16 * 48)()
    count = parse(packet, len(packet), None, None, sizes, None)
    return tuple(sizes[:count]) if count > 0 else None


def load_path():
    return load().path


PACKETS = st.one_of(
    st.binary(max_size=200),
    st.builds(
        lambda toc, rest: bytes([toc | 3]) + rest, st.integers(0, 255), st.binary(max_size=400)
    ),
)


@settings(max_examples=400, deadline=None)
@given(PACKETS)
def test_any_bytes_are_judged_as_libopus_judges_them(packet):
    try:
        ours = parse_packet(packet).frame_sizes
    except MediaError:
        ours = None
    assert ours == frame_sizes_by_libopus(packet)


@pytest.mark.parametrize("frame_ms", [2.5, 5, 10, 20, 40, 60])
def test_an_encoded_frame_has_the_length_asked_for(frame_ms):
    for packet in opus_packets(3, frame_ms):
        assert packet_samples(packet) == parse_packet(packet).samples == frame_ms * 48


def test_no_packet_without_padding_is_larger_than_the_bound():
    frame = bytes(1275)
    length = bytes([252 + (1275 - 252) % 4, (1275 - 252 - (1275 - 252) % 4) // 4])
    packet = bytes([28 << 3 | 3, 0x80 | 48]) + length * 47 + frame * 48
    assert parse_packet(packet).samples == 5760
    assert len(packet) <= MAX_PACKET_BYTES
