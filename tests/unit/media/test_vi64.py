import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moqvox.errors import LocalError, MediaError
from moqvox.media.vi64 import MAX_VI64, decode_vi64, encode_vi64

VECTORS = json.loads((Path(__file__).parents[2] / "vectors/vi64.json").read_text())


@pytest.mark.parametrize("vector", VECTORS["examples"], ids=lambda vector: vector["bytes"])
def test_the_examples_of_the_draft_decode(vector):
    data = bytes.fromhex(vector["bytes"])
    value = int(vector["value"])
    assert decode_vi64(b"\xee" + data + b"\xee", 1) == (value, 1 + len(data))
    assert len(encode_vi64(value)) <= len(data)


@given(st.integers(0, MAX_VI64))
def test_the_shortest_form_comes_back(value):
    data = encode_vi64(value)
    assert decode_vi64(data) == (value, len(data))
    assert len(data) == min(9, max(1, -(-value.bit_length() // 7)))


@pytest.mark.parametrize("size", range(1, 9))
def test_each_length_holds_its_largest_value_and_no_more(size):
    largest = (1 << 7 * size) - 1
    assert len(encode_vi64(largest)) == size
    assert len(encode_vi64(largest + 1)) == size + 1


@pytest.mark.parametrize("value", [-1, MAX_VI64 + 1])
def test_a_value_out_of_range_is_refused(value):
    with pytest.raises(LocalError, match="2\\^64"):
        encode_vi64(value)


@given(st.integers(128, MAX_VI64))
def test_a_value_cut_short_is_a_media_error(value):
    data = encode_vi64(value)
    for size in range(len(data)):
        with pytest.raises(MediaError):
            decode_vi64(data[:size])
